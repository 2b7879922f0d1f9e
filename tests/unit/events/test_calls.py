from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from services.events.domain.calls import SILENT_SECONDS, LiveCalls
from services.events.domain.event import StoredEvent
from tandem.bus.nodes import LOST_SECONDS
from tandem.rpc.sessions import Principal
from tests.support.events import stored

ADMIN = Principal("root", admin=True)


def of_call(number: int, type: str, call_id: str = "c1", **changes: Any) -> StoredEvent:
    return stored(number, type, **{"call_id": call_id, **changes})


STARTED = of_call(1, "call.started", data={"caller": "sip:a@x", "destination": "sip:b@x"})
FORWARDED = of_call(2, "call.forwarded", data={"leg": 1, "target": "sip:b@y"})
PROGRESS = of_call(3, "call.progress", data={"leg": 1, "status": 180})
ANSWERED = of_call(4, "call.answered", data={"leg": 1, "target": "sip:b@y"})
ENDED = of_call(5, "call.ended", data={"status": 200})


@pytest.mark.parametrize("order", list(permutations((STARTED, FORWARDED, PROGRESS, ANSWERED))))
def test_a_call_looks_the_same_in_whatever_order_its_events_come(
    order: tuple[StoredEvent, ...],
) -> None:
    calls = LiveCalls()
    for event in (*order, *order):
        calls.apply(event)
    (call,) = calls.seen_by(ADMIN)
    assert call.document(ADMIN) == {
        "id": "c1", "node": "node-a", "owner": "alice", "state": "answered", "direction": None,
        "caller": "sip:a@x", "destination": "sip:b@x", "source": None, "sip_call_id": None,
        "started_at": "1970-01-01T00:16:41.000Z", "progress_at": "1970-01-01T00:16:43.000Z",
        "answered_at": "1970-01-01T00:16:44.000Z", "answered_by": "sip:b@y",
        "legs": [{"leg": 1, "target": "sip:b@y"}],
    }  # fmt: skip


@pytest.mark.parametrize("end", ["call.ended", "call.record"])
def test_a_call_that_ended_does_not_come_back(end: str) -> None:
    calls = LiveCalls()
    calls.apply(of_call(5, end))
    for event in (STARTED, PROGRESS, ANSWERED):
        calls.apply(event)
    assert len(calls) == 0


def test_calls_are_shown_to_their_owners_alone() -> None:
    calls = LiveCalls()
    calls.apply(STARTED)
    calls.apply(of_call(2, "call.started", "c2", owners=("bob",)))
    calls.apply(of_call(3, "call.started", "c3", owners=()))
    assert [call.id for call in calls.seen_by(Principal("alice"))] == ["c1"]
    assert [call.id for call in calls.seen_by(ADMIN)] == ["c3", "c2", "c1"]


def test_the_directory_is_bounded() -> None:
    calls = LiveCalls(max_live=2, max_ended=2)
    for number in range(5):
        calls.apply(of_call(number, "call.started", f"c{number}"))
    assert sorted(call.id for call in calls) == ["c3", "c4"]
    assert calls.evicted == 3
    for number in range(5):
        calls.apply(of_call(number, "call.ended", f"c{number}"))
    assert len(calls) == 0


def test_an_appserver_that_starts_again_has_left_its_calls() -> None:
    calls = LiveCalls()
    calls.apply(STARTED)
    calls.apply(of_call(2, "call.started", "c2", node="node-b"))
    calls.apply(stored(9, "node.started", data={"what": "proxy"}))
    assert [call.lost_at for call in calls] == [None, None]
    calls.apply(stored(10, "node.started", data={"what": "appserver"}))
    # the last that was heard of the node
    assert {call.id: call.lost_at for call in calls} == {"c1": 1009.0, "c2": None}


def test_a_node_that_is_lost_lived_until_it_fell_silent() -> None:
    calls = LiveCalls()
    calls.apply(STARTED)
    lost = {"what": "appserver", "lost": "node-a", "incarnation": 7, "calls": 1}
    calls.apply(stored(10, "node.lost", node="events-1", data=lost, service="events"))
    calls.apply(of_call(11, "call.started", "c2"))
    assert {call.id: call.lost_at for call in calls} == {"c1": 1010.0 - LOST_SECONDS, "c2": None}
    assert calls.losses == {"node-a": (7, 1)}
    calls.apply(stored(12, "node.lost", node="events-1", data=lost, service="events"))
    assert calls.losses == {"node-a": (7, 2)}
    calls.apply(stored(13, "node.lost", data={**lost, "incarnation": 8}, service="events"))
    assert calls.losses == {"node-a": (8, 1)}


def test_a_call_of_which_nothing_is_heard_is_dropped() -> None:
    calls = LiveCalls()
    calls.apply(STARTED)
    calls.forget_silent(STARTED.time + SILENT_SECONDS)
    assert len(calls) == 1
    calls.forget_silent(STARTED.time + SILENT_SECONDS + 1)
    assert len(calls) == 0


def test_other_events_are_ignored() -> None:
    calls = LiveCalls()
    calls.apply(stored(1, "registration.added", call_id="c1"))
    calls.apply(stored(1, "call.started", call_id=None))
    assert len(calls) == 0
