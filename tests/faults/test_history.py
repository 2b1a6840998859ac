"""The checker finds what is wrong: each test breaks one promise in an otherwise good history."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.cluster import Event
from faults.figures import Fault, measure
from faults.history import (
    EXECUTED,
    LOST,
    MISSED,
    SENT,
    SKIPPED,
    Declared,
    History,
    Row,
    Start,
    pause_after,
    read_trace,
    seconds,
)

FIRST, SECOND = 501, 502


def good() -> History:
    """Ten seconds: one process until it was killed at 5.55 with a run, then another under epoch 2."""
    rows, starts = [], []
    for number in range(10):
        at = 1000.0 + number
        pid, epoch = (FIRST, 1) if number < 6 else (SECOND, 2)
        is_lost = number == 5
        ended = None if is_lost else at + 0.8
        status, finished = (LOST, at + 3) if is_lost else (EXECUTED, at + 0.8)
        rows.append(Row(number + 1, "steady", at, status, at + 0.1, finished, epoch, pid, ""))
        starts.append(Start("steady", number + 1, at, epoch, pid, at + 0.2, ended))
    events = [
        Event(990.0, "started", "s1", FIRST),
        Event(990.0, "started", "s2", SECOND),
        Event(1005.55, "killed", "s1", FIRST),
        Event(1005.56, "ended", "s1", FIRST),
        Event(1020.0, "told to stop", "s2", SECOND),
        Event(1020.5, "ended", "s2", SECOND),
    ]
    return History(rows, starts, {"steady": Declared(every=1, at_once=1)}, events, frozenset({6}))


def row(history: History, number: int, **changes: object) -> None:
    """Change a row."""
    history.rows = [
        dataclasses.replace(one, **changes) if one.id == number else one  # type: ignore[arg-type]
        for one in history.rows
    ]


def start(history: History, number: int, **changes: object) -> None:
    """Change what the trace tells of a run."""
    history.starts = [
        dataclasses.replace(one, **changes) if one.execution == number else one  # type: ignore[arg-type]
        for one in history.starts
    ]


def repeat(history: History) -> None:
    again = dataclasses.replace(history.starts[2], pid=SECOND, epoch=2, began=1002.9)
    history.starts = [*history.starts, again]


def forget_row(history: History) -> None:
    history.rows = [*history.rows[:3], *history.rows[4:]]


def forget_start(history: History) -> None:
    history.starts = [*history.starts[:3], *history.starts[4:]]


def forget_kill(history: History) -> None:
    history.events = [event for event in history.events if event.pid != FIRST]


def never_run(history: History) -> None:
    history.jobs["other"] = Declared(every=1)


def test_a_good_history_has_no_findings() -> None:
    assert good().findings() == []


BROKEN: dict[str, tuple[Callable[[History], None], str]] = {
    "a time started twice": (repeat, "started twice: by process 501 under epoch 1, and by process 502"),
    "a run without a row": (forget_row, "the history does not know of it"),
    "a time left out": (forget_row, "steady left out 1 times after 00:16:42"),
    "a job that never ran": (never_run, "other never ran"),
    "a row of another process": (lambda h: row(h, 3, pid=SECOND), "the history says in process 502"),
    "a row of another epoch": (lambda h: row(h, 3, epoch=2), "under epoch 1, and the history says 2"),
    "a started run that is called missed": (
        lambda h: row(h, 3, status=MISSED),
        "the history calls it 'Missed!'",
    ),
    "a missed time": (lambda h: row(h, 3, status=MISSED), "was missed, within its grace"),
    "a run left unfinished": (lambda h: row(h, 3, status=SENT), "is still 'Started execution'"),
    "a failed run": (lambda h: row(h, 3, status="Error!"), "no job here raises"),
    "a run called executed that never ran": (forget_start, "did not run to its end"),
    "a run called executed that was broken off": (
        lambda h: start(h, 4, ended=None),
        "did not run to its end",
    ),
    "an overlap": (lambda h: start(h, 3, ended=1003.5), "ran 2 times at once"),
    "an overlap with a run that died": (lambda h: start(h, 7, began=1005.4), "ran 2 times at once"),
    "an old epoch after a new one": (lambda h: row(h, 4, claimed_at=1008.5), "after a claim under epoch 2"),
    "two processes with one epoch": (lambda h: row(h, 4, pid=SECOND), "Epoch 1 was used by 2 processes"),
    "a lost run that was overwritten": (
        lambda h: row(h, 6, status=EXECUTED),
        "declared lost and is 'Executed'",
    ),
    "a lost run that is gone": (lambda h: setattr(h, "seen_lost", {99}), "declared lost and is 'gone'"),
    "a run lost without a reason": (forget_kill, "nothing had been done to process 501"),
    "a run lost before its reason": (lambda h: row(h, 6, finished=1005.5), "nothing had been done"),
}


@pytest.mark.parametrize(("break_it", "sentence"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_wrong_is_found(break_it: Callable[[History], None], sentence: str) -> None:
    history = good()
    break_it(history)
    assert any(sentence in finding for finding in history.findings()), history.findings()


def test_a_job_that_may_run_many_times_at_once_may_not_be_skipped() -> None:
    history = good()
    history.jobs["steady"] = Declared(every=1)
    row(history, 4, status=SKIPPED)
    forget_start(history)
    assert any("may run many times" in finding for finding in history.findings())


def skip_in_one_row(history: History, times: int) -> None:
    """Let the times from the fourth to the sixth be skipped, as told by one row."""
    history.rows = [one for one in history.rows if one.id not in (5, 6)]
    history.starts = [one for one in history.starts if one.execution not in (4, 5, 6)]
    history.seen_lost = frozenset()
    row(history, 4, status=SKIPPED, times=times, last_run_time=1005.0)


def test_a_row_stands_for_all_the_times_that_it_counts() -> None:
    history = good()
    skip_in_one_row(history, times=3)
    assert history.findings() == []


def test_a_row_that_counts_too_few_times_leaves_some_out() -> None:
    history = good()
    skip_in_one_row(history, times=2)
    assert any("left out" in finding for finding in history.findings()), history.findings()


def test_a_run_that_was_declared_lost_counts_as_running_until_then() -> None:
    history = good()
    history.events = [Event(1005.5, "frozen", "s1", FIRST), Event(1009.0, "thawed", "s1", FIRST)]
    row(history, 6, finished=1005.9)
    start(history, 6, ended=1009.1)
    assert history.findings() == []
    row(history, 6, finished=1006.5)
    assert any("ran 2 times at once" in finding for finding in history.findings())


def test_a_run_that_died_ends_with_its_process() -> None:
    history = good()
    start(history, 7, began=1005.6)
    assert history.findings() == []


def test_many_findings_of_one_kind_are_counted() -> None:
    history = good()
    history.rows = []
    assert "... and 5 more like the last one." in history.findings()


def test_the_trace_of_a_run_that_did_not_end_is_read_too(tmp_path: Path) -> None:
    when = "2026-01-01T00:00:00.100000+00:00"
    (tmp_path / "trace").write_text(
        f"+ a 7 {when} 3 42 100.5\n+ b 8 {when} 3 42 100.6\n- a 7 {when} 3 42 100.7\n"
    )
    ended, broken_off = read_trace(tmp_path / "trace")
    assert ended == Start("a", 7, seconds(when), 3, 42, 100.5, 100.7)
    assert broken_off == Start("b", 8, seconds(when), 3, 42, 100.6, None)


def test_the_pause_after_a_fault_may_begin_a_moment_later() -> None:
    claims = [10.0, 10.1, 10.2, 19.2, 19.3]
    assert pause_after(claims, 10.05) == pytest.approx(9.0)
    assert pause_after(claims, 19.25) == pytest.approx(0.05)
    assert pause_after(claims, 15.0) == pytest.approx(4.2)
    assert pause_after(claims, 19.4) is None


def test_a_pause_is_a_faults_own_only_if_no_other_fault_made_it_longer() -> None:
    claims = [number / 10 for number in range(100)] + [15 + number / 10 for number in range(50)]
    lonely = Fault(3.01, "kill", "s1", was_active=True)
    first, second = Fault(9.93, "kill", "s1", was_active=True), Fault(11.0, "kill", "s2", was_active=True)
    measure([lonely, first, second], claims, [])
    assert (lonely.alone, first.alone, second.alone) == (True, False, False)
    assert lonely.gap == pytest.approx(0.1)
    assert first.gap == pytest.approx(15 - 9.93)


def test_a_database_that_was_away_is_measured_from_its_return_too() -> None:
    fault = Fault(1.05, "restart", "database", was_active=False)
    measure([fault], [0.9, 1.0, 4.5, 4.6], [Event(4.0, "database up", "database")])
    assert fault.gap == pytest.approx(3.45)
    assert fault.after_return == pytest.approx(0.5)
