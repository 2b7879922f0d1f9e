"""Which proxy a message goes through when its own is away."""

from __future__ import annotations

from collections import Counter

import pytest

from services.appserver.domain import proxies as module
from services.appserver.domain.proxies import SILENT_SECONDS, Proxies
from tandem.bus.nodes import NodeState

NAMES = [f"10.0.0.{number}:5070" for number in range(1, 5)]
PHONES = [f"udp:203.0.113.7:{port}" for port in range(1024, 1324)]


def known(lost: str | None = None, now: float = 100.0) -> Proxies:
    made = Proxies()
    for name in NAMES:
        made.heard(name, now if name != lost else now - SILENT_SECONDS - 1)
    return made


def test_one_that_is_there_is_used_whatever_the_key() -> None:
    proxies = known()
    assert {proxies.through(NAMES[0], 100.0, key) for key in PHONES} == {NAMES[0]}


def test_what_a_lost_one_leaves_is_spread_over_the_others_and_each_phone_hears_from_one() -> None:
    proxies = known(lost=NAMES[0])
    chosen = [proxies.through(NAMES[0], 100.0, key) for key in PHONES]
    shares = Counter(chosen)
    assert set(shares) == set(NAMES[1:])
    assert min(shares.values()) > len(PHONES) / 6
    assert chosen == [proxies.others(NAMES[0], 100.0, key)[0] for key in PHONES]


def test_those_that_drain_come_last() -> None:
    proxies = known(lost=NAMES[0])
    proxies.said(NAMES[1], NodeState.DRAINING)
    for key in PHONES:
        assert proxies.others(NAMES[0], 100.0, key)[-1] == NAMES[1]


def test_addresses_of_former_times_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PROXIES", 3)
    proxies = Proxies()
    for name in NAMES:
        proxies.said(name, NodeState.ACTIVE)
        proxies.said(name, NodeState.STOPPED)
    assert proxies.away(NAMES[3], 100.0) is False  # there is no other
    proxies.heard("10.0.0.9:5070", 100.0)
    assert proxies.gone(100.0) == set(NAMES[1:])
