"""Ends of the link that live in one process."""

from __future__ import annotations

import asyncio

import pytest

from tandem.siptransport import link as link_module
from tandem.siptransport.link import Hub, MemoryLink


class Pair:
    """Two ends; `b` answers each question that `a` asks."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.a, self.b = MemoryLink("a", self.hub), MemoryLink("b", self.hub)
        self.heard: list[bytes] = []
        self.depth = self.deepest = 0
        self.a.receiver = lambda data, peer: self.heard.append(data)
        self.b.receiver = self._answer

    def _answer(self, data: bytes, peer: str) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        self.b.send(data + b"!", peer)
        self.b.send(data + b"?", peer)
        self.depth -= 1


def test_a_batch_is_carried_through_before_flush_returns() -> None:
    pair = Pair()
    pair.a.hold()
    for data in (b"1", b"2"):
        pair.a.send(data, "b")
    assert pair.heard == []
    pair.a.flush()
    assert pair.heard == [b"1!", b"1?", b"2!", b"2?"]
    assert pair.deepest == 1


async def test_outside_of_a_batch_the_loop_delivers() -> None:
    pair = Pair()
    pair.a.send(b"1", "b")
    assert pair.heard == []
    await asyncio.sleep(0)
    assert pair.heard == [b"1!", b"1?"]


def test_a_receiver_that_flushes_is_not_entered_again() -> None:
    pair = Pair()

    def flushing(data: bytes, peer: str) -> None:
        pair.depth += 1
        pair.deepest = max(pair.deepest, pair.depth)
        pair.heard.append(data)
        if len(pair.heard) < 5:
            pair.b.send(data, "b")
        pair.b.flush()
        pair.depth -= 1

    pair.b.receiver = flushing
    pair.a.hold()
    pair.a.send(b"x", "b")
    pair.a.flush()
    assert pair.heard == [b"x"] * 5
    assert pair.deepest == 1


def test_an_end_that_there_is_not_gets_nothing() -> None:
    pair = Pair()
    pair.a.send(b"1", "c")
    pair.a.flush()
    assert pair.heard == []


async def test_ends_that_never_stop_talking_leave_the_loop_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "MAX_DRAIN", 10)
    pair = Pair()
    count = 0

    def echo(data: bytes, peer: str) -> None:
        nonlocal count
        count += 1
        if count < 15:
            pair.b.send(data, "b")

    pair.b.receiver = echo
    pair.a.hold()
    pair.a.send(b"1", "b")
    pair.a.flush()
    assert count == 10
    await asyncio.sleep(0)
    assert count == 15


async def test_a_receiver_that_fails_costs_its_own_message_only() -> None:
    pair = Pair()

    def failing(data: bytes, peer: str) -> None:
        if data == b"bad":
            raise ValueError("bad")
        pair.heard.append(data)

    pair.b.receiver = failing
    pair.a.hold()
    pair.a.send(b"bad", "b")
    pair.a.send(b"good", "b")
    with pytest.raises(ValueError, match="bad"):
        pair.a.flush()
    await asyncio.sleep(0)
    assert pair.heard == [b"good"]
