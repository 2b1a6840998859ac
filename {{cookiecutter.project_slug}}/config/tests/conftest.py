"""What the tests of settings and of the web server share with the store's."""

from django.db import connection

from jobstore.tests.conftest import pytest_runtest_setup, web

__all__ = ["pytest_runtest_setup", "web"]

# They only ask whether a database answers: SQLite's turn tells all that there is to know.
collect_ignore_glob = [] if connection.vendor == "sqlite" else ["test_*.py"]
