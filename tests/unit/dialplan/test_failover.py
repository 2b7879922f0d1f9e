"""After which failures the next attempt is tried."""

from __future__ import annotations

import pytest

from tandem.dialplan.failover import TIMED_OUT, Policy
from tandem.dialplan.scan import DialStringError


@pytest.mark.parametrize(
    ("text", "on", "stop"),
    [
        ("", {TIMED_OUT, 302, 401, 404, 408, 480, 487, 500, 503}, {486, 600, 603, 604, 606, 607}),
        ("busy", {486, 600, 404}, {603, 604}),
        ("Busy, Declined", {486, 600, 603, 607, 608}, {604, 606}),
        ("-no-answer", {404, 480}, {TIMED_OUT, 408}),
        ("-5xx,503", {503, 404}, {500, 502}),
        ("none,5xx,408", {408, 500}, {TIMED_OUT, 404, 486}),
        ("all,-603", {486, 600, 604}, {603}),
        ("6xx", {600, 606}, {486}),
        ("-480", {404}, {480}),
        ("busy,none", set(), {TIMED_OUT, 404, 486}),
    ],
)
def test_a_policy_says_after_what_it_goes_on(text: str, on: set[int], stop: set[int]) -> None:
    policy = Policy.parse(text)
    assert {status for status in on | stop if policy.allows(status)} == on
    assert Policy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("bussy", 0),
        ("busy,", 5),
        ("busy,,404", 5),
        ("busy 404", 5),
        ("200", 0),
        ("700", 0),
        ("2xx", 0),
        ("7xx", 0),
        ("٤xx", 0),
        ("-all", 0),
        ("--404", 0),
        ("-", 0),
        ("40", 0),
        ("busy\n", 4),
    ],
)
def test_what_is_no_policy_is_refused(text: str, position: int) -> None:
    with pytest.raises(DialStringError) as caught:
        Policy.parse(text)
    assert caught.value.position == position
