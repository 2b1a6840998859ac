"""A missing tool skips a test, and fails it where nothing may be skipped."""

import pytest

import layers


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "PROBES", {"broken": lambda: False, "working": lambda: True})
    layers.present.cache_clear()


def test_a_tool_that_works_is_no_reason_to_stop() -> None:
    layers.needs("working")


def test_a_missing_tool_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_ALL_LAYERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="broken"):
        layers.needs("broken")


def test_a_missing_tool_fails_where_all_layers_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_ALL_LAYERS", "1")
    with pytest.raises(pytest.fail.Exception, match="broken"):
        layers.needs("broken")


def test_a_command_that_is_missing_or_fails_does_not_answer() -> None:
    assert not layers.answers("no-such-command-anywhere")
    assert not layers.answers("false")
    assert layers.answers("true")
