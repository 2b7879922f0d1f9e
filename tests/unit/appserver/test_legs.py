"""Which leg an identifier names."""

from __future__ import annotations

import pytest

from services.appserver.domain.call import CallState
from services.appserver.domain.legs import NONE, LegRef, LegRule, find
from services.appserver.domain.plan import SELF
from tandem.rpc.callcontrol import MAX_IDENTIFIER
from tests.support.callcontrol import call


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


def test_the_leg_between_two_calls_of_ours_is_no_leg() -> None:
    first = call("c1", caller="<sip:1@x>", placed="<sip:unique77@x>")
    second = call("c2", caller="<sip:2@x>", placed="<sip:unique77@x>")
    assert first.b is not None
    assert second.a is not None
    first.b.proxy = second.a.proxy = SELF
    second.a.dialog.call_id = first.b.dialog.call_id
    assert find("unique77", "alice", [first, second]).only == LegRef("c2", 1)
    assert find("c1-b", "alice", [first, second]) == NONE


def test_legs_of_a_call_that_is_not_answered_are_not_named() -> None:
    assert find("unique77", "alice", [call(state=CallState.SETUP)]) == NONE


def test_a_from_that_makes_no_sense_is_found_by_its_call_id_alone() -> None:
    broken = call(placed="<<>>")
    assert find("<<>>", "alice", [broken]) == NONE
    assert find("c1-b", "alice", [broken]).only == LegRef("c1", 1)
