"""Calls, call records and pages of events over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem.bus.call_events import CallAnswered, CallEnded, CallStarted
from tandem.bus.ports import Topic
from tests.support.events import Running, record, running


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as service:
        yield service


def started(call_id: str, owner: str = "alice") -> CallStarted:
    return CallStarted(
        owners=(owner,), call_id=call_id, direction="out", caller="sip:a@x",
        destination="sip:b@x", source="udp:192.0.2.1:5060", sip_call_id="s",
    )  # fmt: skip


async def get(service: Running, path: str, user: str = "alice", status: int = 200) -> Any:
    async with service.client(user) as client:
        answer = await client.get(path, headers={"Accept": "application/json"})
    assert answer.status_code == status
    return answer.json()


async def test_a_call_is_live_until_it_ends_and_then_a_record(service: Running) -> None:
    service.bus.publish(Topic.EVENTS, started("c1"))
    service.bus.publish(Topic.EVENTS, started("c2", "bob"))
    answered = CallAnswered(owners=("alice",), call_id="c1", leg=1, target="sip:b@y")
    service.bus.publish(Topic.EVENTS, answered)
    await service.stored(3)
    page = await get(service, "/calls")
    assert (page["total"], page["items"][0]["state"]) == (1, "answered")
    assert (await get(service, "/calls", "admin"))["total"] == 2
    call = await get(service, "/calls/c1")
    assert [event["type"] for event in call["events"]] == ["call.started", "call.answered"]
    await get(service, "/calls/c1", "bob", 404)

    service.bus.publish(Topic.EVENTS, record("c1", created_at=1_700_000_000.5))
    ended = CallEnded(
        owners=("alice",), call_id="c1", status=200, reason="caller hung up", duration=8
    )
    service.bus.publish(Topic.EVENTS, ended)
    service.bus.publish(Topic.EVENTS, record("c1", status=500))  # the first stands
    service.publish("bob", 1)
    await service.stored(6)
    assert (await get(service, "/calls"))["items"] == []
    call = await get(service, "/calls/c1")
    assert (call["state"], call["record"]["status"], len(call["events"])) == ("ended", 200, 4)
    cdrs = await get(service, "/cdrs")
    assert cdrs["total"] == 1
    assert cdrs["items"][0]["created_at"] == "2023-11-14T22:13:20.500Z"
    assert cdrs["items"][0]["owner"] == "alice"
    assert await get(service, "/cdrs/c1") == cdrs["items"][0]
    await get(service, "/cdrs/c1", "bob", 404)
    await get(service, "/calls/none", "admin", 404)


async def test_records_come_in_pages_and_by_filters(service: Running) -> None:
    for number in range(7):
        service.bus.publish(
            Topic.EVENTS,
            record(f"c{number}", created_at=1000.0 + number, status=486 if number % 2 else 200),
        )
    await service.stored(7)
    page = await get(service, "/cdrs?offset=2&count=2")
    assert ([item["id"] for item in page["items"]], page["total"]) == (["c4", "c3"], 7)
    assert (await get(service, "/cdrs?status=486"))["total"] == 3
    assert (await get(service, "/cdrs?since=1970-01-01T00:16:45Z"))["total"] == 2
    assert (await get(service, "/cdrs?until=1002"))["total"] == 2
    assert (await get(service, "/cdrs?account=A@example"))["total"] == 7
    assert (await get(service, "/cdrs", "bob"))["total"] == 0
    assert (await get(service, "/cdrs?since=yesterday", status=422))["field"] == "since"
    assert (await get(service, "/cdrs?count=0", status=422))["field"] == "count"


async def test_a_page_of_events_is_the_newest_or_what_follows_a_cursor(service: Running) -> None:
    for number in range(30):
        service.publish("alice" if number % 3 else "bob", number)
    await service.stored(30)
    newest = await get(service, "/events?count=2")
    assert [event["id"] for event in newest["items"]] == [29, 30]
    assert newest["cursor"] == 30
    ids, cursor = [], 0
    while cursor < 30:
        page = await get(service, f"/events?count=7&cursor={cursor}")
        ids += [event["id"] for event in page["items"]]
        cursor = page["cursor"]
    assert ids == [n for n in range(1, 31) if (n - 1) % 3]


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("query", "status", "field"),
    [("filter=colour=red", 400, "filter"), ("filter=owner=bob", 403, "filter"),
     ("cursor=-1", 400, "cursor"), ("cursor=x", 400, "cursor")],
)  # fmt: skip
async def test_a_wrong_filter_or_cursor_is_a_problem_that_names_it(
    service: Running, accept: str, query: str, status: int, field: str
) -> None:
    async with service.client("alice") as client:
        answer = await client.get(f"/events?{query}", headers={"Accept": accept})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field


@pytest.mark.parametrize("path", ["/calls", "/cdrs", "/events", "/calls/c", "/cdrs/c"])
async def test_nobody_gets_in_without_a_token(service: Running, path: str) -> None:
    await get(service, path, "mallory", 401)


async def test_live_calls_are_known_again_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        service.bus.publish(Topic.EVENTS, started("c1"))
        service.bus.publish(Topic.EVENTS, started("c2"))
        service.bus.publish(Topic.EVENTS, record("c2", ended_at=time.time()))
        await service.stored(3)
    async with running(tmp_path) as service:
        assert [c["id"] for c in (await get(service, "/calls"))["items"]] == ["c1"]
        assert (await get(service, "/calls/c2"))["state"] == "ended"
    async with running(tmp_path, recover_calls=False) as service:
        assert (await get(service, "/calls"))["items"] == []
