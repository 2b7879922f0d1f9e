"""What operators do with nodes, on fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.provisioning.domain.errors import NotFound, Unanswered
from services.provisioning.handlers.nodes import Operations
from services.provisioning.ports import AppserverSilent
from tandem.bus.hints import Hint
from tandem.bus.memory import MemoryBus
from tandem.bus.nodes import LOST_SECONDS, DrainRequested, NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Envelope, Topic

ME = NodeAnnounced(node="provisioning-1", kind="provisioning", incarnation=1, version="1")


def appserver(number: int) -> NodeAnnounced:
    return replace(ME, node=f"appserver-{number}", kind="appserver", grpc=f"10.0.0.{number}:1")


def hint(name: str, expires_at: float) -> Hint:
    return Hint(id=name, node="n", appserver="a", customer="c", users=("u",), expires_at=expires_at)


class Appservers:
    """By address: what each has, or None for one that is silent."""

    def __init__(self) -> None:
        self.of: dict[str, Sequence[Hint] | None] = {}
        self.calls: dict[str, str] = {}

    async def hints(self, address: str) -> Sequence[Hint]:
        found = self.of.get(address)
        if found is None:
            raise AppserverSilent(address)
        return found

    async def hang_up(self, address: str, call_id: str) -> bool:
        await self.hints(address)
        return self.calls.get(call_id) == address


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.bus = MemoryBus("provisioning-1")
        self.nodes = Nodes(self.bus, lambda: ME, lambda: self.now)
        self.appservers = Appservers()
        self.operations = Operations(
            self.nodes, self.bus, self.appservers, lambda: self.now, obey_seconds=0.2
        )
        self.requests: list[Any] = []
        self.obedient = True
        self.bus.subscribe(Topic.NODES, self._obey, name="others")

    async def _obey(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            asked = envelope.payload
            if isinstance(asked, DrainRequested):
                self.requests.append(asked)
                known = self.nodes.known[asked.node].said
                state = NodeState.DRAINING if asked.drain else NodeState.ACTIVE
                if self.obedient:
                    self.bus.publish(Topic.NODES, replace(known, state=state))

    async def hear(self, *said: NodeAnnounced) -> None:
        await self.nodes.take([Envelope("1", 0.0, one.node, one) for one in said])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.bus.start()
    yield world
    await world.bus.close()


async def test_nodes_are_listed_by_kind_and_id_with_their_silence(world: World) -> None:
    await world.hear(ME, appserver(2))
    world.now += 1.5
    await world.hear(appserver(1), replace(ME, node="proxy-1", kind="proxy"))
    listed = [(seen.said.node, seen.silent_seconds) for seen in world.operations.nodes()]
    assert listed == [
        ("appserver-1", 0.0), ("appserver-2", 1.5), ("provisioning-1", 1.5), ("proxy-1", 0.0),
    ]  # fmt: skip


async def test_a_node_drains_and_takes_part_again_when_it_says_so(world: World) -> None:
    await world.hear(appserver(1))
    assert (await world.operations.drain("appserver-1", True)).said.state == NodeState.DRAINING
    assert (await world.operations.drain("appserver-1", False)).said.state == NodeState.ACTIVE
    assert world.requests == [
        DrainRequested("appserver-1", True), DrainRequested("appserver-1", False),
    ]  # fmt: skip
    assert not world.nodes.listeners


async def test_a_node_that_stops_as_soon_as_it_has_drained_has_obeyed(world: World) -> None:
    world.obedient = False
    await world.hear(appserver(1))
    draining = asyncio.ensure_future(world.operations.drain("appserver-1", True))
    await asyncio.sleep(0)
    await world.hear(replace(appserver(1), state=NodeState.STOPPED))
    assert (await draining).said.state == NodeState.STOPPED


async def test_a_node_that_does_not_obey_is_told(world: World) -> None:
    world.obedient = False
    await world.hear(appserver(1))
    with pytest.raises(Unanswered, match="has not answered"):
        await world.operations.drain("appserver-1", True)
    assert not world.nodes.listeners


async def test_a_node_that_is_not_there_cannot_drain(world: World) -> None:
    with pytest.raises(NotFound):
        await world.operations.drain("nobody", True)
    await world.hear(ME, appserver(1))
    for _ in range(8):
        world.now += LOST_SECONDS / 6
        await world.hear(ME)
        world.nodes.look()
    with pytest.raises(NotFound, match="lost"):
        await world.operations.drain("appserver-1", True)
    assert not world.requests


async def test_hints_of_all_appservers_are_joined_and_silent_ones_named(world: World) -> None:
    await world.hear(*(appserver(number) for number in (1, 2, 3)))
    world.appservers.of = {"10.0.0.1:1": [hint("b", 2.0)], "10.0.0.3:1": [hint("a", 1.0)]}
    hints, silent = await world.operations.hints()
    assert [found.id for found in hints] == ["a", "b"]
    assert silent == ["appserver-2"]


async def test_an_appserver_without_grpc_is_silent(world: World) -> None:
    await world.hear(replace(appserver(1), grpc=""))
    assert await world.operations.hints() == ([], ["appserver-1"])


async def test_a_call_is_hung_up_where_it_is(world: World) -> None:
    await world.hear(appserver(1), appserver(2), appserver(3))
    world.appservers.of = {"10.0.0.1:1": [], "10.0.0.2:1": []}
    world.appservers.calls = {"call-7": "10.0.0.2:1"}
    assert await world.operations.hang_up("call-7") == "appserver-2"
    with pytest.raises(Unanswered, match="appserver-3"):
        await world.operations.hang_up("call-8")
    world.appservers.of["10.0.0.3:1"] = []
    with pytest.raises(NotFound):
        await world.operations.hang_up("call-8")
