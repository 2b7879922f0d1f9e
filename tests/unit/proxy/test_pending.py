"""Requests of connections over a link that loses datagrams, before appservers that die."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Answer, Drop, ToAppserver
from services.proxy.handlers import pending as module
from services.proxy.handlers.pending import GIVE_UP, TURN, Pending
from tests.support.proxy import make_edge, make_peer, request, response_to

ONE, TWO = "10.0.0.1:7000", "10.0.0.2:7000"


class World:
    """A clock, a link, and one client on TCP."""

    address = "10.0.0.9:7000"
    reliable = False

    def __init__(self) -> None:
        self.now = 0.0
        self.start = 0.0
        self.sent: list[tuple[float, bytes, str]] = []
        self.answers: list[int] = []
        self.receiver = lambda data, peer: None
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self.appservers = Appservers([ONE])
        self.pending = Pending(self.appservers, self, lambda: self.now, self._later)
        self.pending.route = self._route
        self.pending.answer = self._answer
        self.peer = make_peer(make_edge(), transport="tcp")
        self.peer.waiting = {}

    def send(self, data: bytes, peer: str) -> None:
        self.sent.append((round(self.now - self.start, 1), data, peer))

    def _later(self, delay: float, callback: Callable[[], None]) -> None:
        self._timers.append((self.now + delay, callback))

    def _route(self, data: bytes, peer: Peer) -> ToAppserver | Answer | Drop:
        chosen = self.appservers.pick(b"x")
        return ToAppserver(b"again " + data, chosen) if chosen else Answer(503)

    def _answer(self, data: bytes, verdict: Answer, peer: Peer) -> None:
        self.answers.append(verdict.status)
        assert self.peer.waiting is not None
        self.pending.responded(self.peer.waiting, response_to(data, verdict.status))

    def request(self, method: str = "INVITE", branch: str = "abc") -> bytes:
        self.start = self.now
        via = f"SIP/2.0/TCP 203.0.113.7:5062;rport;branch=z9hG4bK{branch}"
        data = request(method, via=via)
        self.pending.sent(data, self.peer, b"out " + data, ONE)
        return data

    def respond(self, data: bytes, status: int) -> None:
        assert self.peer.waiting is not None
        self.pending.responded(self.peer.waiting, response_to(data, status))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - TURN / 2:
            self.now = round(self.now + TURN, 3)
            due = [timer for timer in self._timers if timer[0] <= self.now + 1e-9]
            self._timers = [timer for timer in self._timers if timer not in due]
            for _, callback in due:
                callback()

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.sent]

    @property
    def quiet(self) -> bool:
        return not self._timers and not len(self.pending) and not self.peer.waiting


def test_an_invite_is_sent_again_until_there_is_any_response() -> None:
    world = World()
    data = world.request()
    world.run(2.0)
    assert world.times == pytest.approx([0.5, 1.5], abs=0.15)
    assert {(data, peer) for _, data, peer in world.sent} == {(b"out " + data, ONE)}
    world.respond(data, 100)
    world.run(40)
    assert len(world.sent) == 2
    assert (world.answers, world.quiet) == ([], True)


def test_others_are_sent_again_until_the_final_response_and_seldom_after_a_provisional() -> None:
    world = World()
    data = world.request("MESSAGE")
    world.respond(data, 100)
    world.run(9)
    assert world.times == pytest.approx([0.5, 4.5, 8.5], abs=0.4)
    world.respond(data, 200)
    world.run(40)
    assert len(world.sent) == 3
    assert world.quiet


@pytest.mark.parametrize(("method", "times"), [("INVITE", 6), ("MESSAGE", 10)])
def test_what_nobody_answers_is_answered_408(method: str, times: int) -> None:
    world = World()
    world.request(method)
    world.run(GIVE_UP - 0.2)
    assert world.answers == []
    world.run(1)
    assert world.answers == [408]
    assert len(world.sent) == times
    assert world.pending.timed_out == 1
    assert world.quiet


def test_what_was_under_way_to_a_dead_one_goes_to_another() -> None:
    world = World()
    data = world.request()
    world.appservers.set_active([ONE, TWO])
    assert world.sent == []
    world.appservers.set({TWO: 100}, draining=[ONE])
    assert world.sent == []  # it drains, and still answers what it got
    world.appservers.set_active([TWO])
    assert world.sent == [(0.0, b"again " + data, TWO)]
    world.run(1)
    assert world.sent[-1][1:] == (b"again " + data, TWO)
    world.respond(data, 200)
    assert (len(world.pending), world.answers) == (0, [])


def test_what_was_under_way_to_the_last_one_is_answered_503() -> None:
    world = World()
    world.request()
    world.request("MESSAGE", "def")
    world.appservers.set_active([])
    assert world.answers == [503, 503]
    world.run(1)
    assert world.quiet
    assert world.sent == []


def test_nothing_is_kept_of_acks_of_what_is_repeated_and_of_clients_on_udp() -> None:
    world = World()
    world.request("ACK")
    assert len(world.pending) == 0
    world.request()
    world.request()
    world.request("CANCEL")
    assert len(world.pending) == 2
    phone = make_peer(make_edge())
    world.pending.sent(request(), phone, b"out", ONE)
    assert len(world.pending) == 2


def test_a_connection_that_ends_ends_what_is_pending_on_it() -> None:
    world = World()
    world.request()
    assert world.peer.waiting is not None
    world.pending.closed(world.peer.waiting)
    world.run(1)
    assert (world.quiet, world.sent) == (True, [])


def test_the_bytes_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    size = len(world.request(branch="b0"))
    monkeypatch.setattr(module, "MAX_BYTES", 6 * size)
    datas = [world.request(branch=f"c{n}") for n in range(4)]
    assert (len(world.pending), world.pending.refused) == (3, 2)
    for data in datas[:2]:
        world.respond(data, 486)
    world.request(branch="d1")
    assert (len(world.pending), world.pending.refused) == (2, 2)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    world = World()
    datas = [world.request(branch=f"b{n}") for n in range(5)]
    assert (len(world.pending), world.pending.refused) == (3, 2)
    for data in datas:
        world.respond(data, 486)
    assert len(world.pending) == 0


def test_a_response_is_known_by_branch_and_method_in_any_spelling() -> None:
    world = World()
    data = world.request("MESSAGE")
    other = response_to(data.replace(b"1 MESSAGE", b"1 CANCEL"))
    assert world.peer.waiting is not None
    world.pending.responded(world.peer.waiting, other)
    assert len(world.pending) == 1
    odd = response_to(data).replace(b"Via: ", b"v : ").replace(b"CSeq: ", b"cseq:  ")
    world.pending.responded(world.peer.waiting, odd)
    assert len(world.pending) == 0
