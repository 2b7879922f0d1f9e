"""Which leg an identifier names."""

from __future__ import annotations

import pytest

from services.appserver.domain.call import Call, CallState
from services.appserver.domain.leg import Leg
from services.appserver.domain.legs import NONE, LegRef, LegRule, find
from tandem.rpc.callcontrol import MAX_IDENTIFIER
from tandem.sip.dialog import Dialog, DialogState


def leg(number: int, call_id: str, local: str) -> Leg:
    """A leg that we placed, unless it is that of the caller, number 0."""
    dialog = Dialog(
        call_id=call_id,
        local_tag="ours",
        remote_tag="theirs",
        local=local,
        remote="<sip:far@elsewhere.example>;tag=theirs",
        remote_target="sip:far@203.0.113.7",
        route_set=(),
        local_seq=1,
        remote_seq=None,
        state=DialogState.CONFIRMED,
        uas=number == 0,
    )
    return Leg(dialog, number, "proxy", False, True, "", "udp:203.0.113.7:5060")


def call(
    name: str = "c1",
    caller: str = "<sip:232@example.com>;tag=ours",
    placed: str = '"Alice" <sip:unique77@example.com>;tag=ours',
    owners: tuple[str, ...] = ("alice",),
    state: CallState = CallState.UP,
) -> Call:
    made = Call(
        id=name,
        direction="out",
        owners=owners,
        caller="sip:alice@example.com",
        caller_name="",
        destination="sip:232@example.com",
        source="udp:203.0.113.7:5060",
        sip_call_id=f"{name}-a",
        created_at=0.0,
        state=state,
    )
    made.a, made.b = leg(0, f"{name}-a", caller), leg(1, f"{name}-b", placed)
    return made


@pytest.mark.parametrize(
    ("identifier", "rule", "number"),
    [
        ("c1-a", LegRule.CALL_ID, 0),
        ("c1-b", LegRule.CALL_ID, 1),
        ("unique77", LegRule.FROM_USER, 1),
        ("unique", LegRule.CONTAINS, 1),
        ("Alice", LegRule.CONTAINS, 1),
        ('"Alice" <sip:unique77@', LegRule.CONTAINS, 1),
        ("232", LegRule.CONTAINS, 0),
    ],
)
def test_a_leg_is_named_by_call_id_from_user_or_a_part_of_its_from(
    identifier: str, rule: LegRule, number: int
) -> None:
    found = find(identifier, "alice", [call()])
    assert (found.rule, found.only) == (rule, LegRef("c1", number))


def test_the_first_rule_that_names_any_leg_is_the_one() -> None:
    calls = [call("c1", placed="<sip:77@x>"), call("77", placed="<sip:778@x>")]
    assert find("77", "alice", calls).only == LegRef("c1", 1)
    assert find("77", "alice", calls).rule is LegRule.FROM_USER
    assert find("77-b", "alice", calls).rule is LegRule.CALL_ID


def test_two_legs_by_the_same_rule_are_none() -> None:
    found = find("unique77", "alice", [call("c1"), call("c2")])
    assert found.only is None
    assert set(found.legs) == {LegRef("c1", 1), LegRef("c2", 1)}


def test_an_escaped_user_is_named_unescaped() -> None:
    placed = "<sip:a%20b@example.com>;tag=ours"
    assert find("a b", "alice", [call(placed=placed)]).rule is LegRule.FROM_USER


@pytest.mark.parametrize("identifier", ["", "ours", "tag=", "theirs", "far", "x" * 256])
def test_nothing_is_named_by_a_tag_the_far_end_or_what_is_not_there(identifier: str) -> None:
    assert find(identifier, "alice", [call()]) == NONE


def test_a_longer_identifier_than_any_is_not_looked_for() -> None:
    user = "x" * (MAX_IDENTIFIER + 1)
    assert find(user, "alice", [call(placed=f"<sip:{user}@x>")]) == NONE


def test_another_customers_legs_are_not_named() -> None:
    assert find("unique77", "eve", [call()]) == NONE
    assert find("unique77", "eve", [call(owners=("alice", "eve"))]).only == LegRef("c1", 1)


def test_legs_of_a_call_that_is_not_answered_are_not_named() -> None:
    assert find("unique77", "alice", [call(state=CallState.SETUP)]) == NONE


def test_a_from_that_makes_no_sense_is_found_by_its_call_id_alone() -> None:
    broken = call(placed="<<>>")
    assert find("<<>>", "alice", [broken]) == NONE
    assert find("c1-b", "alice", [broken]).only == LegRef("c1", 1)
