"""An app whose jobs are there to be counted and interrupted."""
