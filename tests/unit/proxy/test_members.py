"""What announcements and probes together make of the appservers."""

from __future__ import annotations

from dataclasses import replace

from services.proxy.domain import members as module
from services.proxy.domain.appservers import Appservers
from services.proxy.domain.members import (
    CLOSING_SECONDS,
    FORGET_SECONDS,
    INTERVAL,
    MAX_MEMBERS,
    SILENCE,
    Members,
)
from tandem.bus.nodes import NodeAnnounced, NodeState

ONE, TWO = "10.0.0.1:7000", "10.0.0.2:7000"


def said(node: str = "a1", sip: str = ONE, incarnation: int = 1, **more: object) -> NodeAnnounced:
    node_said = NodeAnnounced(
        node=node, kind="appserver", incarnation=incarnation, version="1", sip=sip
    )
    return replace(node_said, **more)  # type: ignore[arg-type]


class World:
    """Members with a clock that is moved by hand."""

    def __init__(self, *fixed: str) -> None:
        self.now = 1000.0
        self.appservers = Appservers()
        self.members = Members(fixed, self.appservers, lambda: self.now)
        self.probed: list[str] = []
        self.changes = 0
        self.members.on_address = self.probed.append
        self.members.on_changed = self._changed
        self.last: dict[str, NodeAnnounced] = {}

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, what: NodeAnnounced) -> None:
        self.members.announced(what, self.last.get(what.node))
        self.last[what.node] = what

    def answer(self, address: str = ONE, status: int = 200) -> None:
        self.members.answered(address, status)

    def wait(self, seconds: float, *answering: str) -> None:
        """Half a second at a time, as the probes do."""
        end = self.now + seconds
        while self.now < end:
            self.now += INTERVAL
            for address in answering:
                self.answer(address)
            self.members.look()

    @property
    def active(self) -> set[str]:
        return set(self.appservers.active)

    @property
    def alive(self) -> set[str]:
        return set(self.appservers.alive)


def test_one_that_is_announced_is_probed_at_once_and_used_when_it_answers() -> None:
    world = World()
    world.hear(said(weight=30))
    assert world.probed == [ONE]
    assert world.members.addresses == [ONE]
    assert world.changes == 1
    assert world.active == set()
    world.answer()
    assert world.active == {ONE}


def test_silence_takes_it_out_and_an_answer_back_in() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.wait(SILENCE - INTERVAL)
    assert world.active == {ONE}
    world.wait(INTERVAL)
    assert world.alive == set()
    assert world.members.lost == 1
    world.answer()
    assert world.active == {ONE}


def test_a_broker_that_is_away_changes_nothing() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.wait(600, ONE)  # not a word from the broker
    assert world.active == {ONE}


def test_one_that_lost_its_broker_keeps_what_it_has() -> None:
    world = World()
    world.hear(said(weight=7))
    world.answer()
    world.hear(said(weight=7, state=NodeState.LOST))
    assert world.active == {ONE}
    world.hear(said(weight=7))
    assert world.active == {ONE}
    assert world.members.lost == 0


def test_the_time_that_we_stood_still_is_nobodys_silence() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.wait(INTERVAL, ONE)
    world.now += 60
    world.members.look()
    assert world.active == {ONE}
    world.wait(SILENCE + INTERVAL)
    assert world.alive == set()


def test_one_that_stopped_is_out_whatever_its_last_answers_say() -> None:
    world = World()
    world.hear(said())
    world.answer()
    assert not world.members.has_stopped(ONE)
    world.hear(said(state=NodeState.STOPPED))
    world.answer()
    assert world.alive == set()
    assert world.members.has_stopped(ONE)
    world.now += CLOSING_SECONDS
    world.answer()  # somebody started it again while the broker was away
    assert world.active == {ONE}
    assert not world.members.has_stopped(ONE)


def test_one_that_started_again_is_used_at_once() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.hear(said(state=NodeState.STOPPED))
    world.hear(said(incarnation=2))
    assert not world.members.has_stopped(ONE)
    assert world.probed == [ONE, ONE]
    world.answer()
    assert world.active == {ONE}


def test_draining_is_announced_or_told_by_the_answer() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.hear(said(state=NodeState.DRAINING))
    assert (world.active, world.alive, world.members.draining) == (set(), {ONE}, 1)
    world.hear(said())
    assert world.active == {ONE}
    world.answer(status=503)
    assert (world.active, world.alive) == (set(), {ONE})
    world.answer()
    assert world.active == {ONE}


def test_one_that_drained_and_died_is_new_when_it_comes_back_unannounced() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.hear(said(state=NodeState.DRAINING))
    world.wait(3)
    assert world.alive == set()
    world.answer()
    assert world.active == {ONE}


def test_a_node_that_moves_leaves_its_old_address() -> None:
    world = World()
    world.hear(said())
    world.answer()
    world.hear(said(sip=TWO, incarnation=2))
    world.answer(TWO)
    assert world.members.addresses == [TWO]
    assert world.active == {TWO}


def test_the_last_words_of_an_old_node_do_not_harm_the_new_one_at_its_address() -> None:
    world = World()
    world.hear(said("old"))
    world.hear(said("new", incarnation=2))
    world.answer()
    world.hear(said("old", state=NodeState.LOST))
    world.hear(said("old", weight=7))
    assert world.active == {ONE}


def test_other_kinds_and_nodes_without_a_link_are_none_of_ours() -> None:
    world = World()
    world.hear(said(kind="proxy"))
    world.hear(said("b", sip=""))
    world.answer(ONE)
    assert world.members.addresses == []
    assert world.alive == set()


def test_those_of_the_fixed_list_stay_and_others_are_forgotten_in_the_end() -> None:
    world = World(TWO)
    world.hear(said())
    world.answer()
    world.wait(3)
    world.now += FORGET_SECONDS
    world.members.look()
    assert world.members.addresses == [TWO]
    world.answer(TWO)
    assert world.active == {TWO}


def test_the_table_is_bounded(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    assert MAX_MEMBERS > 100
    world = World()
    for n in range(4):
        world.hear(said(f"n{n}", sip=f"10.0.0.{n + 1}:7000"))
    assert len(world.members.addresses) == 2


def test_weights_come_from_announcements() -> None:
    world = World()
    world.hear(said(weight=0))
    world.hear(said("a2", sip=TWO, weight=5))
    world.answer(ONE)
    world.answer(TWO)
    assert (world.active, world.alive) == ({TWO}, {ONE, TWO})
    world.hear(said(weight=5))
    assert world.active == {ONE, TWO}


def test_in_one_process_the_appserver_needs_no_probe_and_may_drain() -> None:
    appservers = Appservers()
    members = Members([ONE], appservers, lambda: 1000.0, probed=False)
    assert appservers.active == {ONE}
    probed: list[str] = []
    members.on_address = probed.append
    members.announced(said(weight=7), None)
    members.answered(ONE, 503)
    assert not probed
    assert appservers.active == {ONE}
    members.announced(said(state=NodeState.LOST), said())
    assert appservers.active == {ONE}
    members.announced(said(state=NodeState.DRAINING), said())
    assert (appservers.active, appservers.alive) == (frozenset(), frozenset({ONE}))
    members.announced(said(), said(state=NodeState.DRAINING))
    assert appservers.active == {ONE}
