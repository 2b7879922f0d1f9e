from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from services.proxy.domain.dispatch import WHOLE
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Answer
from services.proxy.handlers.orphans import AGAIN, AT_A_TIME, PATIENCE, PAUSE, Orphans
from tests.support.proxy import World, make_peer, request

A, B = "10.0.0.9:7000", "10.0.0.10:7000"


class Scene(World):
    """Two appservers, and time that a test moves."""

    def __init__(self) -> None:
        super().__init__((A, B))
        self.told: list[tuple[bytes, int, Peer]] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.now = 0.0
        self.stopped: set[str] = set()
        self.orphans = Orphans(
            self.appservers, self.stopped.__contains__, self.dispatch, self.answer, self.later
        )

    def answer(self, data: bytes, verdict: Answer, peer: Peer) -> None:
        self.told.append((data, verdict.status, peer))

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((self.now + seconds, call))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for item in sorted(self.due, key=lambda item: item[0]):
            if item[0] <= self.now:
                self.due.remove(item)
                item[1]()

    def invite(
        self, number: int, *, fast: bool = True, method: str = "INVITE"
    ) -> tuple[bytes, str]:
        """An INVITE through one of the two ways, and where it went."""
        via = f"SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bK{number};rport"
        data = request(method, via=via).replace(b"one@203", b"%d@203" % number)
        hit = self.fast.request(data, self.peer) if fast else self.forwarded_to(data)
        assert hit is not None
        return data, hit[1]

    def to(self, appserver: str, *, fast: bool = True) -> tuple[bytes, int]:
        """One that went to this appserver, and its number."""
        for number in range(1000):
            data, where = self.invite(number, fast=fast)
            if where == appserver:
                return data, number
        raise AssertionError("the hash knows one appserver only")


def test_who_waits_for_an_appserver_that_died_is_answered_and_once_more() -> None:
    scene = Scene()
    for fast in (True, False):
        data, number = scene.to(A, fast=fast)
        scene.dispatch._sent.clear()
        scene.invite(number, fast=fast)
        scene.appservers.set_active([B])
        scene.advance(PATIENCE - 0.1)
        assert scene.told == []
        scene.advance(0.1)
        assert scene.told == [(data, 503, scene.peer)]
        scene.advance(AGAIN)
        assert scene.told == [(data, 503, scene.peer)] * 2
        scene.told.clear()
        scene.appservers.set_active([A, B])
    assert scene.orphans.answered == 2


def test_who_comes_again_is_served_by_another() -> None:
    scene = Scene()
    _, number = scene.to(A)
    scene.dispatch._sent.clear()
    scene.invite(number)
    scene.appservers.set_active([B])
    assert scene.invite(number)[1] == B
    scene.advance(PATIENCE + AGAIN)
    assert scene.told == []


def test_calls_of_the_living_are_left_alone() -> None:
    scene = Scene()
    _, number = scene.to(B)
    scene.dispatch._sent.clear()
    scene.invite(number)
    scene.appservers.set_active([B])
    scene.advance(PATIENCE + AGAIN)
    assert scene.told == []


def test_an_appserver_that_was_only_silent_for_a_moment_has_its_calls_yet() -> None:
    scene = Scene()
    scene.to(A)
    scene.appservers.set_active([B])
    scene.advance(1.0)
    scene.appservers.set_active([A, B])
    scene.advance(PATIENCE + AGAIN)
    assert scene.told == []


def test_one_that_drains_keeps_its_calls() -> None:
    scene = Scene()
    scene.to(A)
    scene.appservers.set({B: 100}, draining=[A])
    scene.advance(PATIENCE + AGAIN)
    assert scene.told == []


def test_one_that_said_good_bye_has_answered_its_own() -> None:
    scene = Scene()
    scene.to(A)
    scene.stopped.add(A)
    scene.appservers.set_active([B])
    scene.advance(PATIENCE + AGAIN)
    assert (scene.told, scene.orphans.answered) == ([], 0)


def test_many_are_answered_some_at_a_time_each_as_often() -> None:
    scene = Scene()
    lost = [number for number in range(3 * AT_A_TIME) if scene.invite(number)[1] == A]
    assert len(lost) > AT_A_TIME
    scene.appservers.set_active([B])
    scene.advance(PATIENCE)
    assert len(scene.told) == AT_A_TIME
    for _ in range(10):
        scene.advance(PAUSE)
    assert len(scene.told) == len(lost)
    scene.advance(AGAIN)
    for _ in range(10):
        scene.advance(PAUSE)
    counts = Counter(data for data, _, _ in scene.told)
    assert set(counts.values()) == {2}
    assert len(counts) == scene.orphans.answered == len(lost)


def test_a_large_invite_is_remembered_by_its_header_and_a_huge_header_not_at_all() -> None:
    scene = Scene()
    data = request("INVITE", via="SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKlarge;rport")
    assert scene.fast.request(data + b"x" * WHOLE, scene.peer) is not None
    huge = data.replace(b"\r\n\r\n", b"\r\nSubject: " + b"x" * WHOLE + b"\r\n\r\n")
    huge = huge.replace(b"z9hG4bKlarge", b"z9hG4bKhuge")
    assert scene.fast.request(huge, scene.peer) is not None
    assert [kept for _, _, kept, _ in scene.dispatch.recent()] == [data, b""]
    scene.appservers.set_active([])
    scene.advance(PATIENCE)
    assert [told for told, _, _ in scene.told] == [data]


def test_what_is_no_invite_is_not_remembered() -> None:
    scene = Scene()
    scene.invite(1, method="CANCEL")
    scene.invite(2, method="OPTIONS")
    assert list(scene.dispatch.recent()) == []


def test_invites_are_remembered_for_some_minutes_and_not_for_ever() -> None:
    scene = Scene()
    scene.invite(1)
    scene.dispatch.tick(1000.0)
    assert len(list(scene.dispatch.recent())) == 1
    scene.dispatch.tick(1100.0)
    assert len(list(scene.dispatch.recent())) == 1
    scene.dispatch.tick(1180.0)
    scene.dispatch.tick(1360.0)
    assert list(scene.dispatch.recent()) == []


def test_another_phone_is_answered_at_its_own_address() -> None:
    scene = Scene()
    _, number = scene.to(A)
    scene.dispatch._sent.clear()
    scene.peer = make_peer(scene.edge, "203.0.113.8")
    scene.invite(number)
    scene.appservers.set_active([])
    scene.advance(PATIENCE)
    assert [peer.name.host for _, _, peer in scene.told] == ["203.0.113.8"]
