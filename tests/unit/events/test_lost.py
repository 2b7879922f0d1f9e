"""What becomes of the calls of an appserver that is gone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.events.domain.calls import LiveCalls
from services.events.domain.event import Draft
from services.events.domain.lost import Fate, fate, lost_call_drafts
from services.events.handlers.feed import Feed
from services.events.handlers.lost import LostCalls
from services.events.handlers.tail import Tail
from services.events.ports import Appended
from tandem.bus.memory import MemoryBus
from tandem.bus.node_events import NodeLost
from tandem.bus.nodes import Known, NodeAnnounced, Nodes, NodeState
from tests.support.events import stored
from tests.unit.events.test_feed import MemoryLog
from tests.unit.events.test_handlers import Said

APPSERVER = NodeAnnounced(node="as-1", kind="appserver", incarnation=900_000, version="1")
STARTED = stored(1, node="as-1", call_id="c1", data={"caller": "sip:a@x", "source": "udp:x"})


@pytest.mark.parametrize(
    ("known", "listening", "expected"),
    [
        (None, False, Fate(0.0, 30.0)),
        (None, True, Fate(math.inf, 30.0)),
        (NodeState.LOST, True, Fate(math.inf, 30.0)),
        (NodeState.STOPPED, True, Fate(math.inf, 5.0)),
        (NodeState.ACTIVE, True, Fate(900.0, 5.0)),
        (NodeState.DRAINING, True, Fate(900.0, 5.0)),
    ],
)
def test_what_the_list_of_nodes_says_of_calls(
    known: str | None, listening: bool, expected: Fate
) -> None:
    node = None if known is None else Known(replace(APPSERVER, state=known), 0.0)
    assert fate(node, listening=listening, lost_seconds=30.0) == expected


def calls_after(*events: Any) -> LiveCalls:
    calls = LiveCalls()
    for event in events:
        calls.apply(event)
    return calls


def test_a_lost_call_lasts_until_its_node_was_last_known_to_live() -> None:
    calls = calls_after(
        STARTED,
        stored(2, "call.forwarded", node="as-1", call_id="c1", data={"leg": 1, "target": "sip:b"}),
        stored(5, "call.progress", node="as-1", call_id="c1", data={"status": 183, "reason": "S"}),
        stored(9, "call.answered", node="as-1", call_id="c1", data={"target": "sip:b"}),
        stored(60, "node.lost", node="events-1", service="events",
               data={"lost": "as-1", "incarnation": 900_000}),
    )  # fmt: skip
    (call,) = calls
    end, record = lost_call_drafts(call, now=1090.0)
    assert (end.envelope_id, record.envelope_id) == ("lost-c1-ended", "lost-c1-record")
    assert (end.type, end.node, end.owners) == ("call.ended", "as-1", ("alice",))
    assert end.data == {"status": 200, "reason": "server lost", "duration": 48.0}
    expected = {
        "caller": "sip:a@x", "source": "udp:x", "destination": "", "answered_by": "sip:b",
        "created_at": 1001.0, "progress_at": 1005.0, "progress_status": 183,
        "answered_at": 1009.0, "ended_at": 1057.0, "status": 200, "status_reason": "OK",
        "end_reason": "server lost", "duration": 48.0, "ring_duration": 4.0, "legs": 1,
    }  # fmt: skip
    assert {name: record.data[name] for name in expected} == expected


def test_a_lost_call_that_only_rang_keeps_the_status_that_is_known() -> None:
    (call,) = calls_after(STARTED)
    _, record = lost_call_drafts(call, now=1090.0)
    assert (record.data["status"], record.data["duration"], record.data["ended_at"]) == (
        100, 0.0, 1001.0,
    )  # fmt: skip
    calls = calls_after(
        STARTED, stored(5, "call.progress", node="as-1", call_id="c1",
                        data={"status": 180, "reason": "Ringing"}),
    )  # fmt: skip
    (call,) = calls
    _, record = lost_call_drafts(call, now=1090.0)
    assert (record.data["status"], record.data["status_reason"]) == (180, "Ringing")


class EndingLog(MemoryLog):
    """Remembers the calls that were ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []

    async def end_calls(self, drafts: Sequence[Draft]) -> Appended:
        self.ended += [draft.envelope_id for draft in drafts]
        return Appended(0, [])


