"""FastAGI (TCP 4573): Asterisk machines ask what to do with a call."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Final

from services.provisioning.domain.agi_protocol import (
    HANGUP,
    MAX_LINE,
    MAX_LINES,
    AgiFault,
    Reply,
    Request,
    is_last,
    parse_environment,
    parse_reply,
    verbose,
)
from services.provisioning.domain.openrate import site
from services.provisioning.handlers.agi import Agi, AgiRefused
from tandem.runtime.address import HostPort
from tandem.runtime.metrics import Metrics

MAX_CONNECTIONS: Final = 200
"""At a time: one for each call that is in an Asterisk's AGI."""
MAX_PER_ADDRESS: Final = 50
ENVIRONMENT_SECONDS: Final = 5.0
"""How long the environment may take: Asterisk sends it at once."""
REPLY_SECONDS: Final = 120.0
"""How long a command may take: prompts are played, digits are collected."""
SESSION_SECONDS: Final = 1_800.0
TELL_SECONDS: Final = 2.0
"""How long the reply to a last word is waited for."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What happened, for metrics."""

    served: int = 0
    """Calls whose rule was done to its end, or until they hung up."""
    refused: int = 0
    """Wrong keys, calls without a rule, what is no AGI, too many connections."""
    broken: int = 0
    """Connections that ended, or fell silent, in the middle."""


class FastAgiServer:
    """Serves on one socket; a task for each connection."""

    def __init__(self, listen: HostPort, agi: Agi) -> None:
        self.counters = Counts()
        self._listen = listen
        self._agi = agi
        self._server: asyncio.Server | None = None
        self._from: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> HostPort:
        """Where it listens; the real port once it has started."""
        return self._listen

    def __len__(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listen. Raises OSError."""
        host, port = self._listen.host, self._listen.port
        self._server = await asyncio.start_server(self._accept, host, port, limit=MAX_LINE)
        self._listen = HostPort(host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections, and end those that are open."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str((writer.get_extra_info("peername") or ("",))[0])
        peer = site(source)
        full = len(self._tasks) >= MAX_CONNECTIONS or self._from[peer] >= MAX_PER_ADDRESS
        if full:
            self.counters.refused += 1
            writer.write(_line(verbose("too many connections")))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, source))
        self._tasks.add(task)
        self._from[peer] += 1

        def ended(_: object) -> None:
            self._tasks.discard(task)
            self._from[peer] -= 1
            if not self._from[peer]:
                del self._from[peer]

        task.add_done_callback(ended)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str
    ) -> None:
        channel = AgiChannel(reader, writer)
        try:
            async with asyncio.timeout(SESSION_SECONDS):
                await self._agi.serve(await channel.environment(), source, channel)
            self.counters.served += 1
        except HungUp:
            self.counters.served += 1
        except (AgiFault, AgiRefused) as fault:
            self.counters.refused += 1
            await channel.tell(str(fault))
        except (ConnectionError, TimeoutError):
            self.counters.broken += 1
        except Exception:
            self.counters.broken += 1
            _log.exception("an AGI call failed")
            await channel.tell("a fault of ours")
        finally:
            writer.close()


def register_fastagi(metrics: Metrics, server: FastAgiServer) -> None:
    """Show what it does."""
    metrics.counters("tandem_fastagi", server.counters, "Calls that Asterisk machines asked about")
    metrics.gauge("tandem_fastagi_connections", lambda: len(server), "Open FastAGI connections")


class HungUp(Exception):
    """The channel has hung up: nothing is left to do."""


class AgiChannel:
    """Implements `handlers.agi.Channel` on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def environment(self) -> Request:
        """What Asterisk begins with. Raises AgiFault, ConnectionError, TimeoutError."""
        lines: list[str] = []
        async with asyncio.timeout(ENVIRONMENT_SECONDS):
            while text := await self._read():
                lines.append(text)
                if len(lines) > MAX_LINES:
                    raise AgiFault("that environment has too many lines")
        return parse_environment(lines)

    async def execute(self, command: str) -> Reply:
        """One command and its reply: see the port. Raises HungUp, too."""
        self._writer.write(_line(command))
        async with asyncio.timeout(REPLY_SECONDS):
            await self._writer.drain()
            return await self._reply()

    async def tell(self, text: str) -> None:
        """A line on its console, if it still listens."""
        with contextlib.suppress(ConnectionError, TimeoutError, AgiFault, HungUp):
            self._writer.write(_line(verbose(text)))
            async with asyncio.timeout(TELL_SECONDS):
                await self._writer.drain()
                await self._reply()

    async def _reply(self) -> Reply:
        lines: list[str] = []
        while not lines or not is_last(lines):
            text = await self._read()
            if text == HANGUP:
                raise HungUp
            lines.append(text)
            if len(lines) > MAX_LINES:
                raise AgiFault("that reply has too many lines")
        return parse_reply(lines)

    async def _read(self) -> str:
        """A line without its end. Raises AgiFault for one that is too long, ConnectionError at the
        end."""
        try:
            data = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            raise ConnectionError("it closed the connection") from None
        except asyncio.LimitOverrunError:
            raise AgiFault(f"a line may have {MAX_LINE} bytes") from None
        return data.decode("utf-8", "replace").rstrip("\r\n")


def _line(text: str) -> bytes:
    return text.encode("utf-8", "replace") + b"\n"
