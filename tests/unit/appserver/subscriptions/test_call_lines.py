"""Lines learnt from the events of calls."""

from __future__ import annotations

import pytest

from services.appserver.domain.subscriptions.lines import CallLines
from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallProgress,
    CallStarted,
    LegFailed,
)
from tandem.bus.event import Event
from tandem.bus.transfer_events import TransferStarted
from tandem.bus.web_events import LoginFailed

ALICE, BOB = "Alice@example.com", "bob@example.com"
AT_BOB = ("sip:bob@192.0.2.8", "udp:192.0.2.8:5060")
ALSO_BOB = ("sip:bob@192.0.2.9", "udp:192.0.2.9:5060")
PHONES = {ALICE: [("sip:alice@192.0.2.7", "udp:192.0.2.7:5060")], BOB: [AT_BOB, ALSO_BOB]}


def account_of(uri: str) -> str:
    return uri.removeprefix("sip:").lower() if uri.endswith("@example.com") else ""


class Desk:
    """Lines with events that come by hand."""

    def __init__(self, *wanted: str) -> None:
        self.told: list[str] = []
        self.lines = CallLines(account_of, self.told.append)
        self.want(*wanted)

    def want(self, *accounts: str) -> None:
        self.lines.want({account: PHONES[account] for account in accounts})

    def see(self, *events: Event) -> None:
        for event in events:
            self.lines.looks.get(type(event), lambda other: None)(event)

    def state(self, account: str) -> list[str]:
        return [line.state for line in self.lines.of(account)]


def started(call: str = "c1", direction: str = "out", caller: str = f"sip:{ALICE}") -> CallStarted:
    return CallStarted(
        call_id=call, direction=direction, caller=caller, destination=f"sip:{BOB}", source="",
        sip_call_id="s",
    )  # fmt: skip


def rings(leg: int = 1, at: tuple[str, str] = AT_BOB, call: str = "c1") -> CallForwarded:
    target, hop = at
    return CallForwarded(call_id=call, leg=leg, target=target, next_hop=hop, sip_call_id="o")


def ringing(leg: int = 1, call: str = "c1") -> CallProgress:
    return CallProgress(call_id=call, leg=leg, status=180, reason="Ringing")


def answered(leg: int = 1, call: str = "c1") -> CallAnswered:
    return CallAnswered(call_id=call, leg=leg, target="x")


def failed(leg: int = 1, call: str = "c1") -> LegFailed:
    return LegFailed(call_id=call, leg=leg, status=486, reason="Busy Here")


def ended(call: str = "c1") -> CallEnded:
    return CallEnded(call_id=call, status=200, reason="caller hung up", duration=1.0)


def test_both_ends_of_a_call_go_from_trying_to_early_to_confirmed_and_are_gone() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(), rings())
    assert (desk.state(ALICE), desk.state(BOB)) == (["trying"], ["trying"])
    (line,) = desk.lines.of(ALICE)
    assert (line.account, line.outgoing, line.remote) == (ALICE, True, f"sip:{BOB}")
    (line,) = desk.lines.of(BOB)
    assert (line.account, line.outgoing, line.remote) == (BOB, False, f"sip:{ALICE}")
    desk.see(ringing())
    assert (desk.state(ALICE), desk.state(BOB)) == (["early"], ["early"])
    desk.see(answered())
    assert (desk.state(ALICE), desk.state(BOB)) == (["confirmed"], ["confirmed"])
    desk.see(ended())
    assert (desk.state(ALICE), desk.state(BOB)) == ([], [])
    assert set(desk.told) == {ALICE, BOB}


def test_nothing_is_told_of_who_is_not_wanted_and_no_change_twice() -> None:
    desk = Desk(BOB)
    desk.see(started(), rings())
    assert desk.told == [BOB]
    desk.see(ringing(), ringing())
    assert desk.told == [BOB, BOB]
    assert desk.lines.of(ALICE) == ()


def test_who_is_wanted_in_the_middle_of_a_call_has_its_line_at_once() -> None:
    desk = Desk()
    desk.see(started(), rings(), ringing())
    desk.want(ALICE, BOB)
    assert (desk.state(ALICE), desk.state(BOB)) == (["early"], ["early"])
    desk.lines.forget(BOB)
    assert desk.lines.of(BOB) == ()
    desk.see(answered())
    desk.want(BOB)
    assert desk.state(BOB) == ["confirmed"]


