"""An app whose jobs are there to be interrupted."""
