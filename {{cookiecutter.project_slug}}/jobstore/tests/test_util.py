"""Times and connections, as code that knew django-apscheduler's helpers expects them."""

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from django.utils import timezone, translation
from pytest_django.fixtures import Settings

from jobstore import util

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
NAIVE = dt.datetime(2026, 6, 1, 14)  # noqa: DTZ001 - noon in UTC, on the clocks of Berlin


@pytest.fixture(params=[True, False], ids=["USE_TZ", "naive"])
def use_tz(request: pytest.FixtureRequest, settings: Settings) -> bool:
    """Django with and without time zones, in Berlin."""
    settings.TIME_ZONE = "Europe/Berlin"
    settings.USE_TZ = request.param
    return bool(request.param)


# --- Times as Django and as APScheduler wants them -----------------------------------------------


@pytest.mark.parametrize("given", [NOON, NOON.astimezone(SHANGHAI), NAIVE])
def test_django_gets_a_time_as_it_stores_it(use_tz: bool, given: dt.datetime) -> None:
    stored = util.get_django_internal_datetime(given)
    assert stored == (NOON if use_tz else NAIVE)
    assert timezone.is_aware(stored) == use_tz


@pytest.mark.parametrize("stored", [NOON, NAIVE])
def test_a_scheduler_gets_a_time_in_its_own_zone(use_tz: bool, stored: dt.datetime) -> None:
    scheduler = BackgroundScheduler(timezone=SHANGHAI)
    time = util.get_apscheduler_datetime(stored, scheduler)
    assert time == NOON
    assert time is not None and time.utcoffset() == dt.timedelta(hours=8)


@pytest.mark.parametrize("fold", [0, 1])
def test_of_two_equal_hours_the_first_is_kept_where_django_has_no_zones(
    use_tz: bool, fold: int
) -> None:
    repeated = dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold).astimezone(dt.UTC)
    scheduler = BackgroundScheduler(timezone=SHANGHAI)
    stored = util.get_django_internal_datetime(repeated)
    back = util.get_apscheduler_datetime(stored, scheduler)
    kept = repeated if use_tz else repeated - fold * dt.timedelta(hours=1)
    assert back is not None and back.astimezone(dt.UTC) == kept
    assert util.is_storable(repeated) == (kept == repeated)


def test_no_time_stays_none(use_tz: bool) -> None:
    assert util.get_django_internal_datetime(None) is None
    assert util.get_apscheduler_datetime(None, BackgroundScheduler(timezone="UTC")) is None


def test_the_zone_of_a_request_changes_nothing_that_is_stored(use_tz: bool) -> None:
    with timezone.override("Asia/Shanghai"):
        assert util.get_django_internal_datetime(NOON) == (NOON if use_tz else NAIVE)
        assert util.as_aware(NAIVE) == NOON


# --- Times as people read them -------------------------------------------------------------------


@pytest.fixture
def _in_english() -> Iterator[None]:
    """Whatever the project's language is."""
    with translation.override("en-us"):
        yield


@pytest.mark.usefixtures("_in_english")
@pytest.mark.parametrize("seconds", [0, 5])
def test_a_time_is_shown_with_its_seconds(use_tz: bool, seconds: int) -> None:
    time = NOON.replace(second=seconds)
    shown = time if use_tz else NAIVE.replace(second=seconds)
    assert util.get_local_dt_format(shown) == f"June 1, 2026, 14:00:{seconds:02}"


@pytest.mark.usefixtures("_in_english")
def test_a_time_is_shown_in_the_zone_of_the_reader(use_tz: bool) -> None:
    with timezone.override("Asia/Shanghai"):
        hour = 20 if use_tz else 14  # a naive time belongs to no zone that could be left
        assert util.get_local_dt_format(NOON if use_tz else NAIVE) == f"June 1, 2026, {hour}:00:00"


def test_a_format_of_ones_own_is_used(use_tz: bool, settings: Settings) -> None:
    settings.APSCHEDULER_DATETIME_FORMAT = "Y/m/d"
    assert util.get_dt_format() == "Y/m/d"
    assert util.get_local_dt_format(NAIVE) == "2026/06/01"


def test_a_format_may_be_one_of_the_language_s(settings: Settings) -> None:
    settings.APSCHEDULER_DATETIME_FORMAT = "SHORT_DATE_FORMAT"
    with translation.override("de"):
        assert util.get_local_dt_format(NAIVE) == "01.06.2026"


# --- Connections ---------------------------------------------------------------------------------


class Flaky:
    """Fails a number of times with an error, then works."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.calls = failures, error, 0
        self.__qualname__ = "flaky"

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.left:
            raise self.error
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return "done"


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("jobstore.util.time.sleep", lambda seconds: None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_patient")
class TestRetry:
    @pytest.mark.parametrize("error", [OperationalError("away"), InterfaceError("closed")])
    def test_a_lost_connection_is_replaced(self, error: Exception) -> None:
        connection.ensure_connection()
        old = connection.connection
        flaky = Flaky(2, error)
        assert util.retry_on_db_operational_error(flaky)() == "done"
        assert flaky.calls == 3
        assert connection.connection is not old

    def test_what_stays_away_is_told(self) -> None:
        flaky = Flaky(99, OperationalError("away"))
        with pytest.raises(OperationalError, match="away"):
            util.retry_on_db_operational_error(flaky)()
        assert flaky.calls == util.TRIES

    @pytest.mark.parametrize("error", [DatabaseError("bad"), ValueError("bad")])
    def test_other_errors_are_told_at_once(self, error: Exception) -> None:
        flaky = Flaky(1, error)
        with pytest.raises(type(error), match="bad"):
            util.retry_on_db_operational_error(flaky)()
        assert flaky.calls == 1

    def test_nothing_is_repeated_inside_a_transaction(self) -> None:
        flaky = Flaky(1, OperationalError("away"))
        with pytest.raises(OperationalError, match="away"), transaction.atomic():
            util.retry_on_db_operational_error(flaky)()
        assert flaky.calls == 1

    def test_arguments_and_result_pass_through(self) -> None:
        decorated = util.retry_on_db_operational_error(lambda a, *, b: (a, b))
        assert decorated(1, b=2) == (1, 2)


@pytest.fixture
def outdated(transactional_db: None) -> Iterator[None]:
    """Connections of this thread are outdated as soon as they are open."""
    age = connection.settings_dict["CONN_MAX_AGE"]
    connection.close()
    connection.settings_dict["CONN_MAX_AGE"] = 0
    yield
    connection.settings_dict["CONN_MAX_AGE"] = age
    connection.close()


@pytest.mark.usefixtures("outdated")
@pytest.mark.parametrize("fails", [False, True])
def test_old_connections_are_closed_before_and_after_a_job(*, fails: bool) -> None:
    connection.ensure_connection()
    old = connection.connection
    inside: list[object] = []

    def job() -> str:
        """Use the database."""
        connection.ensure_connection()
        inside.append(connection.connection)
        if fails:
            raise ValueError("broken")
        return "done"

    decorated = util.close_old_connections(job)
    if fails:
        with pytest.raises(ValueError, match="broken"):
            decorated()
    else:
        assert decorated() == "done"
    assert inside[0] is not old
    assert connection.connection is None
    assert (decorated.__name__, decorated.__doc__) == ("job", "Use the database.")


@pytest.mark.django_db(transaction=True)
def test_a_connection_in_a_transaction_is_not_released() -> None:
    with transaction.atomic():
        util.release_connections()
        assert connection.connection is not None
    util.release_connections()
    assert connection.connection is None
