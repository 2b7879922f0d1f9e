"""Calls that begin with us: whom their ends see calling."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.handlers.transfers import DialplanTransfers
from tandem.bus.call_events import CallRecord, CallStarted
from tandem.bus.dialplan_events import DialplanAsked
from tandem.rpc.programs import Provider
from tandem.sip.message import Request
from tests.support.flights import JOE, Tower, dialplan

PROV = Provider(
    id="p1", owner=JOE, name="prov", server="sip:sip.prov.example", username="u", password="p"
)


class Web(Tower):
    """Where calls are asked for over HTTP."""

    def __init__(self, *made: Any) -> None:
        super().__init__(*made, PROV)
        self.site.resolver.known["far.example"] = self.site.resolver.known["sip.prov.example"]

    @property
    def transfers(self) -> DialplanTransfers:
        found = self.site.app.transfers
        assert isinstance(found, DialplanTransfers)
        return found

    async def both(self) -> tuple[Request, Request]:
        """The INVITEs of both ends, the first of which answers."""
        first = await self.rung()
        await self.answer(first, 200)
        second = await self.rung()
        await self.answer(second, 486)
        await self.until(lambda: self.site.app.calls.live() == [])
        return first, second


def shown(invite: Request) -> tuple[str, str]:
    return invite.from_.display, str(invite.from_.uri)


@pytest.mark.parametrize(
    ("second", "first_sees"),
    [
        ("15551234@prov", "sip:15551234@example.com"),
        ("alice@local", "sip:alice@example.com"),
        ("x@far.example:5070 | 1@prov", "sip:x@far.example"),
    ],
)
async def test_the_first_end_sees_the_other_party_and_the_other_the_account(
    second: str, first_sees: str
) -> None:
    async with Web() as tower:
        await tower.transfers.connect(JOE, "bob@local", second)
        one, other = await tower.both()
        assert shown(one) == ("", first_sees)
        wants = "sip:u@sip.prov.example" if "prov" in second and "|" not in second else None
        assert shown(other) == ("", wants or "sip:bob@example.com")
        (started,) = tower.events(CallStarted)
        assert started.caller == "sip:bob@example.com"
        (record,) = tower.events(CallRecord)
        assert record.caller == "sip:bob@example.com"
        assert "192.168" not in record.destination


async def test_a_telephone_number_is_one_of_the_home_domain() -> None:
    async with Web() as tower:
        await tower.transfers.connect(JOE, "bob@local", "tel:+1-555")
        invite = await tower.rung()
        assert shown(invite) == ("", "sip:+1-555@example.com")
        await tower.answer(invite, 486)


async def test_a_number_that_is_rung_first_is_what_the_account_sees() -> None:
    async with Web() as tower:
        await tower.transfers.connect(JOE, "x@far.example", "bob@local[fd=Office]")
        one, other = await tower.both()
        assert shown(one) == ("", "sip:bob@example.com")
        assert shown(other) == ("Office", "sip:x@far.example")


async def test_a_web_callback_shows_the_number_that_was_asked_for() -> None:
    source = 'sys.callback("bob@local", req.user + "@prov")'
    async with Web(dialplan(source, "webcallback")) as tower:
        await tower.transfers.run_dialplan(JOE, "webcallback", "15551234")
        one, other = await tower.both()
        assert shown(one) == ("", "sip:15551234@example.com")
        assert other.uri == "sip:15551234@sip.prov.example"


async def test_a_callback_shows_neither_who_called_before_nor_a_contact() -> None:
    source = 'sys.callback("bob@local", "alice@local")\nsys.respond(486)'
    async with Web(dialplan(source)) as tower:
        await tower.call()
        await tower.final()
        one, other = await tower.both()
        assert shown(one) == ("", "sip:alice@example.com")
        assert shown(other) == ("", "sip:bob@example.com")


async def test_a_second_dial_string_that_makes_no_sense_rings_nobody() -> None:
    source = 'sys.callback("bob@local", "[" + req.user)\nsys.respond(486)'
    async with Web(dialplan(source)) as tower:
        await tower.call()
        await tower.until(lambda: len(tower.events(DialplanAsked)) == 2)
        assert "in the dial string" in tower.events(DialplanAsked)[1].result
        assert not [m for m in tower.sent if isinstance(m, Request) and m.method == "INVITE"]
