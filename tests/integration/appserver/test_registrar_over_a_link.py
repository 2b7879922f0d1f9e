"""An appserver as it is put together in one process: real link, bus, loop timer and B2BUA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from tandem.bus.location import BindingStored
from tandem.bus.memory import MemoryBus
from tandem.bus.phone_events import RegistrationAdded
from tandem.bus.ports import Envelope, Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response, parse_message
from tandem.siptransport.link import Hub, MemoryLink
from tests.support.appserver import PROXY, FakeDirectory, FakeResolver, Phone, account

APPSERVER = "10.0.0.9:5070"


class Listener:
    """Notes what the bus brings."""

    def __init__(self) -> None:
        self.payloads: list[object] = []
        self.came = asyncio.Event()

    async def __call__(self, batch: Sequence[Envelope]) -> None:
        self.payloads += [envelope.payload for envelope in batch]
        self.came.set()

    async def wait_for(self, kind: type) -> object:
        while True:
            for payload in self.payloads:
                if isinstance(payload, kind):
                    return payload
            self.came.clear()
            await asyncio.wait_for(self.came.wait(), 5)


class Proxy:
    """The proxy's end of the link: what the appserver sends waits in a queue."""

    def __init__(self, hub: Hub) -> None:
        self.link = MemoryLink(PROXY, hub)
        self.link.receiver = self._receive
        self.messages: asyncio.Queue[Request | Response] = asyncio.Queue()
        self.serial = 0
        self.events = Listener()
        self.location = Listener()

    def _receive(self, data: bytes, peer: str) -> None:
        if data[:1] != b"\x01":
            self.messages.put_nowait(parse_message(data))

    def next(self) -> int:
        self.serial += 1
        return self.serial

    async def ask(self, message: Request | Response) -> Request | Response:
        """Send, and wait for what comes next but for a 100."""
        self.link.send(message.to_bytes(), APPSERVER)
        return await self.hear()

    async def hear(self) -> Request | Response:
        while True:
            message = await asyncio.wait_for(self.messages.get(), 5)
            if not (isinstance(message, Response) and message.status == 100):
                return message


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    hub = Hub()
    made = Proxy(hub)
    bus = MemoryBus("local")
    bus.subscribe(Topic.EVENTS, made.events, name="events")
    bus.subscribe(Topic.LOCATION, made.location, name="durable")
    directory = FakeDirectory(account("alice"), account("bob"))
    app = AppServer(AppServerConfig(), bus, directory, MemoryLink(APPSERVER, hub), FakeResolver())
    await bus.start()
    await app.start()
    yield made
    await app.stop()
    await bus.close()
    assert app.counters.errors == 0


async def register(proxy: Proxy, phone: Phone) -> Response:
    first = await proxy.ask(phone.register(f"<{phone.contact}>"))
    phone.learn(first)
    answer = await proxy.ask(phone.register(f"<{phone.contact}>"))
    assert isinstance(answer, Response)
    return answer


async def test_a_phone_registers_and_everybody_hears_of_it(proxy: Proxy) -> None:
    phone = Phone(proxy)
    answer = await register(proxy, phone)
    assert answer.status == 200
    stored = await proxy.location.wait_for(BindingStored)
    assert isinstance(stored, BindingStored)
    assert stored.binding.contact == phone.contact
    added = await proxy.events.wait_for(RegistrationAdded)
    assert isinstance(added, RegistrationAdded)
    assert added.received == "udp:203.0.113.7:5060"


async def test_a_registered_phone_is_called_and_answers(proxy: Proxy) -> None:
    alice, bob = Phone(proxy, transport="tcp"), Phone(proxy, "bob", transport="tcp", port=4711)
    assert (await register(proxy, bob)).status == 200
    alice.learn(await proxy.ask(alice.request("INVITE", "sip:bob@example.com")))
    ringing = await proxy.ask(alice.request("INVITE", "sip:bob@example.com"))
    assert isinstance(ringing, Request)
    assert ringing.uri == bob.contact
    assert ringing.values("route")[0] == f"<sip:{bob.token}@{PROXY};lr;ob>"
    contact = f"Contact: <{bob.contact}>"
    answered = await proxy.ask(response_to(ringing, 200, tag="b", headers=[contact]))
    while isinstance(answered, Request):
        assert answered.method == "ACK"
        answered = await proxy.hear()
    assert answered.status == 200
    assert answered.cseq.method == "INVITE"


async def test_time_goes_on_by_itself(proxy: Proxy) -> None:
    """A refusal that is delayed comes by the one timer of the loop."""
    phone = Phone(proxy, password="wrong")
    statuses = []
    for _ in range(5):
        answer = await proxy.ask(phone.register(f"<{phone.contact}>"))
        assert isinstance(answer, Response)
        statuses.append(answer.status)
        if answer.status == 401:
            phone.learn(answer)
    assert statuses == [401] * 4 + [403]
