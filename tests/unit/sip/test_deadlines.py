"""The deadline heap, with a clock moved by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tandem.sip.deadlines import COMPACT_ABOVE, Deadlines, Wake


def noting(made: list[Any], what: object) -> Wake:
    return lambda now: made.append(what)


def test_nothing_is_due_in_an_empty_heap() -> None:
    deadlines = Deadlines()
    assert deadlines.next() is None
    assert len(deadlines) == 0
    deadlines.run(1e9)


def test_calls_are_made_in_order_once_and_not_before_their_time() -> None:
    deadlines = Deadlines()
    made: list[str] = []
    for name, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        deadlines.at(when, noting(made, name))
    assert deadlines.next() == 1.0
    deadlines.run(0.9)
    assert made == []
    deadlines.run(2.0)
    deadlines.run(2.0)
    assert made == ["a", "b"]
    assert deadlines.next() == 3.0
    assert len(deadlines) == 1


def test_equal_times_run_in_the_order_they_were_asked() -> None:
    deadlines = Deadlines()
    made: list[int] = []
    for number in range(20):
        deadlines.at(1.0, noting(made, number))
    deadlines.run(1.0)
    assert made == list(range(20))


def test_what_a_call_adds_for_now_runs_too_and_for_later_waits() -> None:
    deadlines = Deadlines()
    made: list[str] = []

    def first(now: float) -> None:
        made.append("first")
        deadlines.at(now, lambda now: made.append("now"))
        deadlines.at(now + 1, lambda now: made.append("later"))

    deadlines.at(1.0, first)
    deadlines.run(1.0)
    assert made == ["first", "now"]
    deadlines.run(2.0)
    assert made == ["first", "now", "later"]


def test_a_cancelled_call_is_not_made_and_not_counted() -> None:
    deadlines = Deadlines()
    made: list[float] = []
    first = deadlines.at(1.0, made.append)
    deadlines.at(2.0, made.append)
    first.cancel()
    first.cancel()
    assert len(deadlines) == 1
    assert deadlines.next() == 2.0
    deadlines.run(5.0)
    assert made == [5.0]
    assert len(deadlines) == 0


def test_a_cancelled_call_that_comes_due_is_passed_over() -> None:
    deadlines = Deadlines()
    made: list[float] = []
    deadlines.at(1.0, made.append).cancel()
    deadlines.run(1.0)
    assert made == []
    assert len(deadlines) == 0


def test_cancel_after_it_came_due_is_allowed() -> None:
    deadlines = Deadlines()
    made: list[float] = []
    deadline = deadlines.at(1.0, made.append)
    deadlines.run(1.0)
    deadline.cancel()
    assert made == [1.0]
    assert len(deadlines) == 0


def test_a_call_that_raises_leaves_the_others_in_place() -> None:
    deadlines = Deadlines()
    made: list[float] = []

    def broken(now: float) -> None:
        raise ValueError("broken")

    deadlines.at(1.0, broken)
    deadlines.at(1.0, made.append)
    with pytest.raises(ValueError, match="broken"):
        deadlines.run(1.0)
    deadlines.run(1.0)
    assert made == [1.0]


def test_many_cancelled_entries_leave_the_heap() -> None:
    deadlines = Deadlines()
    made: list[float] = []
    doomed = [deadlines.at(100.0, made.append) for _ in range(COMPACT_ABOVE * 3)]
    kept = [deadlines.at(200.0 + n, made.append) for n in range(10)]
    for deadline in doomed:
        deadline.cancel()
    assert len(deadlines) == len(kept)
    assert len(deadlines._heap) <= COMPACT_ABOVE + len(kept)
    deadlines.run(1000.0)
    assert made == [1000.0] * 10


def test_a_call_may_cancel_so_many_that_the_heap_is_made_anew_under_run() -> None:
    deadlines = Deadlines()
    made: list[str] = []
    doomed = [deadlines.at(1.0, lambda now: made.append("doomed")) for _ in range(5000)]

    def cancel_all(now: float) -> None:
        for deadline in doomed:
            deadline.cancel()

    deadlines.at(0.5, cancel_all)
    deadlines.at(1.0, lambda now: made.append("kept"))
    deadlines.run(1.0)
    assert made == ["kept"]
    assert len(deadlines) == 0


def test_random_use_agrees_with_a_sorted_list() -> None:
    rng = random.Random(7)
    deadlines = Deadlines()
    made: list[int] = []
    expected: list[tuple[float, int]] = []
    for number in range(3000):
        when = rng.uniform(0, 100)
        deadline = deadlines.at(when, noting(made, number))
        if rng.random() < 0.6:
            deadline.cancel()
        else:
            expected.append((when, number))
    for step in range(101):
        deadlines.run(float(step))
    assert made == [number for _, number in sorted(expected)]


def test_what_may_be_late_comes_together_and_never_early() -> None:
    deadlines = Deadlines()
    came: list[float] = []
    for when in (1.01, 1.1, 1.2, 1.25):
        deadlines.about(when, 0.25, lambda _, when=when: came.append(when))  # type: ignore[misc]
    deadlines.run(1.24)
    assert came == []
    assert deadlines.next() == 1.25
    deadlines.run(1.25)
    assert came == [1.01, 1.1, 1.2, 1.25]
    for number in range(1, 1000):
        assert 0 <= deadlines.about(number / 7, 0.1, came.append).when - number / 7 <= 0.1 + 1e-9
