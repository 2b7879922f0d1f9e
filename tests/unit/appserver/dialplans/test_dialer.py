"""Attempt after attempt: when the next one is tried, and what the caller hears at last."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tandem.dialplan.world import DialStatus, Ended
from tests.support.dialling import Desk, provider

TWO = "1@prov | bob@example.com"
FIRST, SECOND = ["1@prov"], ["bob@example.com"]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as made:
        yield made


@pytest.mark.parametrize("status", [302, 403, 404, 408, 480, 500, 503, "time-out"])
async def test_a_failure_is_followed_by_the_next_attempt(desk: Desk, status: int | str) -> None:
    await desk.dial(TWO, status)
    assert desk.rung == [FIRST, SECOND]


@pytest.mark.parametrize("status", [486, 600, 603, 604, 606])
async def test_the_answer_of_a_person_is_not(desk: Desk, status: int) -> None:
    outcome = await desk.dial(TWO, status)
    assert desk.rung == [FIRST]
    assert (outcome.status, outcome.sip_status) == (DialStatus.FAILED, status)


@pytest.mark.parametrize(
    ("text", "failover", "status", "goes_on"),
    [
        ("1@prov |{busy} bob@example.com", "", 486, True),
        ("1@prov |{busy} bob@example.com", "", 603, False),
        ("1@prov |{-404} bob@example.com", "", 404, False),
        ("1@prov |{none,5xx} bob@example.com", "", 404, False),
        ("1@prov |{none,5xx} bob@example.com", "", 503, True),
        ("1@prov |{-no-answer} bob@example.com", "", "time-out", False),
        (TWO, "declined", 603, True),
        (TWO, "none", 503, False),
        ("1@prov |{busy} bob@example.com", "none", 486, True),
    ],
)
async def test_the_customer_says_after_what(
    desk: Desk, text: str, failover: str, status: int | str, goes_on: bool
) -> None:
    await desk.dial(text, status, failover=failover)
    assert desk.rung == ([FIRST, SECOND] if goes_on else [FIRST])


async def test_one_person_s_no_among_several_legs_counts_as_the_caller_would_hear_it(
    desk: Desk,
) -> None:
    desk.providers = [provider(), provider("two", server="sip:sip.prov.example:5070")]
    await desk.dial("1@prov & 1@two | bob@example.com", 503, 603)
    assert desk.rung == [["1@prov", "1@two"]]
    await desk.dial("1@prov & 1@two | bob@example.com", 503, 486)
    assert desk.rung == [["1@prov", "1@two"]]
    await desk.dial("1@prov & 1@two | bob@example.com", 404, 503)
    assert desk.rung == [["1@prov", "1@two"], SECOND]


async def test_an_attempt_without_a_leg_is_passed_over(desk: Desk) -> None:
    outcome = await desk.dial("alice@example.com |{none} 1@prov", 486)
    assert desk.rung == [FIRST]
    assert [leg.status for leg in outcome.legs] == [480, 486]


async def test_the_policy_looks_at_the_last_attempt_that_rang(desk: Desk) -> None:
    await desk.dial("1@prov | alice@example.com | bob@example.com", 486)
    assert desk.rung == [FIRST]
    await desk.dial("1@prov |{busy} alice@example.com | bob@example.com", 486)
    assert desk.rung == [FIRST]


@pytest.mark.parametrize(
    ("text", "statuses", "status", "sip_status", "reason"),
    [
        ("alice@example.com", [], DialStatus.FAILED, 480, "Not registered"),
        ("eve@local", [], DialStatus.FAILED, 404, "There is no account eve@example.com"),
        ("eve@local & alice@local", [], DialStatus.FAILED, 480, "Not registered"),
        (
            "alice@local | 1@x",
            [],
            DialStatus.FAILED,
            404,
            "There is no provider and no domain x",
        ),
        ("1@prov | alice@example.com", [404], DialStatus.FAILED, 404, "Reason 404"),
        (TWO, [503, 404], DialStatus.FAILED, 404, "Reason 404"),
        (TWO, [404, 503], DialStatus.FAILED, 500, "Server Internal Error"),
        ("1@prov & bob@example.com", [503, 486], DialStatus.FAILED, 486, "Reason 486"),
        ("1@prov & bob@example.com", [404, 603], DialStatus.FAILED, 603, "Reason 603"),
        ("1@prov", ["time-out"], DialStatus.NO_ANSWER, 480, "No answer"),
        ("1@prov", [408], DialStatus.NO_ANSWER, 480, "No answer"),
        ("1@prov", [407], DialStatus.FAILED, 403, "Forbidden"),
    ],
)
async def test_what_the_caller_hears_at_last(
    desk: Desk,
    text: str,
    statuses: list[int | str],
    status: DialStatus,
    sip_status: int,
    reason: str,
) -> None:
    outcome = await desk.dial(text, *statuses)
    assert (outcome.status, outcome.sip_status, outcome.reason) == (status, sip_status, reason)


async def test_an_answer_ends_the_script(desk: Desk) -> None:
    with pytest.raises(Ended):
        await desk.dial(TWO, 503, "answer")
    assert desk.rung == [FIRST, SECOND]


async def test_a_run_rings_so_many_legs_and_no_more(desk: Desk) -> None:
    for _ in range(10):
        await desk.dial(TWO)
    outcome = await desk.dial("bob@example.com")
    assert desk.rung == []
    assert (outcome.status, outcome.sip_status) == (DialStatus.ERROR, 480)
    assert outcome.reason == "More than 20 legs"


async def test_the_line_form_is_understood_where_it_is_asked_for(desk: Desk) -> None:
    await desk.dial("u,p,1@sip.prov.example", asterisk_form=True)
    assert desk.rung == [["1@sip.prov.example"]]
