"""The values of the registration agent: settings, schedules, turns."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.appserver.domain.domains import Domains
from services.appserver.domain.registrations.schedule import (
    AHEAD_SECONDS,
    DNS_SECONDS,
    MAX_REFUSED_SECONDS,
    MAX_RETRY_SECONDS,
    PROXY_SECONDS,
    REFUSED_SECONDS,
    RETRY_SECONDS,
    End,
    Outcome,
    pause,
    renewal,
    takeover,
)
from services.appserver.domain.registrations.settings import Settings, with_instance
from services.appserver.handlers.registrations.pace import Pace
from tandem.sip.deadlines import Deadlines
from tandem.sip.uri import Uri
from tests.support.registrar import provider

DOMAINS = Domains(("example.com",), ("192.0.2.1:5060",))


def settings(**more: Any) -> Settings:
    return Settings.of(provider(**more), DOMAINS)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "contact"),
    [
        ("alice@example.com", "sip:alice@example.com"),
        ("alice@192.0.2.1:5080", "sip:alice@192.0.2.1:5080"),
        ("alice@[2001:db8::1]:5080", "sip:alice@[2001:db8::1]:5080"),
        ("alice", "sip:alice@example.com"),
        ("al ice@example.com", "sip:al%20ice@example.com"),
    ],
)
def test_the_contact_is_what_the_provider_is_to_call(given: str, contact: str) -> None:
    assert str(settings(register_contact=given).contact) == contact


def test_an_address_may_stand_for_the_default_domain() -> None:
    domains = Domains(("example.com", "second.example"))
    for said, contact in [
        ("alice", "sip:alice@192.0.2.1:5080"),
        ("alice@Example.com", "sip:alice@192.0.2.1:5080"),
        ("alice@second.example", "sip:alice@second.example"),
    ]:
        found = Settings.of(provider(register_contact=said), domains, "192.0.2.1:5080")
        assert str(found.contact) == contact


@pytest.mark.parametrize(("asked", "used"), [(1, 60), (60, 60), (900, 900), (86_400, 3600)])
def test_the_interval_is_kept_within_bounds(asked: int, used: int) -> None:
    assert settings(register_expires=asked).expires == used


def test_lr_and_user_are_no_part_of_a_registrar() -> None:
    found = settings(server="sip:x@sip.company.example;lr;transport=tcp?a=b")
    assert str(found.registrar) == "sip:sip.company.example;transport=tcp"


def test_another_password_leaves_the_binding_the_same() -> None:
    assert settings().same_binding(settings(password="x", outbound_proxy="sip:edge.example"))
    assert not settings().same_binding(settings(username="x"))
    assert not settings().same_binding(settings(server="sip:other.example"))


def test_a_contact_of_ours_is_known_by_all_but_its_instance() -> None:
    made = with_instance(settings().contact, "abc")
    assert str(made) == "sip:alice@example.com;rinstance=abc"
    assert settings().fits(made)
    assert not settings(register_contact="bob@example.com").fits(made)
    assert not settings().fits(Uri.parse("sip:alice@example.com;rinstance=a;transport=tcp"))


def test_no_password_is_shown() -> None:
    assert "secret" not in repr(settings())


# -- schedules -------------------------------------------------------------------------------------

CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.floats(1, 86_400), CHANCES)
def test_a_renewal_comes_after_the_middle_and_before_the_end(seconds: float, dice: float) -> None:
    due = renewal(seconds, lambda: dice)
    assert seconds * 0.44 <= due < seconds
    assert seconds - due >= min(AHEAD_SECONDS, seconds / 2) - 1e-6


@given(st.floats(0.001, 86_400), CHANCES)
def test_what_another_made_is_renewed_before_it_ends(remaining: float, dice: float) -> None:
    assert 0 <= takeover(remaining, lambda: dice) < remaining


def test_what_another_made_is_renewed_the_later_the_longer_it_lasts() -> None:
    dues = [takeover(remaining, lambda: 0.0) for remaining in range(1, 1000)]
    assert dues == sorted(dues)
    assert takeover(131, lambda: 0.0) == 65.5


@pytest.mark.parametrize(
    ("end", "first", "longest"),
    [
        (End.SILENT, RETRY_SECONDS, MAX_RETRY_SECONDS),
        (End.REFUSED, RETRY_SECONDS, MAX_RETRY_SECONDS),
        (End.NOWHERE, DNS_SECONDS, MAX_RETRY_SECONDS),
        (End.CREDENTIALS, REFUSED_SECONDS, MAX_REFUSED_SECONDS),
        (End.NO_PROXY, PROXY_SECONDS, PROXY_SECONDS),
    ],
)
def test_pauses_begin_and_end_as_they_should(end: End, first: float, longest: float) -> None:
    assert pause(Outcome(end), 1, lambda: 0.0) == first
    assert pause(Outcome(end), 1000, lambda: 0.0) == longest


def test_a_registrar_may_ask_for_a_longer_pause_not_for_a_shorter_one() -> None:
    assert pause(Outcome(End.REFUSED, 503, retry_after=1000), 1, lambda: 0.0) == 1000
    assert pause(Outcome(End.REFUSED, 503, retry_after=1), 1, lambda: 0.0) == RETRY_SECONDS


@pytest.mark.parametrize(
    ("granted", "first"), [(0, 50), (3600, 50), (200, 50), (60, 15), (16, 5), (1, 5)]
)
def test_a_short_registration_is_tried_again_while_it_lasts(granted: float, first: float) -> None:
    assert pause(Outcome(End.REFUSED, 500), 1, lambda: 0.0, granted) == first
    assert pause(Outcome(End.REFUSED, 500), 1000, lambda: 0.0, granted) == MAX_RETRY_SECONDS
    assert pause(Outcome(End.CREDENTIALS), 1, lambda: 0.0, granted) == REFUSED_SECONDS


# -- turns -----------------------------------------------------------------------------------------


class Taken:
    """Turns that were made use of."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, float]] = []

    def turn(self, name: str, now: float) -> bool:
        self.turns.append((name, now))
        return True


def test_turns_come_in_order_and_apart() -> None:
    deadlines, taken = Deadlines(), Taken()
    pace = Pace(deadlines, per_second=10)
    for name in "abc":
        pace.enter(partial(taken.turn, name), 0.0)
    assert taken.turns == [("a", 0.0)]
    assert len(pace) == 2
    deadlines.run(0.1)
    deadlines.run(0.25)
    assert taken.turns == [("a", 0.0), ("b", 0.1), ("c", 0.25)]
    assert len(pace) == len(deadlines) == 0


def test_who_makes_no_use_of_a_turn_costs_nobody_one() -> None:
    deadlines, taken = Deadlines(), Taken()
    pace = Pace(deadlines, per_second=10)
    pace.enter(lambda now: True, 0.0)
    for _ in range(100):
        pace.enter(lambda now: False, 0.0)
    pace.enter(partial(taken.turn, "x"), 0.0)
    deadlines.run(0.1)
    assert taken.turns == [("x", 0.1)]


def test_a_turn_that_asks_for_another_gets_it_later() -> None:
    deadlines, taken = Deadlines(), Taken()
    pace = Pace(deadlines, per_second=8)

    def again(now: float) -> bool:
        if len(taken.turns) < 3:
            pace.enter(again, now)
        return taken.turn("x", now)

    pace.enter(again, 0.0)
    for eighth in range(1, 9):
        assert len(deadlines) <= 1
        deadlines.run(eighth / 8)
    assert taken.turns == [("x", n / 8) for n in range(4)]
