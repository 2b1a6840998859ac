"""Prints the median time, in milliseconds, that the smallest statement takes on an open connection."""

import statistics
import time

import django

django.setup()

from django.db import connection  # noqa: E402

COUNT = 300

taken = []
with connection.cursor() as cursor:
    for _ in range(COUNT):
        began = time.perf_counter()
        cursor.execute("SELECT 1")
        cursor.fetchone()
        taken.append((time.perf_counter() - began) * 1000)
print(round(statistics.median(taken), 3))
