"""The pure parts of the call manager: which leg is meant, and what is open to whom how often."""

from __future__ import annotations

import pytest

from services.provisioning.domain import callmanager_texts as texts
from services.provisioning.domain import openrate
from services.provisioning.domain.callmanager import (
    Access,
    CallRefused,
    FoundLeg,
    LegRef,
    LegRule,
    Method,
    Place,
    Refusal,
    choose,
)
from services.provisioning.domain.openrate import PER_ADDRESS, PER_OWNER, OpenRate

ID, USER, PART = LegRule.CALL_ID, LegRule.FROM_USER, LegRule.CONTAINS


def legs(*rules: LegRule) -> list[FoundLeg]:
    return [FoundLeg(LegRef(f"c{number}", 1), rule) for number, rule in enumerate(rules)]


@pytest.mark.parametrize(
    ("answers", "node"),
    [
        ([("a", legs(PART)), ("b", [])], "a"),
        ([("a", legs(PART, PART)), ("b", legs(USER))], "b"),
        ([("a", legs(USER, USER)), ("b", legs(ID))], "b"),
        ([("a", legs(ID)), ("b", None)], "a"),
    ],
)
def test_the_best_rule_over_all_appservers_names_the_leg(
    answers: list[tuple[str, list[FoundLeg] | None]], node: str
) -> None:
    assert choose(answers) == Place(node, LegRef("c0", 1))


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ([], Refusal.NO_LEG),
        ([("a", [])], Refusal.NO_LEG),
        ([("a", legs(USER)), ("b", legs(USER))], Refusal.NO_LEG),
        ([("a", legs(ID, ID))], Refusal.NO_LEG),
        ([("a", legs(USER)), ("b", None)], Refusal.SILENT),
        ([("a", []), ("b", None)], Refusal.SILENT),
    ],
)
def test_what_names_none_or_two_or_nobody_knows_is_refused(
    answers: list[tuple[str, list[FoundLeg] | None]], refusal: Refusal
) -> None:
    with pytest.raises(CallRefused) as caught:
        choose(answers)
    assert caught.value.refusal is refusal


@pytest.mark.parametrize(
    ("source", "admitted"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("198.51.100.1", False),
        ("2001:db8::1", True),
        ("2001:db8::1%eth0", True),
        ("2001:db9::1", False),
        ("", False),
        ("testclient", False),
    ],
)
def test_listed_addresses_are_admitted(source: str, admitted: bool) -> None:
    networks = ("192.0.2.0/24", "2001:db8::/32")
    opened = Access(owner="alice", method="webcallback", networks=networks)
    assert opened.admits(source) is admitted


def test_destinations_are_patterns() -> None:
    opened = Access(owner="a", method="webcallback", networks=(), destinations=("1555*", "2??"))
    assert [opened.allows(n) for n in ("15551234", "+15551234", "200", "2000", "0900")] == [
        True, True, True, False, False,
    ]  # fmt: skip


# -- the rate ----------------------------------------------------------------------------------


def test_an_address_has_its_burst_and_then_one_at_a_time() -> None:
    rate = OpenRate()
    assert [rate.take("alice", "192.0.2.1", 0.0) for _ in range(PER_ADDRESS.burst)] == [
        0
    ] * PER_ADDRESS.burst
    assert rate.take("alice", "192.0.2.1", 0.0) == PER_ADDRESS.seconds
    assert rate.take("alice", "192.0.2.1", PER_ADDRESS.seconds - 1) == 1
    assert rate.take("alice", "192.0.2.1", PER_ADDRESS.seconds) == 0
    assert rate.take("alice", "192.0.2.1", PER_ADDRESS.seconds) > 0
    assert rate.take("bob", "192.0.2.1", PER_ADDRESS.seconds) == 0


def test_all_addresses_of_a_customer_have_a_limit_together() -> None:
    rate = OpenRate()
    taken = [rate.take("alice", f"192.0.2.{n}", 0.0) for n in range(PER_OWNER.burst + 1)]
    assert taken == [0] * PER_OWNER.burst + [PER_OWNER.seconds]


def test_an_ipv6_site_counts_as_one() -> None:
    rate = OpenRate()
    for number in range(PER_ADDRESS.burst):
        assert rate.take("alice", f"2001:db8::{number}", 0.0) == 0
    assert rate.take("alice", "2001:db8::ffff", 0.0) > 0
    assert rate.take("alice", "2001:db8:0:1::1", 0.0) == 0


def test_the_quiet_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openrate, "MAX_BUCKETS", 10)
    rate = OpenRate()
    for number in range(100):
        rate.take(f"owner{number}", "192.0.2.1", 0.0)
    assert len(rate) == 10


# -- the texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "refusal", "text"),
    [
        (Method.WEB_CALLBACK, Refusal.NO_CUSTOMER,
         "Sorry no matching user was found, the webcallback was not initiated."),
        (Method.BLIND_TRANSFER, Refusal.NO_CUSTOMER,
         "Sorry no matching user was found, the transfer was not initiated."),
        (Method.BLIND_TRANSFER, Refusal.SUSPENDED, "Sorry the user's account is suspended."),
        (Method.BLIND_TRANSFER, Refusal.NO_LEG,
         "Sorry the blind transfer could not be initiated, "
         "the Call-ID to transfer could not be found."),
        (Method.WEB_CALLBACK, Refusal.NO_DIALPLAN,
         "Sorry the specified user has not enabled callbacks, the callback was not initiated."),
        (Method.BLIND_TRANSFER, Refusal.NO_DIALPLAN,
         "Sorry the specified user has not enabled transfers, the transfer was not initiated."),
        (Method.WEB_CALLBACK, Refusal.TOO_MANY_RUNS,
         "Sorry the callback was not initiated, dial plan execution exceeded maximum allowed"),
        (Method.DUAL_TRANSFER, Refusal.NOT_NOW, "Sorry the transfer was not initiated: why"),
    ],
)  # fmt: skip
def test_the_answers_are_those_of_the_original(method: Method, refusal: Refusal, text: str) -> None:
    assert texts.refused(method, CallRefused(refusal, "why")) == text


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("refusal", Refusal)
def test_each_refusal_of_each_method_has_a_text(method: Method, refusal: Refusal) -> None:
    assert texts.refused(method, CallRefused(refusal, "why")).startswith("Sorry ")
    assert texts.unexpected(method).startswith("Sorry there was an unexpected error, the ")
