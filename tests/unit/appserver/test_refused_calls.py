"""Calls that routing refuses have events and one record, if an owner has a part in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tandem.bus.call_events import CallEnded, CallRecord, CallStarted
from tests.support.appserver import Phone, Site, account

OUTSIDER: dict[str, Any] = {"from_": "<sip:carol@outside.example>;tag=c"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice"), account("bob")) as made:
        yield made


@pytest.mark.parametrize(
    ("uri", "status", "reason", "owners"),
    [
        ("sip:nobody@example.com", 404, "not found", ("owner-alice",)),
        ("sip:bob@example.com", 480, "not available", ("owner-alice", "owner-bob")),
        ("sip:example.com", 484, "not found", ("owner-alice",)),
    ],
)
async def test_a_refused_call_of_an_account_is_recorded_once(
    site: Site, uri: str, status: int, reason: str, owners: tuple[str, ...]
) -> None:
    await Phone(site).asked("INVITE", uri)
    (started,), (ended,) = site.bus.take(CallStarted), site.bus.take(CallEnded)
    (record,) = site.bus.take(CallRecord)
    assert (record.status, record.end_reason, record.owners) == (status, reason, owners)
    assert (record.direction, record.destination) == ("out", uri)
    assert record.source == "udp:203.0.113.7:5060"
    assert (record.legs, record.duration, record.answered_at) == (0, 0.0, None)
    assert started.call_id == ended.call_id == record.call_id
    assert (ended.status, ended.reason, ended.duration) == (status, reason, 0.0)
    assert started.owners == ended.owners == owners


async def test_the_owner_of_a_callee_sees_who_from_outside_failed_to_reach_it(site: Site) -> None:
    await Phone(site).asked("INVITE", "sip:bob@example.com", **OUTSIDER)
    (record,) = site.bus.take(CallRecord)
    assert (record.direction, record.owners) == ("in", ("owner-bob",))
    assert record.caller == "sip:carol@outside.example"


@pytest.mark.parametrize("uri", ["sip:nobody@example.com", "sip:x@elsewhere.example"])
async def test_strangers_among_themselves_leave_no_record(site: Site, uri: str) -> None:
    await Phone(site).asked("INVITE", uri, **OUTSIDER)
    assert site.bus.take(CallRecord) == site.bus.take(CallStarted) == []


async def test_a_challenge_is_no_call_and_a_refused_message_neither(site: Site) -> None:
    await site.send(Phone(site).request("INVITE", "sip:bob@example.com"))
    await Phone(site).asked("MESSAGE", "sip:nobody@example.com")
    assert site.bus.take(CallRecord) == site.bus.take(CallStarted) == []
