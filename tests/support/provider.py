"""A telephone provider that calls back: it is asked over HTTP, and its call comes over SIP.

    provider = await Provider.open(lambda: "127.0.0.1:5060")
    ... POST provider.url with the form fields `to` (a URI) and `from` (a number) ...
    provider.calls       the calls that it made

`to`, `from`, `delay` (seconds) and `late` (any text: no offer in the INVITE) are taken from the
query or the form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tests.support.udpagent import HOST, UdpAgent, UdpCall


@dataclass(frozen=True)
class Asked:
    """An HTTP request that came."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Of the query and the form."""
        query = urlsplit(self.target).query
        return dict([*parse_qsl(query), *parse_qsl(self.body.decode("utf-8", "replace"))])


@dataclass
class Provider:
    """`through()` says at each call which proxy (`host:port`) it goes to."""

    agent: UdpAgent
    through: Callable[[], str]
    status: int = 200
    """What triggers are answered with; no call is made when it is no 2xx."""
    calls_first: bool = False
    """Whether it calls before it answers."""
    headers: tuple[str, ...] = ()
    """More header lines of its HTTP answers."""
    filler: int = 0
    """Bytes of its HTTP answers' bodies."""
    asked: list[Asked] = field(default_factory=list)
    on_asked: Callable[[Asked], None] = lambda asked: None
    _server: asyncio.Server = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    @classmethod
    async def open(cls, through: Callable[[], str], port: int = 0) -> Provider:
        """Listen for HTTP at a free port, and be ready to call."""
        provider = cls(await UdpAgent.open("provider"), through)
        provider._server = await asyncio.start_server(provider._serve, HOST, port)
        return provider

    async def close(self) -> None:
        """Stop both."""
        self._server.close()
        await self._server.wait_closed()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.agent.close()

    @property
    def url(self) -> str:
        """Where to ask for a call."""
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}/call"

    @property
    def calls(self) -> list[UdpCall]:
        """Those that it made, in order."""
        return self.agent.calls

    def call(self, to: str, number: str, *, late: bool = False) -> UdpCall:
        """Call a URI from a number."""
        return self.agent.invite(self.through(), to, user=number, late=late)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await read_request(reader)
            self.asked.append(asked)
            self.on_asked(asked)
            wanted = asked.fields
            good = 200 <= self.status < 300 and "to" in wanted
            if good and self.calls_first:
                await self._call_back(wanted)
            body = b"x" * self.filler
            head = [f"HTTP/1.1 {self.status} Whatever", f"Content-Length: {len(body)}"]
            head += [*self.headers, "Connection: close", "", ""]
            writer.write("\r\n".join(head).encode() + body)
            await writer.drain()
            if good and not self.calls_first:
                task = asyncio.create_task(self._call_back(wanted))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # who asked has left
        finally:
            writer.close()

    async def _call_back(self, wanted: dict[str, str]) -> None:
        await asyncio.sleep(float(wanted.get("delay", "0")))
        self.call(wanted["to"], wanted.get("from", "15551234"), late="late" in wanted)


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """The request that comes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)
