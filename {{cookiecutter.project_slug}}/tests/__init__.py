"""Tests of the project: `python -m pytest`."""
