"""Sipp calls through a cluster, each followed from its INVITE to its record.

async with Sink.open(cluster, cluster["proxy1"]) as sink:     a phone that rings and answers
    load = await sink.load(cluster["proxy2"], rate=20)        calls to it, until it is stopped
    ...
    calls = await load.stop()                                 what became of each
    records = await recorded(cluster, calls)                  and its call records
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

from tests.support.cluster import DOMAIN, Cluster, Node
from tests.support.installs import require
from tests.support.ports import free_port
from tests.support.sipp import SCENARIOS
from tests.support.udpagent import UdpAgent
from tests.support.waiting import eventually

PASSWORD: Final = "secret1"
PAGE: Final = 1000
END_SECONDS: Final = 60.0
"""For calls that are up or on their way to end, time-outs of dead servers included."""
SLOW_SECONDS: Final = 1.0
"""A call to the sink is answered after a third of a second; later it was sent again."""


@dataclass(slots=True)
class Placed:
    """What a caller saw of one call. Times are Unix seconds."""

    call_id: str
    tried: float
    up: float | None = None
    """Answered."""
    ended: float | None = None
    """Its BYE was answered 200."""
    failure: str = ""
    """`refused STATUS`, `silent` (no final answer), `unended STATUS` (of the BYE; 0: none)."""

    @property
    def well(self) -> bool:
        """Answered, and hung up as it should be."""
        return self.up is not None and self.ended is not None and not self.failure

    @property
    def slow(self) -> bool:
        """Answered only after a retransmission."""
        return self.up is not None and self.up - self.tried > SLOW_SECONDS

    def was_up(self, at: float) -> bool:
        """Whether it was answered and not ended at that time."""
        return self.up is not None and self.up < at and (self.ended is None or self.ended > at)


class Load:
    """One sipp that places calls until it is stopped."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process) -> None:
        self._folder = folder
        self._process = process

    @classmethod
    async def start(
        cls, folder: Path, user: str, proxy: Node, *, rate: int, hold_ms: int, transport: str
    ) -> Self:
        """`rate`: calls a second; `transport`: u1 or t1, as sipp has it."""
        folder.mkdir()
        with (folder / "screen").open("wb") as screen:
            process = await asyncio.create_subprocess_exec(
                *(require("sipp"), "-sf", str(SCENARIOS / "load-call.xml"), "-s", user),
                *("-i", "127.0.0.1", "-p", str(free_port()), "-t", transport, proxy.sip),
                *("-r", str(rate), "-l", "5000", "-d", str(hold_ms), "-key", "domain", DOMAIN),
                *("-trace_logs", "-log_file", str(folder / "log"), "-nostdin"),
                *("-trace_err", "-error_file", str(folder / "errors")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )
        return cls(folder, process)

    def calls(self) -> dict[str, Placed]:
        """What became of each call so far, by Call-ID."""
        found: dict[str, Placed] = {}
        log = self._folder / "log"
        for line in log.read_text().splitlines() if log.exists() else ():
            words = line.split()
            if len(words) < 4 or "." not in words[-1]:
                continue  # not written out yet
            what, status, call_id, at = words[0], words[1], words[2], float(words[-1])
            if what == "tried":
                found[call_id] = Placed(call_id, at)
            elif what == "up":
                found[call_id].up = at
            elif what == "ended":
                found[call_id].ended = at
            else:
                found[call_id].failure = f"{what} {status}"
        return found

    async def answered(self, calls: int, since: float = 0.0) -> None:
        """Wait until so many calls that were placed after `since` (Unix seconds) were answered.
        Sipp writes its log every few seconds."""

        async def look() -> bool:
            seen = self.calls().values()
            return sum(call.tried > since and call.up is not None for call in seen) >= calls

        await eventually(look, f"{calls} new calls: {self.screen}", 30)

    async def stop(self, seconds: float = END_SECONDS) -> dict[str, Placed]:
        """Place no more calls, and wait until all have ended. Returns them."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGUSR1)  # a soft exit
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            raise AssertionError(f"sipp's calls do not end: {self.screen}") from None
        return self.calls()

    async def kill(self) -> dict[str, Placed]:
        """End it with whatever calls it has."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()  # so that it writes its log to the end
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        return self.calls()

    @property
    def screen(self) -> str:
        """The last that it showed, and its errors."""
        texts = [self._folder / name for name in ("screen", "errors")]
        return "\n".join(t.read_text(errors="replace")[-3000:] for t in texts if t.exists())


class Sink:
    """A sipp that answers on UDP, registered through one proxy."""

    def __init__(self, folder: Path, user: str) -> None:
        self.user = user
        self._folder = folder
        self._loads: list[Load] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, cluster: Cluster, proxy: Node) -> AsyncIterator[Sink]:
        """Make an account, register it through this proxy, answer its calls."""
        user = f"sink{secrets.token_hex(4)}"
        await cluster.api.add_account(user, PASSWORD)
        agent = await UdpAgent.open(user)
        await agent.register(proxy.sip, user, PASSWORD, DOMAIN)
        port = agent.address.rpartition(":")[2]
        agent.close()
        await known_everywhere(cluster, user)
        sink = cls(Path(tempfile.mkdtemp(prefix="tandem-load-")), user)
        answering = await asyncio.create_subprocess_exec(
            *(require("sipp"), "-sf", str(SCENARIOS / "load-answer.xml"), "-s", user),
            *("-i", "127.0.0.1", "-p", port, "-l", "5000", "-nostdin"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield sink
        finally:
            for load in sink._loads:
                await load.kill()
            with contextlib.suppress(ProcessLookupError):
                answering.kill()
            await answering.wait()
            shutil.rmtree(sink._folder)

    async def load(
        self, proxy: Node, *, rate: int, hold_ms: int = 2000, transport: str = "u1"
    ) -> Load:
        """Begin to place calls to it through this proxy."""
        folder = self._folder / str(len(self._loads))
        load = await Load.start(
            folder, self.user, proxy, rate=rate, hold_ms=hold_ms, transport=transport
        )
        self._loads.append(load)
        return load


@dataclass(frozen=True, slots=True)
class Registration:
    """How one REGISTER went."""

    began: float
    """Unix seconds."""
    took: float
    problem: str = ""


class Registering:
    """A phone on UDP that registers ten times a second, each time with another Call-ID, by
    several proxies in turn. `async with Registering.phone(cluster, proxies) as phone`."""

    def __init__(self, agent: UdpAgent, proxies: Sequence[Node]) -> None:
        self.done: list[Registration] = []
        self._agent = agent
        self._proxies = proxies
        self._under_way: set[asyncio.Task[None]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def phone(
        cls, cluster: Cluster, proxies: Sequence[Node], every: float = 0.1
    ) -> AsyncIterator[Registering]:
        """Register until the end, and then wait for the answers."""
        user = f"reg{secrets.token_hex(4)}"
        await cluster.api.add_account(user, PASSWORD)
        phone = cls(await UdpAgent.open(user), proxies)
        running = asyncio.create_task(phone._run(every))
        try:
            yield phone
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.gather(*phone._under_way)
            phone._agent.close()

    async def _run(self, every: float) -> None:
        for number in count():
            task = asyncio.create_task(self._register(self._proxies[number % len(self._proxies)]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            await asyncio.sleep(every)

    async def _register(self, proxy: Node) -> None:
        began, problem = time.time(), ""
        try:
            await self._agent.register(proxy.sip, self._agent.name, PASSWORD, DOMAIN)
        except (AssertionError, TimeoutError) as error:
            problem = f"{proxy.name}: {error!r}"
        self.done.append(Registration(began, time.time() - began, problem))


async def known_everywhere(cluster: Cluster, user: str, bindings: int = 1) -> None:
    """Wait until the durable copy has so many bindings of a user, and so every appserver does,
    which hears of them at the same time and at once."""
    await cluster.api.bound(f"{user}@{DOMAIN}", bindings)


Records = dict[str, list[dict[str, Any]]]


async def all_records(cluster: Cluster, since: float) -> Records:
    """The call records of calls that began since then, by the SIP Call-ID of the caller."""
    found: Records = {}
    offset, total = 0, 1
    while offset < total:
        page = await cluster.events_apis[0].get(
            "/cdrs", since=_time(since), count=PAGE, offset=offset
        )
        total = page["total"]
        offset += PAGE
        for record in page["items"]:
            found.setdefault(record["sip_call_id"], []).append(record)
    return found


async def recorded(
    cluster: Cluster,
    calls: Iterable[Placed],
    since: float,
    seconds: float = END_SECONDS,
    *,
    but: Collection[str] = (),
) -> Records:
    """Wait until each of these calls, if a caller saw it answered or refused, has a record, and
    no call is under way. Returns the records. `but`: Call-IDs that may have none."""
    seen = {call.call_id for call in calls if call.up is not None or "refused" in call.failure}
    wanted = seen.difference(but)

    async def look() -> Collection[str]:
        found = await all_records(cluster, since)
        under_way = (await cluster.events_apis[0].get("/calls"))["total"]
        return ["all"] if not under_way and wanted <= found.keys() else []

    try:
        await eventually(look, "all call records", seconds)
    except AssertionError:
        found = await all_records(cluster, since)
        missing = wanted - found.keys()
        under_way = (await cluster.events_apis[0].get("/calls"))["items"]
        raise AssertionError(f"no record: {missing}; under way: {under_way[:5]}") from None
    return await all_records(cluster, since)


def _time(at: float) -> str:
    whole, part = divmod(at, 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int(part * 1000):03d}Z"
