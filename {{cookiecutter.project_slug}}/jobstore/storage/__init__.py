"""A job and its row: signed state, keys, quarantine, and what a replaced job keeps."""
