"""From a claimed run to its end: how its function is called, and what it leaves behind."""
