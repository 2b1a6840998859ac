"""Helpers for databases, without any jobs: time limits, notifications, what is wrong."""
