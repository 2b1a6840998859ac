"""An app whose projects cannot prepare."""
