"""The report tells what was found, and needs nothing but itself."""

from typing import Any
from xml.etree import ElementTree

import pytest

from faults.report import page, spans


@pytest.fixture
def result() -> dict[str, Any]:
    """Ten seconds of a mix: s1 is active, frozen at 3 and thawed at 8; s2 goes on from 4; then findings."""
    events = [
        {"at": 100.0, "what": "started", "name": "s1", "pid": 1},
        {"at": 100.0, "what": "started", "name": "s2", "pid": 2},
        {"at": 103.0, "what": "frozen", "name": "s1", "pid": 1},
        {"at": 106.0, "what": "database down", "name": "database", "pid": None},
        {"at": 107.0, "what": "database up", "name": "database", "pid": None},
        {"at": 108.0, "what": "thawed", "name": "s1", "pid": 1},
        {"at": 110.0, "what": "ended", "name": "s1", "pid": 1},
        {"at": 110.0, "what": "ended", "name": "s2", "pid": 2},
    ]
    freeze = {"at": 103.0, "kind": "freeze", "name": "s1", "was_active": True, "until": 108.0}
    freeze |= {"alone": True, "gap": 1.25, "after_return": None, "title": "frozen (SIGSTOP), the active one"}
    return {
        "seed": 7,
        "database": "PostgreSQL",
        "versions": {"database": "PostgreSQL 17", "Python": "3.13"},
        "began": 100.0,
        "faults_ended": 109.0,
        "ended": 110.0,
        "runs": 1234,
        "rows": {"Executed": 1230, "Lost!": 4},
        "lost": {"never begun": 1, "broken off": 3},
        "terms": [{"name": "s1", "from": 100.5, "to": 103.0}, {"name": "s2", "from": 104.0, "to": 110.0}],
        "faults": [freeze],
        "edits": [],
        "events": events,
        "per_second": {"from": 100.0, "runs": [100] * 9 + [900]},
        "samples": [{"at": 101.0, "runs": 1, "schedulers": {"s1": {"pid": 1, "mb": 60.0, "threads": 20}}}],
        "checks": {"no time is started twice": 2, "no time is left out": 0},
        "surprises": 0,
        "findings": ["a <job> was started twice"],
    }


def test_findings_are_told_as_text(result: dict[str, Any]) -> None:
    assert "a &lt;job&gt; was started twice" in page(result)
    assert "broken 2 times" in page(result)
    assert "The checker found nothing wrong" not in page(result)
    assert "The checker found nothing wrong" in page(result | {"findings": []})


def test_the_page_stands_alone(result: dict[str, Any]) -> None:
    text = page(result)
    for loads in ("http", "src=", "href=", "url(", "<script", "<link", "@import"):
        assert loads not in text


def test_the_drawing_is_well_formed_and_marks_the_fault(result: dict[str, Any]) -> None:
    text = page(result)
    drawing = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])  # noqa: S314 - ours
    titles = [element.text for element in drawing.iter("title")]
    assert titles == ["frozen (SIGSTOP), the active one: 1.25 s without a claim"]


def test_each_lane_shows_who_was_what_when(result: dict[str, Any]) -> None:
    lives = (100.0, 110.0, "standby")
    assert spans(result, "s1") == [lives, (100.5, 103.0, "active"), (103.0, 108.0, "frozen")]
    assert spans(result, "s2") == [lives, (104.0, 110.0, "active")]
    assert spans(result, "database") == [(100.0, 110.0, "up"), (106.0, 107.0, "away")]
