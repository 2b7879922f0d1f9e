"""A user of flows that records what it is told, and Streams that are closed after the test."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from ssl import SSLContext

import pytest

from tandem.siptransport.flow import Flow, StreamLimits
from tandem.siptransport.stream import Streams
from tests.support.certificates import Certificate, make_certificate

QUICK = StreamLimits(sweep=0.02, linger=0.5)
"""Limits as they ship, but looked at often, so that tests need not wait."""


class Recorder:
    """A FlowUser that keeps what it is told, to be awaited."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[bytes, Flow]] = asyncio.Queue()
        self.closed: asyncio.Queue[tuple[Flow, str]] = asyncio.Queue()
        self.react: Callable[[bytes, Flow], None] = lambda data, flow: None

    def on_message(self, data: bytes, flow: Flow) -> None:
        self.messages.put_nowait((data, flow))
        self.react(data, flow)

    def on_flow_closed(self, flow: Flow, reason: str) -> None:
        self.closed.put_nowait((flow, reason))

    async def message(self) -> tuple[bytes, Flow]:
        return await asyncio.wait_for(self.messages.get(), 5)

    async def end(self) -> tuple[Flow, str]:
        return await asyncio.wait_for(self.closed.get(), 5)


@dataclasses.dataclass(slots=True)
class Side:
    """Streams and their user."""

    streams: Streams
    user: Recorder


MakeSide = Callable[..., Side]


@pytest.fixture
async def make_side() -> AsyncIterator[MakeSide]:
    sides: list[Side] = []

    def make(limits: StreamLimits = QUICK, client_tls: SSLContext | None = None) -> Side:
        user = Recorder()
        sides.append(Side(Streams(user, limits, client_tls), user))
        return sides[-1]

    yield make
    for side in sides:
        await asyncio.wait_for(side.streams.close(), 5)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return make_certificate(folder, "sip.example.com", "127.0.0.1", "::1")
