"""A dry run names the final status that the call gets, in particular where a leg leads nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tandem.dialplan.dryrun import DryRun, dry_run
from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.scene import AccountIs, LegSays, Scene, incoming_call
from tandem.dialplan.script import Language
from tests.support.appserver import Phone, account
from tests.support.dialling import Desk, provider
from tests.support.dialplans import plan

SCENE = Scene(
    at=0.0,
    accounts=(
        AccountIs(user="alice", domain="example.com", phones=0),
        AccountIs(user="bob", domain="example.com"),
        AccountIs(user="off", domain="example.com", enabled=False),
        AccountIs(user="own", domain="example.com", phones=0, dialplan="other"),
        AccountIs(user="same", domain="example.com", phones=0, dialplan="main"),
    ),
    domains={"example.com": "example.com", "local": "example.com"},
    providers=("prov",),
    disabled=("gone",),
)
CALL = incoming_call("alice@example.com", "5551234", customer="owner-alice")


async def dry(text: str, *legs: LegSays) -> DryRun:
    dialplan = replace(plan(f"exten => _X.,1,Dial({text})", language=Language.LINES), name="main")
    return await dry_run(LineRunner(), dialplan, CALL, replace(SCENE, legs=legs))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(
        account("alice"),
        account("bob"),
        account("off", enabled=False),
        account("own", in_dialplan="other"),
        account("same", in_dialplan="main", owner="owner-alice"),
    )
    made.providers = [provider(), provider("gone", enabled=False)]
    async with made:
        yield made


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        ("eve@local", []),
        ("alice@local", []),
        ("off@example.com", []),
        ("same@local", []),
        ("own@local", [486]),
        ("tel:+1-555", []),
        ("1@typo", []),
        ("1@gone", []),
        ("<sip:local>", []),
        ("eve@local & alice@local", []),
        ("alice@local | eve@local", []),
        ("1@prov | eve@local", [486]),
        ("1@prov & eve@local", [486]),
        ("alice@local |{none} 1@prov", [404]),
        ("1@prov |{-404} alice@local | bob@local", [404]),
        ("1@prov", [503]),
        ("1@prov", [407]),
        ("1@prov", [408]),
        ("1@prov & bob@local", [404, 486]),
        ("1@prov & bob@local", [603, 486]),
    ],
)
async def test_a_dry_run_says_what_the_caller_gets(
    desk: Desk, text: str, statuses: list[int]
) -> None:
    call = await desk.dial(text, *statuses)
    rung = [name for attempt in desk.rung for name in attempt]
    legs = [
        LegSays(to=name, status=status, reason=f"Reason {status}", after=1 + n)
        for n, (name, status) in enumerate(zip(rung, statuses, strict=True))
    ]
    found = await dry(text, *legs)
    assert (found.end, found.status, found.reason) == ("refused", call.sip_status, call.reason)
    assert found.dialled == tuple(rung)


async def test_what_leads_nowhere_is_a_step_that_says_why() -> None:
    found = await dry("eve@local | alice@local")
    assert [step.text for step in found.steps if step.what == "leg"] == [
        "eve@local leads nowhere: 404 There is no account eve@example.com",
        "alice@local leads nowhere: 480 Not registered",
    ]
    assert found.dialled == ()


async def test_what_is_said_of_a_leg_holds_even_if_it_leads_nowhere_now() -> None:
    found = await dry("alice@local", LegSays(to="alice@*", status=200))
    assert (found.end, found.dialled) == ("answered", ("alice@local",))


async def test_where_a_redirection_is_followed_the_new_leg_s_failure_counts() -> None:
    moved = LegSays(to="1@prov", status=302, contacts=("sip:x@example.net",))
    found = await dry("1@prov[rm=a]", moved, LegSays(to="x@example.net", status=486))
    assert (found.status, found.dialled) == (486, ("1@prov", "sip:x@example.net"))
    assert (await dry("1@prov[rm=a]", replace(moved, contacts=("sip:x@typo",)))).status == 302


async def test_a_leg_without_a_phone_rings_as_the_phone_does() -> None:
    async with Desk() as desk:
        await Phone(desk.site, "alice", host="203.0.113.9").registered()
        assert (await desk.dial("alice@local", 486)).sip_status == 486
