"""APScheduler jobs and their history in the Django database, run by exactly one scheduler.

`@scheduled` declares a job; `DjangoJobStore` works with any APScheduler 3 scheduler.
"""
