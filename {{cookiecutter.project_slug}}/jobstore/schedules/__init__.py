"""Triggers: what APScheduler filled in, crontab lines, schedules in words, long absences."""
