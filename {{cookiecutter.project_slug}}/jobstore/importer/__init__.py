"""From django-apscheduler's tables to ours."""
