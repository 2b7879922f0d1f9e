"""Somebody unknown who sends datagrams to the switch, and hears what comes back.

Each has a loopback address of its own, with the ports that the Via of a message may name: so
whatever comes back there answers what was sent from there, and no message has to be changed.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Final, Self

from tests.support.waiting import eventually

SIP_PORT: Final = 5060
"""Where an answer goes whose Via names no port (RFC 3261 §18.2.2)."""
ADDRESS_TRIES: Final = 20
"""Random loopback addresses tried until one has its ports free."""
BATCH: Final = 40
"""Datagrams sent at once: they fit into the default receive buffer of a socket."""
SENTINEL_SECONDS: Final = 2.0
"""Until a sentinel is sent again, should it have been lost."""


class _Mailbox(asyncio.DatagramProtocol):
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._received.append(data)


def loopback_address() -> str:
    """One of the sixteen million."""
    return f"127.{random.randint(16, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"


class Stranger:
    """One address. Make it with `open`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.received: list[bytes] = []
        self.address = ""
        self._target = target
        self._sockets: list[asyncio.DatagramTransport] = []
        self._numbers = itertools.count(1)

    @classmethod
    async def open(cls, target: str, ports: Sequence[int] = (SIP_PORT,)) -> Self:
        """Bind these ports of a fresh address. `target` is the switch's `host:port`."""
        host, _, port = target.rpartition(":")
        for attempt in range(1, ADDRESS_TRIES + 1):
            stranger = cls((host, int(port)))
            try:
                await stranger._bind(loopback_address(), ports)
            except OSError:
                stranger.close()
                if attempt == ADDRESS_TRIES:
                    raise
            else:
                return stranger
        raise AssertionError("the loop returns or raises")

    async def _bind(self, address: str, ports: Sequence[int]) -> None:
        self.address = address
        loop = asyncio.get_running_loop()
        for port in ports:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Mailbox(self.received), (address, port)
            )
            self._sockets.append(transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        for transport in self._sockets:
            transport.close()

    def send(self, data: bytes) -> None:
        """Send one datagram, from the first port."""
        self._sockets[0].sendto(data, self._target)

    async def send_all(self, messages: Sequence[bytes]) -> None:
        """Send them, no faster than the switch takes them."""
        for at in range(0, len(messages), BATCH):
            for data in messages[at : at + BATCH]:
                self.send(data)
            await self.settle()

    async def settle(self) -> None:
        """Wait until all that was sent has come through proxy and appserver. An answer for which
        a database is asked may come later."""
        name = f"sentinel-{next(self._numbers)}@{self.address}".encode()
        loop = asyncio.get_running_loop()
        again = 0.0

        async def look() -> bool:
            nonlocal again
            if loop.time() >= again:
                again = loop.time() + SENTINEL_SECONDS
                self.send(_sentinel(name))
            return any(name in data for data in self.received)

        await eventually(look, "an answer to OPTIONS")

    @property
    def answers(self) -> list[bytes]:
        """What came, but for answers to sentinels."""
        return [data for data in self.received if b"sentinel-" not in data]

    @property
    def status(self) -> int | None:
        """The first final status that came."""
        return next((s for s in map(status_of, self.answers) if s >= 200), None)

    async def final(self) -> int:
        """Wait for a final status."""

        async def look() -> int | None:
            return self.status

        found = await eventually(look, "a final answer")
        assert found is not None
        return found


def status_of(data: bytes) -> int:
    """The status of a response; 0 for a request."""
    return int(data[8:11]) if data.startswith(b"SIP/2.0 ") else 0


def call_id_of(data: bytes) -> bytes:
    """The Call-ID of a message, b"" if there is none."""
    _, found, rest = data.partition(b"\r\nCall-ID: ")
    return rest.partition(b"\r\n")[0] if found else b""


def _sentinel(name: bytes) -> bytes:
    return (
        b"OPTIONS sip:sentinel@example.com SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP sentinel.invalid;branch=z9hG4bK-%(name)b;rport\r\n"
        b"Max-Forwards: 70\r\nFrom: <sip:s@sentinel.invalid>;tag=s\r\n"
        b"To: <sip:sentinel@example.com>\r\nCall-ID: %(name)b\r\nCSeq: 1 OPTIONS\r\n"
        b"Content-Length: 0\r\n\r\n"
    ) % {b"name": name}
