"""A proxy that is not believed is told in the log: its visitors are redirected for ever."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

LOGGER = "config.proxies"


@pytest.fixture(autouse=True)
def _https(settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True


def test_a_proxy_that_is_not_believed_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(REMOTE_ADDR="172.18.0.1", headers={"x-forwarded-proto": "https"})
    for _ in range(3):
        assert client.get("/admin/login/").status_code == 301
    [record] = [one for one in caplog.records if one.name == LOGGER]
    assert "FORWARDED_ALLOW_IPS=172.18.0.1" in record.getMessage()


@pytest.mark.parametrize(("secure", "says"), [(True, "https"), (False, "http"), (False, "")])
def test_nothing_is_said_of_other_requests(
    caplog: pytest.LogCaptureFixture, secure: bool, says: str, db: None
) -> None:
    headers = {"x-forwarded-proto": says} if says else {}
    Client(headers=headers).get("/admin/login/", secure=secure)
    assert [one for one in caplog.records if one.name == LOGGER] == []


def test_nothing_is_said_where_plain_http_is_served(
    caplog: pytest.LogCaptureFixture, settings: Settings, db: None
) -> None:
    settings.SECURE_SSL_REDIRECT = False
    Client(headers={"x-forwarded-proto": "https"}).get("/admin/login/")
    assert [one for one in caplog.records if one.name == LOGGER] == []