def test_an_account_with_two_phones_has_one_line_in_a_call() -> None:
    desk = Desk(BOB)
    desk.see(started(), rings(1, AT_BOB), rings(2, ALSO_BOB), ringing(2))
    assert desk.state(BOB) == ["early"]
    desk.see(failed(2))
    assert desk.state(BOB) == ["trying"]
    desk.see(answered(1))
    assert desk.state(BOB) == ["confirmed"]


def test_who_declined_or_was_beaten_to_it_has_no_line_any_more() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(), rings(1, AT_BOB), rings(2, ("sip:x@outside", "udp:198.51.100.1:5060")))
    desk.see(ringing(1), failed(1))
    assert (desk.state(ALICE), desk.state(BOB)) == (["early"], [])
    desk.see(rings(3, AT_BOB), ringing(3), answered(2))
    assert (desk.state(ALICE), desk.state(BOB)) == (["confirmed"], [])


def test_a_leg_that_goes_elsewhere_by_the_same_number_leaves_the_first() -> None:
    desk = Desk(BOB)
    desk.see(started(), rings(1, AT_BOB), rings(1, ("sip:x@outside", "udp:198.51.100.1:5060")))
    assert desk.state(BOB) == []


def test_an_account_that_calls_itself_has_the_line_of_the_caller() -> None:
    desk = Desk(BOB)
    desk.see(started(caller=f"sip:{BOB}"), rings(), ringing())
    (line,) = desk.lines.of(BOB)
    assert line.outgoing


def test_a_caller_from_outside_has_no_line_whatever_its_from_says() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(direction="in"), rings())
    assert (desk.state(ALICE), desk.state(BOB)) == ([], ["trying"])


def begun(caller: str = AT_BOB[0]) -> CallStarted:
    """A call that we begin ourselves."""
    return CallStarted(
        call_id="c1", direction="out", caller=caller, destination="", source="", sip_call_id=""
    )


AT_ALICE = PHONES[ALICE][0]


@pytest.mark.parametrize("late", [False, True], ids=["wanted", "wanted later"])
def test_who_is_rung_first_in_a_call_of_our_own_has_a_line_until_its_end(late: bool) -> None:
    desk = Desk() if late else Desk(ALICE, BOB)
    desk.see(begun(), rings(1, AT_BOB), ringing(1), rings(2, AT_ALICE), ringing(2))
    if late:
        desk.want(ALICE, BOB)
    assert (desk.state(BOB), desk.state(ALICE)) == (["early"], ["early"])
    desk.see(answered(2))
    assert (desk.state(BOB), desk.state(ALICE)) == (["confirmed"], ["confirmed"])
    (line,) = desk.lines.of(BOB)
    assert line.outgoing
    desk.see(ended())
    assert (desk.state(BOB), desk.state(ALICE)) == ([], [])


@pytest.mark.parametrize("late", [False, True], ids=["wanted", "wanted when it is up"])
def test_who_is_rung_first_is_known_to_who_asks_when_the_call_is_up(late: bool) -> None:
    desk = Desk() if late else Desk(ALICE, BOB)
    desk.see(begun(), rings(1, AT_BOB), ringing(1), rings(2, AT_ALICE), answered(2))
    desk.want(ALICE, BOB)
    assert (desk.state(BOB), desk.state(ALICE)) == (["confirmed"], ["confirmed"])
    assert [line.outgoing for line in (*desk.lines.of(BOB), *desk.lines.of(ALICE))] == [True, False]


def test_an_account_that_waits_for_a_callback_has_one_line_whichever_phone_picked_up() -> None:
    desk = Desk(BOB)
    desk.see(begun(f"sip:{BOB}"), rings(1, AT_BOB), rings(2, ALSO_BOB), ringing(2), answered(3))
    assert desk.state(BOB) == ["confirmed"]


def test_who_is_rung_second_is_called() -> None:
    desk = Desk(BOB)
    desk.see(begun("sip:x@outside"), rings(1, ("sip:x@outside", "udp:198.51.100.1:5060")))
    desk.see(rings(2, AT_BOB))
    (line,) = desk.lines.of(BOB)
    assert not line.outgoing


