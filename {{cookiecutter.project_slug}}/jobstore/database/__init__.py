"""What knows databases and nothing of jobs: time limits, notifications, what is wrong."""
