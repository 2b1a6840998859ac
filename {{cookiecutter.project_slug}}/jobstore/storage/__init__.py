"""A job and its row: its signed state, the keys, quarantine, what a replaced job keeps."""
