"""Two events nodes on one PostgreSQL and one RabbitMQ."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import pytest

from services.events.adapters import eventlog
from tandem.bus.amqp import AmqpBus
from tandem.bus.call_events import CallAnswered, CallForwarded, CallProgress, CallStarted
from tandem.bus.interest import Interest
from tandem.bus.node_events import NodeStarted
from tandem.bus.nodes import NodeAnnounced, NodeState
from tandem.bus.ports import Envelope, Topic
from tests.support.databases import PostgreSQL
from tests.support.events import TIMEOUT, Message, Node, Running, node, record, removed, sse
from tests.support.rabbit import Rabbit
from tests.support.waiting import eventually

PATIENCE = 60.0


@pytest.fixture
def make_bus(rabbit: Rabbit) -> Callable[[str], AmqpBus]:
    """Buses that share exchanges and queues of this test's own."""
    prefix = f"events-{uuid.uuid4().hex[:12]}"
    return lambda name: AmqpBus(rabbit.url, name, prefix=prefix)


@pytest.fixture
async def nodes(
    make_bus: Callable[[str], AmqpBus], postgresql: PostgreSQL
) -> AsyncIterator[tuple[Node, Node]]:
    url = postgresql.fresh_database()
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(node(name, url, make_bus(name), lost_seconds=0.5))
            for name in ("events-1", "events-2")
        ]
        yield one, two


@pytest.fixture
async def server(make_bus: Callable[[str], AmqpBus]) -> AsyncIterator[AmqpBus]:
    """The bus of an appserver."""
    bus = make_bus("as-1")
    await bus.start()
    yield bus
    await bus.close()


async def take(service: Running, query: str, enough: Callable[[list[Message]], bool]) -> list[Any]:
    """What a stream says until it is enough."""
    got: list[Message] = []
    async with asyncio.timeout(PATIENCE), service.client("admin") as client:
        async with client.stream("GET", f"/events?{query}") as response:
            async with aclosing(sse(response)) as messages:
                async for message in messages:
                    got.append(message)
                    if enough(got):
                        break
    return [message.data for message in got]


def count(total: int) -> Callable[[list[Message]], bool]:
    return lambda got: len(got) == total


