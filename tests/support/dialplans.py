"""Dialplans for tests: a world that notes what is asked of it, and answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from tandem.dialplan.script import Dialplan, Language, Limits, Runner
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import (
    CallbackOutcome,
    CallbackWish,
    Contact,
    Dial,
    DialStatus,
    Ended,
    HttpAnswer,
    HttpQuestion,
    Incoming,
    LegResult,
    Outcome,
    RunningCall,
)

BUSY = LegResult("bob", "sip:bob@example.com", 486, "Busy Here")
FAILED = Outcome(DialStatus.FAILED, 486, "Busy Here", (BUSY,))


class NotingWorld:
    """`world.World`. What is put into `outcomes` comes of the dials, one after the other; then
    they fail. `gate`: dials wait until it is set."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.gate: asyncio.Event | None = None
        self.dials: list[Dial] = []
        self.transfers: list[Dial] = []
        self.hung_up = False
        self.dialled = asyncio.Event()
        self.responses: list[tuple[int, str, tuple[tuple[str, str], ...]]] = []
        self.logs: list[str] = []
        self.questions: list[HttpQuestion] = []
        self.wishes: list[CallbackWish] = []
        self.mails: list[tuple[tuple[str, ...], str, str]] = []
        self.callbacks: list[tuple[str, str, float]] = []
        self.accounts: list[tuple[str, str]] = []
        self.values: dict[str, str] = {}
        self.slept = 0.0
        self.time = 1_782_907_200.0  # 2026-07-01 12:00 UTC
        self.answer = HttpAnswer(200, "yes", "text/plain")
        self.dialling: Callable[[Dial], None] = lambda dial: None

    async def dial(self, dial: Dial) -> Outcome:
        self.dials.append(dial)
        self.dialled.set()
        self.dialling(dial)
        if self.gate is not None:
            await self.gate.wait()
        return await self._outcome()

    async def _outcome(self) -> Outcome:
        outcome = self.outcomes.pop(0) if self.outcomes else FAILED
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def transfer(self, dial: Dial) -> Outcome:
        self.transfers.append(dial)
        return await self._outcome()

    async def hang_up(self) -> None:
        self.hung_up = True
        raise Ended

    async def respond(self, status: int, reason: str, headers: Sequence[tuple[str, str]]) -> None:
        self.responses.append((status, reason, tuple(headers)))
        if status >= 300:
            raise Ended

    async def log(self, text: str) -> None:
        self.logs.append(text)

    async def callback(self, first: str, second: str, delay: float) -> None:
        self.callbacks.append((first, second, delay))

    async def wait_for_callback(self, wish: CallbackWish) -> CallbackOutcome:
        self.wishes.append(wish)
        return CallbackOutcome(False, "no callback")

    async def bindings(self, user: str, domain: str) -> list[Contact]:
        self.accounts.append((user, domain))
        return [Contact("sip:bob@192.0.2.7", "udp:192.0.2.7:5060", "Phone/1", 60)]

    async def is_available(self, user: str, domain: str) -> bool:
        self.accounts.append((user, domain))
        return user == "bob"

    async def account_exists(self, user: str, domain: str) -> bool:
        self.accounts.append((user, domain))
        return user == "bob"

    async def is_mine(self, user: str, domain: str) -> bool:
        self.accounts.append((user, domain))
        return user == "bob"

    async def canonical_domain(self, domain: str) -> str:
        return "example.com" if domain == "local" else ""

    async def enum(self, number: str, zone: str) -> str:
        return f"sip:{number}@{zone}"

    async def http(self, question: HttpQuestion) -> HttpAnswer:
        self.questions.append(question)
        return self.answer

    async def email(self, to: Sequence[str], subject: str, body: str) -> None:
        self.mails.append((tuple(to), subject, body))

    async def read(self, key: str) -> str | None:
        return self.values.get(key)

    async def write(self, key: str, value: str) -> None:
        self.values[key] = value

    async def delete(self, key: str) -> bool:
        return self.values.pop(key, None) is not None

    async def keys(self) -> list[str]:
        return sorted(self.values)

    async def current_calls(self) -> list[RunningCall]:
        return [RunningCall("c1", "sip:alice@example.com", "sip:bob@example.com", "setup", 1.5)]

    async def wait_for_signal(self, key: str, seconds: float) -> str | None:
        return self.values.get(f"signal:{key}")

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.time += seconds

    def now(self) -> float:
        return self.time


def incoming(**changes: Any) -> Incoming:
    """A call of alice's to 2127."""
    facts: dict[str, Any] = {
        "direction": "out",
        "customer": "joe",
        "account": "alice@example.com",
        "uri": "sip:2127@example.com",
        "user": "2127",
        "host": "example.com",
        "from_name": "Alice",
        "from_user": "alice",
        "from_host": "example.com",
        "from_uri": "sip:alice@example.com",
        "headers": {"x-trunk": ("a", "b")},
    }
    return Incoming(**(facts | changes))


def plan(source: str, **changes: Any) -> Dialplan:
    """A dialplan of joe's."""
    facts: dict[str, Any] = {
        "id": "d1",
        "owner": "joe",
        "name": "office",
        "language": Language.PYTHON,
        "source": source,
        "timezone": "Europe/Dublin",
    }
    return Dialplan(**(facts | changes))


async def run(
    runner: Runner,
    source: str,
    world: NotingWorld | None = None,
    *,
    limits: Limits | None = None,
    req: Incoming | None = None,
    **changes: Any,
) -> NotingWorld:
    """Run a script to its end, whichever that is."""
    world = world or NotingWorld()
    dialplan = plan(source, **changes)
    try:
        sys = Sys(world, req or incoming(), dialplan)
        await runner.run(dialplan, sys, limits or Limits())
    except Ended:
        world.logs.append("(ended)")
    return world