def test_several_calls_are_in_their_order() -> None:
    desk = Desk(BOB)
    for call in ("c1", "c2", "c3"):
        desk.see(started(call), rings(call=call))
    desk.see(ended("c2"), answered(call="c3"))
    assert [(line.call_id, line.state) for line in desk.lines.of(BOB)] == [
        ("c1", "trying"), ("c3", "confirmed"),
    ]  # fmt: skip


def test_contacts_that_move_are_followed_for_new_calls_and_calls_keep_their_line() -> None:
    desk = Desk(BOB)
    desk.see(started(), rings())
    desk.lines.moved(BOB, [ALSO_BOB])
    desk.see(started("c2"), rings(call="c2"), started("c3"), rings(1, ALSO_BOB, "c3"))
    assert [line.call_id for line in desk.lines.of(BOB)] == ["c1", "c3"]


ODD: list[Event] = [
    rings(),
    ringing(),
    failed(),
    answered(),
    ended(),
    LoginFailed(username="u", source="s"),
    CallStarted(direction="out", caller="", destination="", source="", sip_call_id=""),
]


@pytest.mark.parametrize("event", ODD, ids=lambda event: type(event).__name__)
def test_events_of_unknown_calls_and_others_change_nothing(event: Event) -> None:
    desk = Desk(ALICE, BOB)
    desk.see(event)
    assert desk.told == []


def test_events_are_only_kept_while_nobody_is_wanted() -> None:
    """Two that are sent the same, one of whom asks from the start, know the same at the end."""
    asked: list[str] = []

    def counted(uri: str) -> str:
        asked.append(uri)
        return account_of(uri)

    early, late = Desk(ALICE, BOB), Desk()
    late.lines = CallLines(counted, late.told.append)
    outside = ("sip:x@outside", "udp:198.51.100.1:5060")
    for desk in (early, late):
        desk.see(started(), rings(1, AT_BOB), rings(2, outside), ringing(2), failed(2))
        desk.see(*[ringing(1)] * 1000)
        desk.see(started("c2"), rings(1, outside, "c2"), rings(1, AT_BOB, "c2"), answered(1, "c2"))
        desk.see(started("c3"), ended("c3"))
    assert (asked, late.told) == ([], [])
    assert max(len(kept) for kept in late.lines._calls.values() if isinstance(kept, list)) < 10
    late.want(ALICE, BOB)
    for account in (ALICE, BOB):
        assert late.lines.of(account) == early.lines.of(account)
        assert [line.call_id for line in late.lines.of(account)] == ["c1", "c2"]


@pytest.mark.parametrize("leg", [0, 1])
def test_a_transfer_that_nobody_saw_is_told_to_who_asks_later(leg: int) -> None:
    early, late = Desk(ALICE, BOB), Desk()
    for desk in (early, late):
        desk.see(started(), rings(), answered())
        desk.see(opened(f"sip:{ALICE}"), moves(leg), rings(1, ALSO_BOB, "c2"), answered(1, "c2"))
        desk.see(ended())
    late.want(ALICE, BOB)
    for account in (ALICE, BOB):
        assert late.lines.of(account) == early.lines.of(account)


def test_nothing_is_left_when_all_is_over() -> None:
    desk = Desk(ALICE, BOB)
    for call in ("c1", "c2"):
        desk.see(started(call), rings(call=call), answered(call=call), ended(call))
    desk.lines.forget(ALICE)
    desk.lines.forget(BOB)
    assert len(desk.lines) == 0
    assert not any((desk.lines._calls, desk.lines._wanted, desk.lines._contacts))


def moves(leg: int, old: str = "c1", new: str = "c2") -> TransferStarted:
    return TransferStarted(
        call_id=old,
        new_call_id=new,
        kind="blind",
        by="http",
        leg=leg,
        destination="sip:carol@example.com",
    )


def opened(caller: str, direction: str = "out", call: str = "c2") -> CallStarted:
    return CallStarted(
        call_id=call, direction=direction, caller=caller, destination="sip:carol@example.com",
        source="", sip_call_id="",
    )  # fmt: skip


