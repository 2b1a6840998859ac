"""Gives every test of the project the fixture `job_runner` (jobstore/testing.py)."""

pytest_plugins = ["jobstore.testing"]
