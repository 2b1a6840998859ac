"""Triggers: crontab lines, schedules in words, long absences, values that APScheduler filled in."""
