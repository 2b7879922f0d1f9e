"""The resolver: RFC 3263 on dnspython, behind a cache, one query under way per question."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver

from tandem.sip.uri import Uri
from tandem.siptransport import enum
from tandem.siptransport.dnscache import NEGATIVE_TTL, DnsCache
from tandem.siptransport.health import Health
from tandem.siptransport.locate import (
    Answer,
    Hop,
    Kind,
    Naptr,
    Policy,
    Question,
    Record,
    ResolveError,
    Srv,
    Steps,
    locate,
)

__all__ = ["DnsClient", "Health", "Hop", "Lookup", "Policy", "ResolveError", "Resolver"]

QUERY_TIMEOUT: Final = 1.2
"""Seconds that one DNS server has to answer before the next is asked."""

LOOKUP_TIMEOUT: Final = 3.0
"""Seconds that one question may take in all, retries included."""

RESOLVE_TIMEOUT: Final = 10.0
"""Seconds that a URI may take in all: NAPTR, SRV and addresses in turn, and a caller waits."""

STALE_PATIENCE: Final = 0.5
"""Seconds that an expired answer waits for its successor before it is served (RFC 8767 §5)."""

MAX_UNDER_WAY: Final = 1_000
"""Questions being asked at once: bounds sockets when somebody makes us look up much."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a DNS server said, and for how many seconds it holds."""

    answer: Answer
    ttl: float = 0.0


class DnsSource(Protocol):
    """Where answers come from."""

    async def ask(self, question: Question) -> Lookup:
        """Ask; bounded in time; never raises for what DNS or the network does."""


class DnsClient:
    """dnspython's resolver as a source."""

    def __init__(self, nameservers: Iterable[tuple[str, int]] | None = None) -> None:
        """IP addresses and ports; None for the system's."""
        try:
            resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
        except dns.resolver.NoResolverConfiguration:
            resolver = dns.asyncresolver.Resolver(configure=False)
        if nameservers is not None:
            resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in nameservers]
        resolver.timeout = QUERY_TIMEOUT
        resolver.lifetime = LOOKUP_TIMEOUT
        self._resolver = resolver

    async def ask(self, question: Question) -> Lookup:
        """See DnsSource."""
        try:
            found = await self._resolver.resolve(question.name, question.kind.value, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return Lookup(Answer(), NEGATIVE_TTL)
        except dns.exception.Timeout:
            return Lookup(Answer(failure="DNS does not answer"))
        except dns.resolver.NoNameservers:
            return Lookup(Answer(failure="DNS answers with an error"))
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return Lookup(Answer(failure=str(error) or type(error).__name__))
        records = tuple(_record(question.kind, rdata) for rdata in found)
        return Lookup(Answer(records), found.chaining_result.minimum_ttl)


def _record(kind: Kind, rdata: object) -> Record:
    # dnspython's rdata classes make their attributes when they are loaded: no static types
    def text(name: str) -> str:
        value = getattr(rdata, name)
        return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)

    def number(name: str) -> int:
        return int(getattr(rdata, name))

    if kind is Kind.SRV:
        target = text("target").rstrip(".").lower()
        return Srv(number("priority"), number("weight"), number("port"), target)
    if kind is Kind.NAPTR:
        replacement = text("replacement").rstrip(".").lower()
        flags, service = text("flags"), text("service")
        regexp = text("regexp")
        return Naptr(number("order"), number("preference"), flags, service, replacement, regexp)
    return text("address")


class Resolver:
    """From URIs to hops. To be used from one event loop."""

    def __init__(
        self,
        nameservers: Iterable[tuple[str, int]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        policy: Policy | None = None,
        rng: random.Random | None = None,
        source: DnsSource | None = None,
    ) -> None:
        """`nameservers` are IP addresses and ports, None for the system's. `source` takes their
        place (tests). `rng` draws among SRV records of one priority."""
        self.health = Health()
        self._clock = clock
        self._policy = policy or Policy()
        self._rng = rng or random.Random()
        self._source = source or DnsClient(nameservers)
        self._cache = DnsCache()
        self._under_way: dict[Question, asyncio.Task[Answer]] = {}

    def resolve_now(self, uri: Uri) -> list[Hop] | None:
        """The hops, best first, when no DNS query is needed for them, else None. Raises
        ResolveError when the URI is known to lead nowhere."""
        steps = locate(uri, self._policy, self._rng)
        now = self._clock()
        try:
            questions = next(steps)
            while True:
                answers = [self._cache.get(question, now) for question in questions]
                known = [answer for answer in answers if answer is not None]
                if len(known) < len(answers):
                    return None
                questions = steps.send(known)
        except StopIteration as done:
            return self.health.order(done.value, now)

    async def resolve(self, uri: Uri) -> list[Hop]:
        """The hops, best first, at least one. Raises ResolveError."""
        steps = locate(uri, self._policy, self._rng)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                hops = await self._run(steps)
        except TimeoutError:
            raise ResolveError(f"{uri.host} cannot be looked up: DNS is too slow") from None
        return self.health.order(hops, self._clock())

    async def enum(self, number: str, zone: str) -> str:
        """The SIP URI that ENUM has for a telephone number, "" for none: RFC 6116."""
        name = enum.domain(number, zone)
        if not name:
            return ""
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            answer = await self._answer(Question(name, Kind.NAPTR))
        return enum.uri(number, [each for each in answer.records if isinstance(each, Naptr)])

    async def close(self) -> None:
        """Give up the queries under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, steps: Steps) -> list[Hop]:
        try:
            questions = next(steps)
            while True:
                questions = steps.send(await self._answers(questions))
        except StopIteration as done:
            hops: list[Hop] = done.value
            return hops

    async def _answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        return await asyncio.gather(*(self._answer(question) for question in questions))

    async def _answer(self, question: Question) -> Answer:
        cached = self._cache.get(question, self._clock())
        if cached is not None:
            return cached
        task = self._under_way.get(question)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                return Answer(failure="too many DNS queries under way")
            task = asyncio.get_running_loop().create_task(self._ask(question))
            self._under_way[question] = task
            task.add_done_callback(lambda _: self._under_way.pop(question))
        stale = self._cache.get_stale(question, self._clock())
        # shielded: one caller that gives up takes nothing from the others that wait
        if stale is None:
            return await asyncio.shield(task)
        try:
            return await asyncio.wait_for(asyncio.shield(task), STALE_PATIENCE)
        except TimeoutError:
            return stale

    async def _ask(self, question: Question) -> Answer:
        found = await self._source.ask(question)
        return self._cache.put(question, found.answer, found.ttl, self._clock())
