"""A world for Ruby dialplans under test: it writes down what they do, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.script import Dialplan, Language, Limits, ScriptFault
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import (
    CallbackOutcome,
    CallbackWish,
    Contact,
    Dial,
    DialplanError,
    DialStatus,
    Ended,
    HttpAnswer,
    HttpQuestion,
    Incoming,
    LegResult,
    Outcome,
    RunningCall,
)

BUSY = Outcome(
    DialStatus.FAILED,
    486,
    "Busy Here",
    (LegResult("100@prov", "sip:100@prov.example", 486, "Busy Here"),),
)
ANSWER = Outcome(DialStatus.ANSWERED, 200, "OK")


@dataclass
class WrittenWorld:
    """`world.World` that keeps a list of what was done."""

    outcomes: list[Outcome] = field(default_factory=list)
    """What comes of each dial; when none is left, an answer."""
    page: HttpAnswer = field(default_factory=lambda: HttpAnswer(200, "page"))
    done: list[tuple[Any, ...]] = field(default_factory=list)
    store: dict[str, str] = field(default_factory=dict)
    clock: float = 1_265_895_000.0  # 2010-02-11 13:30 UTC
    ringing: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    """Makes each dial ring until it is set."""

    @property
    def logs(self) -> list[str]:
        return [what[1] for what in self.done if what[0] == "log"]

    @property
    def dials(self) -> list[Dial]:
        return [what[1] for what in self.done if what[0] == "dial"]

    async def dial(self, dial: Dial) -> Outcome:
        self.done.append(("dial", dial))
        if "[[" in dial.text:
            raise DialplanError("character 4: an option is wanted")
        self.ringing.set()
        if self.hold:
            await self.hold.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else ANSWER
        if outcome.status is DialStatus.ANSWERED:
            raise Ended
        return outcome

    async def respond(self, status: int, reason: str, headers: Sequence[tuple[str, str]]) -> None:
        self.done.append(("respond", status, reason, tuple(headers)))
        if status >= 300:
            raise Ended

    async def log(self, text: str) -> None:
        self.done.append(("log", text))

    async def callback(self, first: str, second: str, delay: float) -> None:
        self.done.append(("callback", first, second, delay))

    async def wait_for_callback(self, wish: CallbackWish) -> CallbackOutcome:
        self.done.append(("wait_for_callback", wish))
        return CallbackOutcome(False, "nothing came")

    async def bindings(self, user: str, domain: str) -> list[Contact]:
        return [Contact(f"sip:{user}@192.0.2.1", "udp:203.0.113.9:5060", "phone", 60)]

    async def is_available(self, user: str, domain: str) -> bool:
        self.done.append(("is_available", user, domain))
        return user != "away"

    async def account_exists(self, user: str, domain: str) -> bool:
        return user == "alice"

    async def is_mine(self, user: str, domain: str) -> bool:
        return user == "alice"

    async def canonical_domain(self, domain: str) -> str:
        return "sipsorcery.com" if domain in {"local", "sipsorcery.com"} else ""

    async def enum(self, number: str, zone: str) -> str:
        self.done.append(("enum", number, zone))
        return f"sip:{number}@enum.example" if zone == "e164.org" else ""

    async def http(self, question: HttpQuestion) -> HttpAnswer:
        self.done.append(("http", question))
        return self.page

    async def email(self, to: Sequence[str], subject: str, body: str) -> None:
        self.done.append(("email", tuple(to), subject, body))

    async def read(self, key: str) -> str | None:
        return self.store.get(key)

    async def write(self, key: str, value: str) -> None:
        self.store[key] = value

    async def delete(self, key: str) -> bool:
        return self.store.pop(key, None) is not None

    async def keys(self) -> list[str]:
        return list(self.store)

    async def current_calls(self) -> list[RunningCall]:
        return [RunningCall("1", "alice", "100", "answered", 3.0)]

    async def wait_for_signal(self, key: str, seconds: float) -> str | None:
        return f"signal of {key}"

    async def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def now(self) -> float:
        return self.clock


def incoming(**changes: Any) -> Incoming:
    """An outgoing call of alice's to 232, unless told otherwise."""
    values: dict[str, Any] = {
        "direction": "out",
        "customer": "alice",
        "account": "alice@sipsorcery.com",
        "uri": "sip:232@sipsorcery.com;user=phone",
        "user": "232",
        "host": "sipsorcery.com",
        "from_name": "Alice",
        "from_user": "alice",
        "from_host": "sipsorcery.com",
        "from_uri": "sip:alice@sipsorcery.com",
        "to_uri": "sip:232@sipsorcery.com",
        "call_id": "abc@192.0.2.1",
        "user_agent": "baresip",
        "source": "udp:203.0.113.7:5060",
        "headers": {"x-custom": ("one",), "cseq": ("7 INVITE",)},
    }
    return Incoming(**(values | changes))


@dataclass
class RubyPhone:
    """Runs Ruby text in a world of its own."""

    runner: RubyRunner

    async def run(
        self,
        source: str,
        world: WrittenWorld | None = None,
        req: Incoming | None = None,
        limits: Limits | None = None,
        **dialplan: Any,
    ) -> WrittenWorld:
        """To its end, an answered call included; what it did is in the world."""
        world = world or WrittenWorld()
        plan = Dialplan(
            id="1", owner="alice", name="default", language=Language.RUBY, source=source, **dialplan
        )
        try:
            await self.runner.run(
                plan, Sys(world, req or incoming(), plan), limits or Limits(cpu_seconds=20)
            )
        except Ended:
            world.done.append(("ended",))
        return world

    async def fault(self, source: str, **others: Any) -> ScriptFault:
        """How it fails."""
        try:
            world = await self.run(source, **others)
        except ScriptFault as fault:
            return fault
        raise AssertionError(f"it did not fail: {world.done}")


RubyMaker = Callable[[], RubyPhone]