class World:
    """An events node with a list of nodes and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said = Said()
        self.log = EndingLog()
        self.calls = calls_after(STARTED)
        feed = Feed(self.log)
        tail = Tail(self.log, self.calls, feed, self.said, poll_seconds=None)
        me = NodeAnnounced(node="events-1", kind="events", incarnation=1, version="1")
        self.nodes = Nodes(MemoryBus("events-1"), lambda: me, lambda: self.now)
        self.nodes.known["events-1"] = Known(me, 0.0)
        self.lost = LostCalls(
            self.log, self.calls, tail, self.nodes, self.said, node="events-1", lost_seconds=30.0,
            clock=lambda: 2000.0, monotonic=lambda: self.now,
        )  # fmt: skip

    def know(self, said: NodeAnnounced) -> None:
        before = self.nodes.known.get(said.node)
        self.nodes.known[said.node] = Known(said, self.now)
        self.lost.on_change(said, before.said if before else None)

    def log_says(self, type: str, number: int = 10, **data: Any) -> None:
        node = data.pop("node", "as-1")
        self.calls.apply(stored(number, type, node=node, data=data))

    async def at(self, now: float) -> list[str]:
        self.now = now
        await self.lost.look()
        return self.log.ended

    @property
    def told(self) -> list[NodeLost]:
        return [payload for payload in self.said.payloads if isinstance(payload, NodeLost)]


LOST = replace(APPSERVER, state=NodeState.LOST)
IN_LOG: dict[str, Any] = {"node": "events-1", "lost": "as-1", "incarnation": 900_000}


async def test_a_node_that_is_lost_is_told_of_at_once_and_its_calls_end_after_a_while() -> None:
    world = World()
    world.know(APPSERVER)
    assert await world.at(1) == []
    assert world.told == []
    world.know(LOST)
    assert [(lost.lost, lost.incarnation, lost.calls) for lost in world.told] == [
        ("as-1", 900_000, 1)
    ]
    world.log_says("node.lost", **IN_LOG)
    assert await world.at(2) == []
    assert await world.at(31.9) == []
    assert await world.at(32) == ["lost-c1-ended", "lost-c1-record"]
    assert len(world.calls) == 0


async def test_calls_wait_for_the_log_to_say_what_was_queued_before() -> None:
    world = World()
    world.know(APPSERVER)
    world.know(LOST)
    await world.at(1)
    assert await world.at(100) == []
    assert [lost.times for lost in world.told] == [0, 0]  # it was asked for again
    assert await world.at(120) == []
    assert [lost.times for lost in world.told] == [0, 0, 1]
    world.log_says("node.lost", **IN_LOG)
    assert await world.at(121) == []
    assert await world.at(151) == ["lost-c1-ended", "lost-c1-record"]


async def test_a_node_that_was_only_cut_off_keeps_its_calls() -> None:
    world = World()
    world.know(APPSERVER)
    world.know(LOST)
    world.log_says("node.lost", **IN_LOG)
    await world.at(1)
    world.know(APPSERVER)
    assert await world.at(100) == []
    assert [call.lost_at for call in world.calls] == [None]
    world.know(LOST)
    assert [lost.times for lost in world.told] == [0, 1]


async def test_of_a_node_that_started_again_only_the_old_calls_are_gone() -> None:
    world = World()
    world.know(APPSERVER)
    world.calls.apply(stored(60, node="as-1", call_id="c2"))
    world.know(replace(APPSERVER, incarnation=1_050_000))
    assert [lost.incarnation for lost in world.told] == [900_000]
    world.log_says("node.started", 50, what="appserver")
    await world.at(1)
    assert await world.at(6) == ["lost-c1-ended", "lost-c1-record"]
    assert [call.id for call in world.calls] == ["c2"]
    assert await world.at(100) == ["lost-c1-ended", "lost-c1-record"]


async def test_calls_that_a_stopped_node_left_are_asked_for_and_ended() -> None:
    world = World()
    world.know(replace(APPSERVER, state=NodeState.STOPPED))
    await world.at(1)
    await world.at(6)
    assert [lost.lost for lost in world.told] == ["as-1"]
    world.log_says("node.lost", **IN_LOG)
    await world.at(7)
    assert await world.at(12) == ["lost-c1-ended", "lost-c1-record"]


async def test_nobody_is_given_up_before_we_have_listened_for_a_while() -> None:
    world = World()
    assert await world.at(1) == []
    assert await world.at(30) == []
    assert world.told == []
    await world.at(31)
    await world.at(36)
    assert [lost.lost for lost in world.told] == ["as-1"]


async def test_nobody_is_given_up_while_we_do_not_hear_ourselves() -> None:
    world = World()
    del world.nodes.known["events-1"]
    for now in (1, 100, 200):
        assert await world.at(now) == []
    assert world.told == []


@pytest.mark.parametrize(("ago", "told"), [(5, 0), (60, 1)])
async def test_a_loss_that_another_events_node_told_of_just_now_is_not_told_again(
    ago: int, told: int
) -> None:
    world = World()
    world.know(APPSERVER)
    world.log_says("node.lost", 1000 - ago, **IN_LOG)  # an event's time is 1000 + its number
    world.know(LOST)
    assert len(world.told) == told
