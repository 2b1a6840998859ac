"""Schedules in files: what is written means the same when read, and mistakes have a sentence."""

from typing import Any

import pytest
import yaml
from apscheduler.triggers.base import BaseTrigger
from hypothesis import given

from jobstore.api.building import make_trigger, stand_in
from jobstore.schedules import written
from jobstore.tests import strategies

SCHEDULER = stand_in()


@given(strategies.triggers())
def test_what_is_written_means_the_same_when_it_is_read(trigger: BaseTrigger) -> None:
    text = yaml.safe_dump(written.as_data(trigger))
    again, fields = written.from_data(yaml.safe_load(text))
    made = make_trigger(again, fields, SCHEDULER)
    assert written.as_data(made) == written.as_data(trigger)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1d", 86400), ("1.5h", 5400)]
)
def test_lengths_are_written_as_people_do(text: str, seconds: float) -> None:
    [trigger, fields] = written.from_data({"interval": text})
    assert make_trigger(trigger, fields, SCHEDULER).interval.total_seconds() == seconds


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "a schedule is one of"),
        ({}, "a schedule is one of"),
        ({"cron": {"hour": 3}, "interval": "1h"}, "a schedule is one of"),
        ({"interval": "1 fortnight"}, "is not a length of time"),
        ({"interval": 5}, "has names and values"),
        ({"at": "noon"}, "is not a date and time"),
        ({"crontab": "0 2 * * 0", "jitter": 5}, "jitter has no meaning beside crontab"),
        ({"cron": {"hour": 3}, "zone": "UTC"}, "'zone' has no meaning beside cron"),
        ({"or": []}, "or has a list of schedules"),
        ({"or": [{"cron": {"hour": 25}}]}, "cron: "),
        ({"and": [{"interval": "1h"}], "timezone": "UTC"}, "timezone has no meaning beside and"),
    ],
)
def test_a_mistake_in_a_schedule_has_a_sentence(data: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        written.from_data(data)


def test_a_trigger_of_ones_own_cannot_be_written() -> None:
    class Own(BaseTrigger):  # type: ignore[misc]
        """Somebody's."""

        def get_next_fire_time(self, previous: Any, now: Any) -> None:
            """Never fire."""

    with pytest.raises(written.NotWritable, match="of the type Own"):
        written.as_data(Own())
