"""From the end of a run to its row."""
