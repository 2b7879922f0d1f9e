"""Phones that register again and again, and consoles that follow the events, while something is
broken. Each notes what its end saw."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

import httpx

from tandem.sip.digest import Challenge, answer, choose
from tandem.sip.message import Request, Response
from tests.support.events import sse
from tests.support.udpagent import UdpAgent

PASSWORD: Final = "secret1"
ANSWER_SECONDS: Final = 40.0
"""Longer than a transaction waits."""
BACK_SECONDS: Final = 0.2
"""Before a console that was cut off tries again."""


@dataclass
class Answered:
    """The final answer to a REGISTER."""

    user: str
    at: float
    """On the clock of `time.monotonic`, when it was sent."""
    seconds: float
    status: int
    """0: none came."""
    retry_after: str | None


class RegisteringPhone:
    """A phone that keeps its Call-ID and its nonce from one REGISTER to the next."""

    def __init__(self, agent: UdpAgent, user: str, domain: str, proxy: str) -> None:
        self.agent = agent
        self.user = user
        self._domain = domain
        self._proxy = proxy
        self._call_id = secrets.token_hex(8)
        self.expires = 3600
        """Seconds, unless `register` is told others."""
        self._number = 0
        self._uses = 0
        self._challenge: Challenge | None = None

    @classmethod
    async def open(cls, user: str, domain: str, proxy: str) -> RegisteringPhone:
        """At a port of its own. It answers every call."""
        agent = await UdpAgent.open(user, lambda call: call.accept())
        return cls(agent, user, domain, proxy)

    async def register(self, expires: int | None = None) -> Answered:
        """Register, or with 0 no more; answers challenges."""
        expires = self.expires if expires is None else expires
        began = time.monotonic()
        response = await self._ask(expires)
        if response is not None and response.status == 401:
            self._challenge = choose(response.values("www-authenticate"))
            self._uses = 0
            response = await self._ask(expires)
        status = response.status if response is not None else 0
        after = response.first("retry-after") if response is not None else None
        return Answered(self.user, began, time.monotonic() - began, status, after)

    async def _ask(self, expires: int) -> Response | None:
        self._number += 1
        uri = f"sip:{self._domain}"
        lines = [
            f"From: <sip:{self.user}@{self._domain}>;tag={secrets.token_hex(4)}",
            f"To: <sip:{self.user}@{self._domain}>",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self._number} REGISTER",
            "Max-Forwards: 70",
            self.agent.contact,
            f"Expires: {expires}",
        ]
        request = Request("REGISTER", uri, lines)
        if self._challenge is not None:
            self._uses += 1
            value = answer(
                self._challenge, "REGISTER", uri, self.user,
                password=PASSWORD, cnonce="c0ffee", nc=self._uses,
            )  # fmt: skip
            request.set("Authorization", value)
        got: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.agent.send(request, self._proxy, got)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await got
        except TimeoutError:
            return None


@dataclass
class Phones:
    """Phones that register again all the time."""

    phones: Sequence[RegisteringPhone]
    answers: list[Answered] = field(default_factory=list)
    stopping: bool = False

    async def run(self, seconds: float) -> None:
        """Until `stopping`, each phone every so many seconds."""
        async with asyncio.TaskGroup() as group:
            for phone in self.phones:
                group.create_task(self._run(phone, seconds))

    async def _run(self, phone: RegisteringPhone, seconds: float) -> None:
        while not self.stopping:
            self.answers.append(await phone.register())
            await asyncio.sleep(seconds)

    def statuses(self) -> Counter[int]:
        """How often each final status came."""
        return Counter(answer.status for answer in self.answers)


@dataclass
class Console:
    """Follows the events of one node and, when it is cut off, goes on with its last id there or at
    the next node, as the console page does."""

    bases: Sequence[str]
    """Base URLs of the events nodes, first choice first."""
    authorization: str
    cursor: int
    ids: list[int] = field(default_factory=list)
    gaps: int = 0
    cuts: int = 0
    """How often the stream ended."""
    longest_silence: float = 0.0
    """Seconds between two events."""

    async def run(self) -> None:
        """Until it is cancelled."""
        headers = {"Authorization": self.authorization}
        heard = time.monotonic()
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
            while True:
                base = self.bases[self.cuts % len(self.bases)]
                url = f"{base}/api/v1/events?cursor={self.cursor}"
                with suppress(httpx.HTTPError):
                    async with client.stream("GET", url) as response:
                        if response.status_code == 200:
                            async with aclosing(sse(response)) as messages:
                                async for message in messages:
                                    if message.event == "gap":
                                        self.gaps += 1
                                    elif message.event == "message":
                                        assert message.id is not None
                                        self.ids.append(message.id)
                                        now = time.monotonic()
                                        self.longest_silence = max(
                                            self.longest_silence, now - heard
                                        )
                                        heard = now
                                    self.cursor = message.id or self.cursor
                self.cuts += 1
                await asyncio.sleep(BACK_SECONDS)
