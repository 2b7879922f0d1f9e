"""Who is there, who left and who is lost; the clock is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tandem.bus import nodes as module
from tandem.bus.memory import MemoryBus
from tandem.bus.nodes import KEEP_LOST_SECONDS, DrainRequested, NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Envelope, Topic
from tests.support.waiting import eventually

ME = NodeAnnounced(node="me", kind="appserver", incarnation=1, version="1")
OTHER = NodeAnnounced(node="other", kind="proxy", incarnation=5, version="1")


class Site:
    """A node, what it was told, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.me = ME
        self.told: list[tuple[str, str, str | None]] = []
        self.nodes = Nodes(MemoryBus("me"), lambda: self.me, lambda: self.now)
        self.nodes.listeners.append(self._tell)

    def _tell(self, now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        self.told.append((now.node, str(now.state), str(before.state) if before else None))

    async def hear(self, *said: Any) -> None:
        await self.nodes.take([Envelope(str(n), self.now, "x", s) for n, s in enumerate(said)])

    async def pass_by(self, seconds: int, *said: NodeAnnounced) -> None:
        """Seconds in which these announce themselves."""
        for _ in range(seconds):
            self.now += 1.0
            await self.hear(*said)
            self.nodes.look()

    def state(self, node: str) -> str:
        return self.nodes.known[node].state


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_who_announces_itself_is_known_and_told_once(site: Site) -> None:
    await site.pass_by(5, ME, OTHER)
    assert site.told == [("me", "active", None), ("other", "active", None)]
    assert site.nodes.alive("proxy") == [OTHER]
    assert site.nodes.alive("events") == []


async def test_the_living_are_listed_by_id_and_drainers_are_among_them(site: Site) -> None:
    b = replace(OTHER, node="b", state=NodeState.DRAINING)
    await site.hear(OTHER, b, replace(OTHER, node="c", state=NodeState.STOPPED))
    assert [said.node for said in site.nodes.alive("proxy")] == ["b", "other"]


async def test_who_is_silent_while_we_hear_ourselves_is_lost(site: Site) -> None:
    await site.pass_by(2, ME, OTHER)
    await site.pass_by(3, ME)
    assert site.state("other") == NodeState.ACTIVE
    await site.pass_by(1, ME)
    assert site.state("other") == NodeState.LOST
    assert site.told[-1] == ("other", "lost", "active")
    assert site.nodes.alive("proxy") == []


async def test_a_broker_that_is_away_loses_nobody(site: Site) -> None:
    await site.pass_by(2, ME, OTHER)
    await site.pass_by(600)
    assert site.state("other") == NodeState.ACTIVE
    await site.pass_by(5, ME, OTHER)
    assert [now for _, now, _ in site.told] == ["active", "active"]


async def test_who_does_not_come_back_with_the_broker_is_lost_then(site: Site) -> None:
    await site.pass_by(2, ME, OTHER)
    await site.pass_by(600)
    await site.pass_by(2, ME)
    assert site.state("other") == NodeState.ACTIVE
    await site.pass_by(2, ME)
    assert site.state("other") == NodeState.LOST


async def test_a_process_that_stood_still_loses_nobody(site: Site) -> None:
    await site.pass_by(2, ME, OTHER)
    site.now += 300.0
    site.nodes.look()
    await site.hear(ME)
    site.nodes.look()
    assert site.state("other") == NodeState.ACTIVE


async def test_many_announcements_of_ours_in_one_second_make_nobody_lost(site: Site) -> None:
    await site.pass_by(1, ME, OTHER)
    for _ in range(50):
        site.now += 0.01
        await site.hear(ME)
        site.nodes.look()
    assert site.state("other") == NodeState.ACTIVE


async def test_a_lost_node_comes_back(site: Site) -> None:
    await site.pass_by(1, ME, OTHER)
    await site.pass_by(5, ME)
    await site.hear(OTHER)
    assert site.told[-1] == ("other", "active", "lost")


async def test_we_never_count_ourselves_as_lost(site: Site) -> None:
    await site.pass_by(1, ME, OTHER)
    await site.pass_by(60, OTHER)
    assert site.state("me") == NodeState.ACTIVE


async def test_an_older_process_of_the_same_name_is_not_heard(site: Site) -> None:
    await site.hear(OTHER, replace(OTHER, incarnation=4, calls=9))
    assert site.nodes.known["other"].said == OTHER
    newer = replace(OTHER, incarnation=6)
    await site.hear(newer)
    assert site.nodes.known["other"].said == newer


async def test_a_late_announcement_does_not_wake_who_said_good_bye(site: Site) -> None:
    await site.hear(OTHER, replace(OTHER, state=NodeState.STOPPED), OTHER)
    assert site.state("other") == NodeState.STOPPED
    await site.pass_by(10, ME)
    assert site.state("other") == NodeState.STOPPED
    await site.hear(replace(OTHER, incarnation=6))
    assert site.state("other") == NodeState.ACTIVE


async def test_what_changed_is_told(site: Site) -> None:
    await site.hear(OTHER, replace(OTHER, calls=3), replace(OTHER, state=NodeState.DRAINING))
    assert site.told == [
        ("other", "active", None), ("other", "active", "active"), ("other", "draining", "active"),
    ]  # fmt: skip


async def test_the_gone_are_forgotten_after_an_hour(site: Site) -> None:
    await site.hear(ME, replace(OTHER, state=NodeState.STOPPED))
    site.now += KEEP_LOST_SECONDS
    site.nodes.look()
    assert "other" in site.nodes.known
    site.now += 1
    site.nodes.look()
    assert list(site.nodes.known) == ["me"]


async def test_a_drain_request_reaches_its_node_only(site: Site) -> None:
    await site.hear(DrainRequested("me", True))  # nobody to tell yet
    asked: list[bool] = []
    site.nodes.on_drain = asked.append
    await site.hear(
        DrainRequested("other", True), DrainRequested("me", True), DrainRequested("me", False)
    )
    assert asked == [True, False]


async def test_it_announces_itself_and_says_good_bye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANNOUNCE_SECONDS", 0.01)
    bus, me = MemoryBus("me"), ME
    heard: list[NodeAnnounced] = []

    async def listen(batch: Any) -> None:
        heard.extend(envelope.payload for envelope in batch)

    describe: Callable[[], NodeAnnounced] = lambda: me  # noqa: E731
    nodes = Nodes(bus, describe, asyncio.get_running_loop().time)
    bus.subscribe(Topic.NODES, listen, name="listener")
    await bus.start()
    nodes.start()

    async def thrice() -> bool:
        return len(heard) >= 3

    await eventually(thrice, "announcements")
    me = replace(me, state=NodeState.DRAINING)
    nodes.announce()
    await nodes.stop()
    await nodes.stop()
    await bus.close()
    assert [said.state for said in heard[-2:]] == [NodeState.DRAINING, NodeState.STOPPED]
    assert set(heard[:3]) == {ME}
    assert nodes.known["me"].state == NodeState.STOPPED


async def test_a_listener_that_fails_keeps_nothing_from_the_others(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(now: NodeAnnounced, before: NodeAnnounced | None) -> None:
        raise RuntimeError("no")

    site.nodes.listeners.insert(0, fail)
    await site.hear(OTHER, replace(OTHER, node="third"))
    assert [told[0] for told in site.told] == ["other", "third"]
    assert "a listener failed on node third" in caplog.text


async def test_a_node_that_can_not_describe_itself_once_goes_on_announcing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ANNOUNCE_SECONDS", 0.001)
    faults = iter([None, RuntimeError("not now")])

    def describe() -> NodeAnnounced:
        if fault := next(faults, None):
            raise fault
        return ME

    bus = MemoryBus("me")
    nodes = Nodes(bus, describe, asyncio.get_running_loop().time)
    await bus.start()
    nodes.start()

    async def heard() -> bool:
        return "me" in nodes.known

    await eventually(heard, "an announcement after the failure")
    assert "could not announce itself" in caplog.text
    await nodes.stop()
    await bus.close()
