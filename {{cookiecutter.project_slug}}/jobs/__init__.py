"""Your jobs, one file each. Every module here is imported when the scheduler starts."""
