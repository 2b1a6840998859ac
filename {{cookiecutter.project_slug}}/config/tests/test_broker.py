"""What the URL of a broker must be like, and what Celery is told beside it."""

import json
from typing import Any

import pytest

from config import broker
from jobstore.tests.copies import Home

GOOD = (
    "redis://127.0.0.1:6379/0",
    "rediss://:secret@cache.example.com:6380/1",
    "redis://broker",
    "amqp://user:p%2Fw@mq.example.com:5672//",
    "amqps://mq.example.com/shop",
)
WRONG = {
    "localhost:6379": "must begin with redis://",
    "127.0.0.1": "must begin with redis://",
    "http://broker:6379": "must begin with redis://",
    "valkey://broker:6379/0": "write redis:// in its place",
    "redis://": "names no host",
    "amqp:///vhost": "names no host",
    "redis://:pass/word@broker:6379/0": "percent-encode",
    "redis://broker:70000/0": "no URL with a host and a port",
}
# Of the settings, what decides whether messages are safe, and whether a run can begin twice.
SHOW = """
import json
from config import settings
print(json.dumps({n: v for n, v in vars(settings).items() if n.startswith("CELERY_")}))
"""


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("url", GOOD)
def test_the_url_of_a_usual_broker_is_accepted(url: str) -> None:
    assert broker.refusal(url) == ""


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_with_what_would_be_right(url: str) -> None:
    assert WRONG[url] in broker.refusal(url)


@pytest.mark.parametrize(
    "url", ["valkey://:s3cret@h/0", "http://u:s3cret@h", "redis://:s3cret/@h/0", "redis://:s3cret@"]
)
def test_a_refusal_does_not_show_the_password(url: str) -> None:
    assert broker.refusal(url)
    assert "s3cret" not in broker.refusal(url)


def test_a_wrong_url_stops_the_start_in_one_line(home: Home) -> None:
    said = home.refusal(CELERY_BROKER_URL="valkey://broker:6379/0")
    assert said.startswith("CELERY_BROKER_URL begins with valkey://")


def test_the_url_may_come_from_a_file(home: Home) -> None:
    (home.path / "url").write_text("redis://:secret@broker/0\n")
    assert values(home, CELERY_BROKER_URL_FILE="url")["CELERY_BROKER_URL"].endswith("@broker/0")


def values(home: Home, **variables: str) -> dict[str, Any]:
    """Return Celery's settings under these variables."""
    done = home.run("-c", SHOW, **variables)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_nothing_but_json_is_accepted_and_no_result_is_kept(home: Home) -> None:
    found = values(home, CELERY_BROKER_URL="redis://broker/0")
    assert found["CELERY_ACCEPT_CONTENT"] == [found["CELERY_TASK_SERIALIZER"]] == ["json"]
    assert found["CELERY_TASK_IGNORE_RESULT"] is True
    assert found["CELERY_RESULT_BACKEND"] is None


def test_projects_with_queues_of_their_own_do_not_hear_each_other_s_commands(home: Home) -> None:
    names = ("CELERY_TASK_DEFAULT_QUEUE", "CELERY_CONTROL_EXCHANGE", "CELERY_EVENT_EXCHANGE")
    one, other = (values(home, CELERY_TASK_DEFAULT_QUEUE=queue) for queue in ("shop", "zoo"))
    assert [name for name in names if one[name] == other[name]] == []


def test_a_misspelt_variable_of_celery_is_noticed(home: Home) -> None:
    said = home.run("manage.py", "check", CELERY_BROKER_ULR="redis://broker").stderr
    assert "Did you mean CELERY_BROKER_URL?" in said