@pytest.mark.parametrize("direction", ["in", "out"])
def test_who_stays_in_a_transfer_has_a_line_in_the_new_call(direction: str) -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(direction=direction), rings(), answered())
    desk.see(opened(f"sip:{BOB}", direction), moves(0), rings(call="c2", at=("sip:c", "udp:c")))
    assert desk.state(BOB) == ["confirmed", "confirmed"]
    desk.see(answered(call="c2"), ended())
    (line,) = desk.lines.of(BOB)
    assert (line.call_id, line.remote) == ("c2", "sip:carol@example.com")
    assert desk.state(ALICE) == []
    desk.see(ended("c2"))
    assert desk.state(BOB) == []


def test_who_stays_in_one_transfer_after_the_other_keeps_its_line() -> None:
    desk = Desk(BOB)
    desk.see(started(direction="in", caller="sip:far@away"), rings(), answered())
    desk.see(opened("sip:as-called@away", "in"), moves(0), rings(call="c2", at=("sip:c", "udp:c")))
    desk.see(answered(call="c2"), ended())
    desk.see(opened("sip:as-called@away", "in", "c3"), moves(1, "c2", "c3"))
    desk.see(rings(call="c3", at=("sip:d", "udp:d")), answered(call="c3"), ended("c2"))
    assert [(line.call_id, line.state) for line in desk.lines.of(BOB)] == [("c3", "confirmed")]
    desk.see(ended("c3"))
    assert desk.state(BOB) == []


def test_who_was_put_through_leaves_its_line_when_it_goes() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(), rings(at=("sip:ivr", "udp:ivr")), answered())
    desk.see(opened(f"sip:{ALICE}"), moves(1), rings(call="c2"), answered(call="c2"), ended())
    desk.see(opened(f"sip:{BOB}", call="c3"), moves(0, "c2", "c3"), ended("c2"))
    assert (desk.state(ALICE), desk.state(BOB)) == ([], ["confirmed"])


def test_who_was_rung_first_in_a_call_of_ours_stays_with_its_line() -> None:
    desk = Desk(BOB)
    call = CallStarted(
        call_id="c1", direction="out", caller="sip:bob@192.0.2.8", destination="", source="",
        sip_call_id="",
    )  # fmt: skip
    desk.see(call, rings(), rings(2, ("sip:ivr", "udp:ivr")), answered(2))
    desk.see(opened("sip:bob@192.0.2.8"), moves(2), ended())
    assert [(line.call_id, line.state) for line in desk.lines.of(BOB)] == [("c2", "confirmed")]


def test_a_caller_that_stays_has_its_line_too_and_the_target_its_own() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(), rings(at=("sip:ivr", "udp:ivr")), answered())
    desk.see(opened(f"sip:{ALICE}"), moves(1), rings(call="c2"), ringing(call="c2"))
    assert desk.state(BOB) == ["early"]
    assert desk.lines.of(BOB)[0].remote == f"sip:{ALICE}"
    desk.see(answered(call="c2"), ended())
    assert desk.state(ALICE) == desk.state(BOB) == ["confirmed"]


def test_a_transfer_that_came_to_nothing_leaves_the_old_line() -> None:
    desk = Desk(BOB)
    desk.see(started(), rings(), answered(), opened(f"sip:{BOB}"), moves(0), ended("c2"))
    assert [line.call_id for line in desk.lines.of(BOB)] == ["c1"]


def test_two_who_are_joined_have_a_line_each() -> None:
    desk = Desk(ALICE, BOB)
    desk.see(started(), rings(at=("sip:x", "udp:x")), answered())
    desk.see(started("c3", "in", "sip:far@away"), rings(call="c3"), answered(call="c3"))
    desk.see(opened(f"sip:{ALICE}"), moves(1), moves(0, "c3"), answered(call="c2"))
    desk.see(ended(), ended("c3"))
    assert desk.state(ALICE) == desk.state(BOB) == ["confirmed"]
    desk.see(ended("c2"))
    assert desk.state(ALICE) == desk.state(BOB) == []


def test_a_transfer_of_an_unknown_call_changes_nothing() -> None:
    desk = Desk(BOB)
    desk.see(moves(0))
    assert desk.state(BOB) == []
