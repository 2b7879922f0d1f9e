"""Dialplans that run for calls: a Site with a real B2BUA and engine, and what its parts answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

from services.appserver.dialplans import Parts
from services.appserver.domain.callbacks import Trigger
from services.appserver.handlers.calls import Calls
from services.appserver.ports import Page
from tandem.bus.event import Event
from tandem.dialplan.linerunner import LineRunner
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.script import Dialplan, Language
from tandem.rpc.programs import Provider
from tandem.sip.build import record_routes, response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import Address, Phone, Site, account
from tests.support.sipworld import ANSWER, OFFER

SDP = "Content-Type: application/sdp"
JOE = "owner-alice"


class FakeWeb:
    """Answers requests by their URL's path; what it has no page for, 404."""

    def __init__(self) -> None:
        self.asked: list[Trigger] = []
        self.pages: dict[str, Page] = {}

    async def fetch(self, trigger: Trigger, seconds: float, customer: str) -> Page:
        self.asked.append(trigger)
        path = "/" + trigger.url.partition("://")[2].partition("/")[2].partition("?")[0]
        return self.pages.get(path, Page(404))


class FakeMailer:
    """Keeps mails."""

    def __init__(self) -> None:
        self.sent: list[tuple[tuple[str, ...], str, str]] = []
        self.problem = ""

    async def send(self, to: Sequence[str], subject: str, body: str) -> str:
        self.sent.append((tuple(to), subject, body))
        return self.problem


def dialplan(source: str, name: str = "main", owner: str = JOE, **more: Any) -> Dialplan:
    """A Python dialplan; `main` is alice's outgoing one."""
    given = {"language": Language.PYTHON, "version": 3, **more}
    return Dialplan(id=name, owner=owner, name=name, source=source, **given)


class Tower:
    """alice, whose outgoing calls run `main`; bob, who is rung as any phone; carol, whose incoming
    calls run `in` of owner-carol."""

    def __init__(self, *made: Dialplan | Provider, **settings: Any) -> None:
        self.web = FakeWeb()
        self.mailer = FakeMailer()
        self.runner = MontyRunner(2)
        parts = Parts(
            web=self.web,
            mailer=self.mailer,
            runners={Language.PYTHON: self.runner, Language.LINES: LineRunner()},
        )
        self.site = Site(
            account("alice", out_dialplan="main"),
            account("bob"),
            account("carol", in_dialplan="in"),
            account("dave", owner="owner-dave"),
            b2bua=Calls,
            parts=parts,
            **settings,
        )
        self.programs = self.site.programs
        self.programs.add(*made)
        self.site.resolver.known["sip.prov.example"] = [Address("udp", "198.51.100.4", 5060)]
        self.alice = Phone(self.site)
        self.bob = Phone(self.site, "bob", host="203.0.113.8")
        self.sent: list[Any] = []

    async def __aenter__(self) -> Self:
        await self.site.__aenter__()
        await self.bob.registered()
        await self.alice.registered()
        self.site.link.take()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.site.__aexit__(*exc)

    async def call(self, to: str = "sip:2127@example.com", phone: Phone | None = None) -> None:
        """Send an INVITE, answering the challenge."""
        phone = phone or self.alice
        self.sent += await phone.asked("INVITE", to, SDP, body=OFFER)

    async def until(self, there: Callable[[], Any]) -> Any:
        """Wait for something true."""
        async with asyncio.timeout(15):
            while not (found := there()):
                await asyncio.sleep(0.002)
                self.sent += self.site.link.take()
        return found

    async def rung(self) -> Request:
        """The next INVITE that left."""

        def look() -> Request | None:
            for message in self.sent:
                if isinstance(message, Request) and message.method == "INVITE":
                    self.sent.remove(message)
                    return message
            return None

        found: Request = await self.until(look)
        return found

    async def final(self) -> Response:
        """The final answer that the caller got."""

        def look() -> Response | None:
            finals = [m for m in self.sent if isinstance(m, Response) and m.status >= 200]
            return finals[0] if finals else None

        found: Response = await self.until(look)
        return found

    async def answer(self, to: Request, status: int, *headers: str) -> None:
        """A phone's answer."""
        body = ANSWER if 180 < status < 300 else b""
        lines = [*record_routes(to), "Contact: <sip:bob@192.168.1.2>", *headers]
        lines += [SDP] if body else []
        answer = response_to(to, status, tag="bobs", headers=lines, body=body)
        self.sent += await self.site.send(answer.to_bytes())

    async def ended(self) -> None:
        """No dialplan runs any more."""
        engine = self.site.app.dialplans
        assert engine is not None
        await self.until(lambda: not len(engine) and not engine._tasks)

    def events(self, kind: type[Event]) -> list[Any]:
        """Those of a kind so far."""
        return [payload for _, payload in self.site.bus.published if type(payload) is kind]

    @property
    def logs(self) -> list[str]:
        """What was logged."""
        from tandem.bus.dialplan_events import DialplanLog

        return [event.said for event in self.events(DialplanLog)]


def limited(made: Dialplan, most: int) -> Dialplan:
    """With this limit of runs at once."""
    return replace(made, max_executions=most)
