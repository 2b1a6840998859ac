"""The scheduler process: its loop, its jobs, its end."""
