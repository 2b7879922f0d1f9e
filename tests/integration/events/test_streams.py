"""Consoles over real sockets: resume, scope, gaps, slow readers, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.events.entrypoints import http_socket, http_stream
from tests.support.events import TIMEOUT, Message, Running, running, sse


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, heartbeat_seconds=0.2) as service:
        yield service


async def take(service: Running, user: str, query: str, count: int) -> list[Message]:
    """Open a stream, read `count` messages, leave."""
    got: list[Message] = []
    async with asyncio.timeout(TIMEOUT), service.client(user) as client:
        async with client.stream("GET", f"/events?{query}") as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            async with aclosing(sse(response)) as messages:
                async for message in messages:
                    got.append(message)
                    if len(got) == count:
                        break
    return got


def reasons(messages: list[Message]) -> list[str]:
    return [message.data["data"]["reason"] for message in messages]


async def test_a_console_gets_what_happens_after_it_came(service: Running) -> None:
    service.publish("alice", 0)
    await service.stored(1)
    async with service.client("alice") as client, client.stream("GET", "/events") as response:
        messages = sse(response)
        service.publish("alice", 1)
        async with asyncio.timeout(TIMEOUT):
            message = await anext(messages)
    assert message.event == "message"
    assert message.id == message.data["id"] == 2
    assert message.data["owner"] == "alice"
    assert message.data["type"] == "registration.removed"
    assert set(message.data) == {
        "id", "time", "node", "service", "type", "owner", "call_id", "message", "data"
    }  # fmt: skip


async def publish_load(service: Running, count: int) -> None:
    for number in range(count):
        service.publish("alice" if number % 2 else "bob", number)
        if number % 37 == 0:
            await asyncio.sleep(0.001)


async def test_resuming_under_load_loses_nothing_and_repeats_nothing(service: Running) -> None:
    total = 6000

    async def read_in_pieces(user: str, expected: int) -> list[Message]:
        got: list[Message] = []
        while len(got) < expected:
            cursor = got[-1].id if got else 0
            size = min(1 + 7 * len(got) % 400, expected - len(got))
            got += await take(service, user, f"cursor={cursor}", size)
        return got

    load = asyncio.create_task(publish_load(service, total))
    alice, bob, admin = await asyncio.gather(
        read_in_pieces("alice", total // 2),
        read_in_pieces("bob", total // 2),
        read_in_pieces("admin", total),
    )
    await load
    assert reasons(alice) == [str(n) for n in range(total) if n % 2]
    assert reasons(bob) == [str(n) for n in range(total) if n % 2 == 0]
    assert reasons(admin) == [str(n) for n in range(total)]
    ids = [message.id for message in admin]
    assert ids == sorted(set(ids), key=lambda i: i or 0)


async def test_events_without_owner_reach_administrators_alone(service: Running) -> None:
    service.publish(None, 1)
    service.publish("alice", 2)
    assert reasons(await take(service, "alice", "cursor=0", 1)) == ["2"]
    assert reasons(await take(service, "admin", "cursor=0", 2)) == ["1", "2"]


async def test_a_filter_lets_through_what_it_names(service: Running) -> None:
    for number in range(20):
        service.publish("alice", number, call_id=f"c{number % 5}")
    got = await take(service, "alice", "cursor=0&filter=call_id=c3 and type=registration.*", 4)
    assert reasons(got) == ["3", "8", "13", "18"]


async def test_last_event_id_goes_before_the_cursor_of_the_address(service: Running) -> None:
    for number in range(5):
        service.publish("alice", number)
    await service.stored(5)
    async with service.client("alice") as client:
        headers = {"Last-Event-ID": "3"}
        async with client.stream("GET", "/events?cursor=1", headers=headers) as response:
            message = await anext(sse(response))
    assert message.id == 4


async def test_a_client_is_told_of_a_gap(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        for number in range(50):
            service.publish("alice", number)
        await service.stored(50)
    async with running(tmp_path, event_keep_count=20) as service:
        await service.events.retention.once()
        gap, first, *_ = await take(service, "alice", "cursor=10", 3)
        assert gap.event == "gap"
        assert (gap.data["after"], gap.data["next"]) == (10, 31)
        assert first.id == 31
        no_gap = await take(service, "alice", "cursor=0", 1)
        assert no_gap[0].id == 31
        assert no_gap[0].event == "message"


async def test_a_cursor_of_another_database_is_a_gap(service: Running) -> None:
    service.publish("alice", 0)
    await service.stored(1)
    (gap,) = await take(service, "alice", "cursor=999", 1)
    assert gap.event == "gap"


async def test_a_silent_stream_has_heartbeats_that_move_the_cursor_on(service: Running) -> None:
    async with service.client("alice") as client, client.stream("GET", "/events") as response:
        service.publish("bob", 1)
        async with asyncio.timeout(TIMEOUT):
            lines = response.aiter_lines()
            async for line in lines:
                if line == "id: 1":
                    break
    assert line == "id: 1"


async def test_a_console_that_does_not_read_gets_all_when_it_does(service: Running) -> None:
    total, padding = 12_000, "x" * 500
    host, _, port = service.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**14)
    writer.write(b"GET /api/v1/events?cursor=0&access_token=alice HTTP/1.0\r\n"
                 b"Host: x\r\nAccept: text/event-stream\r\n\r\n")  # fmt: skip
    await writer.drain()
    for number in range(total):
        service.publish("alice", number, contact=padding)
        if number % 100 == 0:
            await asyncio.sleep(0)
    await service.stored(total)
    got: list[int] = []
    async with asyncio.timeout(TIMEOUT):
        while len(got) < total:
            line = await reader.readline()
            if line.startswith(b"data: "):
                got.append(int(json.loads(line[6:])["data"]["reason"]))
    writer.close()
    await writer.wait_closed()
    assert got == list(range(total))


async def test_streams_are_limited_per_user(tmp_path: Path) -> None:
    async with running(tmp_path, max_consoles_per_user=1) as service:
        async with service.client("alice") as client, client.stream("GET", "/events") as first:
            await anext(first.aiter_lines())
            refused = await client.get("/events")
            assert refused.status_code == 429
            assert refused.headers["content-type"] == "application/problem+json"
            async with service.client("bob") as other, other.stream("GET", "/events") as second:
                assert second.status_code == 200
        await take_after_leaving(service)


async def take_after_leaving(service: Running) -> None:
    """The place of a console that left is free again."""
    async with asyncio.timeout(TIMEOUT):
        while len(service.events.consoles):
            service.publish("alice", 1)
            await asyncio.sleep(0)
    assert await take(service, "alice", "cursor=0", 1)


async def test_stopping_the_server_says_good_bye(service: Running) -> None:
    async with service.client("alice") as client, client.stream("GET", "/events") as response:
        messages = sse(response)
        service.publish("alice", 1)
        await anext(messages)
        service.events.close_consoles()
        last = [message async for message in messages]
    assert [message.event for message in last] == ["closed"]


def address(service: Running, query: str, path: str = "events/ws") -> str:
    return f"ws://{service.address}/api/v1/{path}?{query}"


async def receive(socket: Any, count: int) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    async with asyncio.timeout(TIMEOUT):
        while len(got) < count:
            message = json.loads(await socket.recv())
            if message["type"] != "heartbeat":
                got.append(message)
    return got


async def test_a_websocket_replays_and_goes_on_live(service: Running) -> None:
    for number in range(30):
        service.publish("alice" if number % 3 else "bob", number)
    await service.stored(30)
    async with connect(address(service, "access_token=alice&cursor=10"), proxy=None) as socket:
        replayed = await receive(socket, 14)
        service.publish("bob", 30)
        service.publish("alice", 31)
        live = await receive(socket, 1)
    ids = [event["id"] for event in replayed]
    assert ids == [i for i in range(11, 31) if (i - 1) % 3]
    assert live[0]["data"]["reason"] == "31"
    assert live[0]["owner"] == "alice"


async def test_a_websocket_is_told_of_a_gap_and_of_the_end(service: Running) -> None:
    async with connect(address(service, "access_token=alice&cursor=7"), proxy=None) as socket:
        assert (await receive(socket, 1))[0]["type"] == "gap"
        service.events.close_consoles()
        assert (await receive(socket, 1))[0]["type"] == "closed"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


@pytest.mark.parametrize(
    ("query", "status"),
    [("access_token=mallory", 401), ("", 401), ("access_token=alice&filter=colour=red", 400),
     ("access_token=alice&filter=owner=bob", 403), ("access_token=alice&cursor=x", 400)],
)  # fmt: skip
async def test_a_refused_websocket_gets_a_problem(
    service: Running, query: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(address(service, query), proxy=None)
    assert caught.value.response.status_code == status
    assert json.loads(caught.value.response.body or b"{}")["status"] == status


async def flood_until_left(service: Running) -> None:
    """Publish until no console is open any more."""
    async with asyncio.timeout(TIMEOUT):
        number = 0
        while len(service.events.consoles):
            for _ in range(100):
                number += 1
                service.publish("alice", number, contact="x" * 8000)
            await service.stored(number)


@pytest.mark.parametrize("path", ["events", "events/ws"])
async def test_a_client_that_does_not_read_for_long_is_disconnected(
    service: Running, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (http_stream, http_socket):
        monkeypatch.setattr(module, "SEND_SECONDS", 0.1)
    host, _, port = service.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    writer.write(
        f"GET /api/v1/{path}?access_token=alice HTTP/1.1\r\nHost: x\r\n"
        f"Accept: text/event-stream\r\n{upgrade if path.endswith('ws') else ''}"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert await reader.readline() in (
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
    )
    assert len(service.events.consoles) == 1
    await flood_until_left(service)
    assert len(service.events.consoles) == 0
    writer.transport.abort()