async def test_consoles_of_two_nodes_see_one_order_while_both_take_events_in(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    total = 3000
    query = "cursor=0&filter=type=registration.removed"
    consoles = [asyncio.create_task(take(n, query, count(total))) for n in nodes]
    for number in range(total):
        source = (server, nodes[0].bus, nodes[1].bus)[number % 3]
        source.publish(Topic.EVENTS, removed("alice", number))
        if number % 50 == 0:
            await asyncio.sleep(0.01)
    left, right = await asyncio.gather(*consoles)
    assert left == right
    assert sorted(int(event["data"]["reason"]) for event in left) == list(range(total))
    ids = [event["id"] for event in left]
    assert ids == sorted(set(ids))
    for part in range(3):  # what one node said stays in its order
        numbers = [int(event["data"]["reason"]) for event in left]
        assert [n for n in numbers if n % 3 == part] == list(range(part, total, 3))


async def test_a_console_goes_on_at_the_other_node_with_its_last_id(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    async def publish() -> None:
        for number in range(2000):
            server.publish(Topic.EVENTS, removed("alice", number))
            if number % 20 == 0:
                await asyncio.sleep(0.005)

    load = asyncio.create_task(publish())
    got: list[Any] = []
    turn = 0
    while len(got) < 2000:
        cursor = got[-1]["id"] if got else 0
        size = min(100, 2000 - len(got))
        got += await take(
            nodes[turn % 2], f"cursor={cursor}&filter=type=registration.removed", count(size)
        )
        turn += 1
    await load
    ids = [event["id"] for event in got]
    assert ids == sorted(set(ids))
    assert sorted(int(event["data"]["reason"]) for event in got) == list(range(2000))


async def test_a_gap_that_another_node_made_is_told(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    two.events.feed._limit = 5  # what it has in memory is no gap
    for number in range(50):
        one.publish("alice", number)
    await one.stored(50)
    await two.stored(50)
    await one.events._log.remove_events(30)
    gap, first, *_ = await take(two, "cursor=10", count(2))
    assert (gap["type"], gap["after"], gap["next"]) == ("gap", 10, 31)
    assert first["id"] == 31


async def test_a_database_that_is_away_costs_no_event(
    nodes: tuple[Node, Node], server: AmqpBus, postgresql: PostgreSQL
) -> None:
    query = "cursor=0&filter=type=registration.removed"
    server.publish(Topic.EVENTS, removed("alice", 0))
    await take(nodes[0], query, count(1))
    await asyncio.to_thread(postgresql.stop)
    try:
        for number in range(1, 300):
            server.publish(Topic.EVENTS, removed("alice", number))
        server.publish(Topic.EVENTS, record("c1"))

        async def noticed() -> bool:
            return any(n.events.ingest.failing for n in nodes) and not await nodes[0].events.ready()

        await eventually(noticed, "the nodes to notice", PATIENCE)
        assert max(n.events.ingest.delay() for n in nodes) > 0.0
        await asyncio.sleep(5.0)
    finally:
        await asyncio.to_thread(postgresql.start)
    left, right = await asyncio.gather(*(take(n, query, count(300)) for n in nodes))
    assert left == right
    assert sorted(int(event["data"]["reason"]) for event in left) == list(range(300))
    async with nodes[1].client("admin") as client:

        async def recorded() -> bool:
            return (await client.get("/cdrs/c1")).status_code == 200

        await eventually(recorded, "the call record", PATIENCE)
    assert await eventually(nodes[0].events.ready, "readiness", PATIENCE)


async def test_a_database_that_takes_no_writes_is_read_and_costs_no_event(
    nodes: tuple[Node, Node], server: AmqpBus, postgresql: PostgreSQL
) -> None:
    query = "cursor=0&filter=type=registration.removed"
    server.publish(Topic.EVENTS, removed("alice", 0))
    await take(nodes[0], query, count(1))
    await asyncio.to_thread(postgresql.read_only, True)
    try:
        server.publish(Topic.EVENTS, removed("alice", 1))

        async def noticed() -> bool:
            return any(n.events.ingest.failing for n in nodes)

        await eventually(noticed, "the nodes to notice", PATIENCE)
        assert len(await take(nodes[1], query, count(1))) == 1
        assert await nodes[1].events.ready()
    finally:
        await asyncio.to_thread(postgresql.read_only, False)
    got = await take(nodes[1], query, count(2))
    assert [event["data"]["reason"] for event in got] == ["0", "1"]


async def test_a_database_that_hangs_is_noticed_and_costs_no_event(
    nodes: tuple[Node, Node],
    server: AmqpBus,
    postgresql: PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(eventlog, "PATIENCE_SECONDS", 0.5)
    postgresql.freeze()
    try:
        server.publish(Topic.EVENTS, removed("alice", 0))

        async def unready() -> bool:
            return not await nodes[0].events.ready()

        await eventually(unready, "the node to notice", PATIENCE)
        async with nodes[0].client("alice") as client:
            assert (await client.get("/cdrs")).status_code == 503
    finally:
        postgresql.thaw()
    monkeypatch.undo()
    assert await eventually(nodes[0].events.ready, "readiness", PATIENCE)
    for n in nodes:
        got = await take(n, "cursor=0&filter=type=registration.removed", count(1))
        assert [event["data"]["reason"] for event in got] == ["0"]


def announced(incarnation: float, state: str = NodeState.ACTIVE) -> NodeAnnounced:
    return NodeAnnounced(
        node="as-1", kind="appserver", incarnation=int(incarnation * 1000), version="1", state=state
    )


async def announce(server: AmqpBus, said: NodeAnnounced) -> None:
    while True:
        server.publish(Topic.NODES, said)
        await asyncio.sleep(0.3)


def start_calls(server: AmqpBus, *ids: str) -> None:
    for call_id in ids:
        common: dict[str, Any] = {"owners": ("alice",), "call_id": call_id}
        server.publish(
            Topic.EVENTS,
            CallStarted(
                **common, direction="out", caller="sip:a@x", destination="sip:b@x",
                source="udp:192.0.2.1:5060", sip_call_id=f"{call_id}@x",
            ),
        )  # fmt: skip
        server.publish(
            Topic.EVENTS,
            CallForwarded(**common, leg=1, target="sip:b@y", next_hop="udp:y", sip_call_id="l@x"),
        )
        progress = CallProgress(**common, leg=1, status=180, reason="Ringing")
        server.publish(Topic.EVENTS, progress)


async def live(one: Node, expected: set[str]) -> None:
    async def look() -> bool:
        return {call.id for call in one.events.calls} == expected

    await eventually(look, f"the live calls {expected}", PATIENCE)


async def ends(one: Node) -> dict[str, list[tuple[str, str]]]:
    """Each call's events that end it, with the reason."""
    async with one.client("admin") as client:
        query = {"filter": "type=call.ended,call.record", "cursor": "0", "count": "1000"}
        headers = {"Accept": "application/json"}
        answer = await client.get("/events", params=query, headers=headers)
    found: dict[str, list[tuple[str, str]]] = {}
    for event in answer.json()["items"]:
        reason = event["data"].get("end_reason") or event["data"]["reason"]
        found.setdefault(event["call_id"], []).append((event["type"], reason))
    return found


LOST = [("call.ended", "server lost"), ("call.record", "server lost")]


async def test_the_calls_of_a_lost_appserver_are_ended_once_though_two_nodes_saw_it(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    announcing = asyncio.create_task(announce(server, announced(time.time() - 60)))
    start_calls(server, "c1", "c2", "c3")
    answer = CallAnswered(owners=("alice",), call_id="c1", leg=1, target="sip:b@y")
    server.publish(Topic.EVENTS, answer)
    server.publish(Topic.EVENTS, record("c3", end_reason="busy"))
    for one in nodes:
        await live(one, {"c1", "c2"})
    answered_at = time.time()
    announcing.cancel()
    for one in nodes:
        await live(one, set())
    assert await ends(nodes[0]) == {"c1": LOST, "c2": LOST, "c3": [("call.record", "busy")]}
    assert sum(n.events.lost.ended for n in nodes if n.events.lost) == 2
    async with nodes[1].client("alice") as client:
        up, ringing = [(await client.get(f"/cdrs/{call}")).json() for call in ("c1", "c2")]
        page = (await client.get("/cdrs")).json()
    assert page["total"] == 3
    assert (up["status"], up["answered_by"], up["legs"], up["node"]) == (200, "sip:b@y", 1, "as-1")
    assert 0 <= up["duration"] <= time.time() - answered_at
    assert (ringing["status"], ringing["status_reason"], ringing["duration"]) == (180, "Ringing", 0)
    lost = await take(nodes[0], "cursor=0&filter=type=node.lost", count(1))
    assert (lost[0]["data"]["lost"], lost[0]["data"]["calls"]) == ("as-1", 2)
    # what it says itself when it was only cut off comes too late: the first record stands
    server.publish(Topic.EVENTS, record("c1", end_reason="caller hung up"))
    server.publish(Topic.EVENTS, removed("alice", 1))
    await take(nodes[0], "cursor=0&filter=type=registration.removed", count(1))
    assert (await ends(nodes[1]))["c1"] == LOST


async def test_an_appserver_that_came_back_as_another_has_lost_its_calls(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    announcing = asyncio.create_task(announce(server, announced(time.time() - 60)))
    start_calls(server, "c1")
    for one in nodes:
        await live(one, {"c1"})
    announcing.cancel()
    again = asyncio.create_task(announce(server, announced(time.time())))
    server.publish(Topic.EVENTS, NodeStarted(what="appserver", version="1"))
    start_calls(server, "c2")
    for one in nodes:
        await live(one, {"c2"})
    assert await ends(nodes[0]) == {"c1": LOST}
    again.cancel()


async def test_calls_that_a_stopped_appserver_left_are_ended(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    said = announced(time.time() - 60)
    server.publish(Topic.NODES, said)
    start_calls(server, "c1")
    for one in nodes:
        await live(one, {"c1"})
    server.publish(Topic.NODES, replace(said, state=NodeState.STOPPED))
    for one in nodes:
        await live(one, set())
    assert await ends(nodes[0]) == {"c1": LOST}


async def test_calls_of_an_appserver_that_nobody_hears_of_are_ended(
    nodes: tuple[Node, Node], server: AmqpBus
) -> None:
    start_calls(server, "c1")

    async def ended() -> bool:
        return await ends(nodes[1]) == {"c1": LOST}

    await eventually(ended, "the end of the call", PATIENCE)
    for one in nodes:
        await live(one, set())


async def test_traces_are_asked_for_while_a_console_watches_and_shown_to_it_alone(
    nodes: tuple[Node, Node], make_bus: Callable[[str], AmqpBus]
) -> None:
    heard: list[Interest] = []

    async def hear(batch: Any) -> None:
        heard.extend(e.payload for e in batch if isinstance(e, Envelope))

    proxy = make_bus("proxy-1")
    proxy.subscribe(Topic.INTEREST, hear, name="proxy-1-interest")
    await proxy.start()
    one = nodes[0]
    one.events.watched._repeat_seconds = 0.05

    async def twice() -> bool:
        return len(heard) >= 2

    async with one.client("alice") as client:
        refused = await client.get("/events?traces=1&trace_customer=bob")
        assert refused.status_code == 403
        async with asyncio.timeout(TIMEOUT):
            async with client.stream("GET", "/events?traces=1") as response:
                assert response.status_code == 200
                await eventually(twice, "an interest", PATIENCE)
    assert {interest.customer for interest in heard} == {"alice"}
    assert all(interest.until > time.time() for interest in heard)

    async def unwatched() -> bool:
        return len(one.events.watched) == 0 and one.events.watched._task is None

    await eventually(unwatched, "the end of the interest", PATIENCE)
    await proxy.close()
