"""The function that django-ox runs."""

from django import forms
from django_ox.registry import ArgsForm  # type: ignore[import-not-found]
from django_tasks import task  # type: ignore[import-not-found]

import load


class Arguments(ArgsForm):  # type: ignore[misc]
    """What a stored schedule may hold."""

    number = forms.IntegerField()
    seconds = forms.FloatField()


@task  # type: ignore[untyped-decorator]
def work(number: int, seconds: float) -> None:
    """Do what every contender's jobs do."""
    load.work(number, seconds)
