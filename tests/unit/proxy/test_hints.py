"""The table of next-call hints."""

from __future__ import annotations

import fnmatch
import random
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.proxy.domain import hints as module
from services.proxy.domain.hints import HintTable
from tandem.bus.hints import MAX_CALLER, Hint, pattern_matches

NOW = 1_700_000_000.0
ALIVE = {"a:1", "b:1"}


def hint(number: str = "h1", **more: object) -> Hint:
    made = Hint(
        id=number, node="n", appserver="a:1", customer="c", users=("bob", "bob.work"),
        expires_at=NOW + 30,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def found(table: HintTable, uri: bytes = b"sip:bob@example.com", caller: str = "1") -> str | None:
    return table.match(table.waiting(uri), caller, ALIVE, NOW)


@pytest.mark.parametrize(
    ("pattern", "user", "fits"),
    [
        ("", "anybody", True), ("", "", True), ("*", "", True), ("?", "", False),
        ("+4930*", "4930123", True), ("4930*", "+4930123", True), ("4930*", "4940", False),
        ("?", "a", True), ("??", "a", False), ("Alice", "aLICE", True), ("a*b*c", "aXbYc", True),
        ("a*b*c", "aXcYb", False), ("*7", "1237", True), ("*?7", "7", False), ("a*a", "a", False),
        ("*ab*ab*", "xabyabz", True), ("*ab*ab*", "xaby", False), ("1?3*", "12345", True),
        ("a.c", "abc", False), ("[ab]", "a", False), ("*b?d*", "abcbxdy", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, user: str, fits: bool) -> None:
    assert pattern_matches(pattern, user) is fits


@given(st.text("ab?*", max_size=8), st.text("ab", max_size=10))
def test_patterns_are_shell_patterns_of_two_signs(pattern: str, user: str) -> None:
    assert pattern_matches(pattern, user) == (not pattern or fnmatch.fnmatchcase(user, pattern))


def test_no_pattern_takes_long() -> None:
    assert not pattern_matches("*a" * 100 + "b", "a" * 4000)
    assert pattern_matches("*a", "a" * MAX_CALLER)
    assert not pattern_matches("*a", "a" * (MAX_CALLER + 1))
    assert pattern_matches("", "a" * (MAX_CALLER + 1))


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        (b"sip:bob@example.com", True), (b"sip:BOB@Example.COM:5060;transport=tcp", True),
        (b"sips:bob;phone-context=x@example.com", True), (b"sip:b%6fb@x", True),
        (b"sip:bob:secret@x", True), (b"sip:bob.work@x", True), (b"sip:any.bob@x", True),
        (b"sip:any.thing.bob.work@x", True), (b"sip:work@x", False), (b"sip:bobby@x", False),
        (b"sip:bob.any@x", False), (b"sip:x@bob", False), (b"sip:bob", False), (b"", False),
        (b"sip:@x", False),
    ],
)  # fmt: skip
def test_who_is_addressed(uri: bytes, fits: bool) -> None:
    table = HintTable()
    table.add(hint(), NOW)
    assert found(table, uri) == ("a:1" if fits else None)


def test_domains_are_asked_where_the_hint_names_some() -> None:
    table = HintTable()
    table.add(hint(domains=("one.example", "[2001:db8::1]")), NOW)
    assert found(table, b"sip:bob@ONE.example:5080") == "a:1"
    assert found(table, b"sip:bob@[2001:DB8::1]:5080") == "a:1"
    assert found(table, b"sip:bob@two.example") is None


HINTS = [
    hint("1", pattern="49301", appserver="a:1", expires_at=NOW + 50),
    hint("2", pattern="4930?", appserver="b:1"),
    hint("3", pattern="4930*", appserver="a:1"),
    hint("4", pattern="4930*", appserver="b:1", expires_at=NOW + 29),
    hint("5", pattern="49*", appserver="a:1"),
    hint("6", appserver="b:1", domains=("example.com",)),
    hint("7", appserver="a:1", users=("bob",)),
]


def test_the_most_specific_hint_wins_on_every_proxy_whatever_it_heard_first() -> None:
    for seed in range(20):
        table, order = HintTable(), list(HINTS)
        random.Random(seed).shuffle(order)
        for each in order:
            assert table.add(each, NOW)
        seen = [[each.hint.id for each in table.waiting(b"sip:bob@example.com")]]
        seen += [[each.hint.id for each in table.waiting(b"sip:my.bob@example.com")]]
        assert seen == [["1", "2", "4", "3", "5", "6", "7"]] * 2
        callers = {"49301": "a:1", "49302": "b:1", "493011": "b:1", "4931": "a:1", "1": "b:1"}
        assert {caller: found(table, caller=caller) for caller in callers} == callers
    assert found(table, caller="") == "b:1"


def test_a_hint_ends_by_itself_or_when_it_is_withdrawn() -> None:
    table = HintTable()
    for number in ("1", "2", "3"):
        table.add(hint(number, expires_at=NOW + int(number)), NOW)
    table.withdraw("2")
    table.withdraw("unknown")
    table.expire(NOW + 2)
    assert ("1" in table, "2" in table, "3" in table) == (False, False, True)
    assert (table.expired, table.withdrawn, len(table)) == (1, 1, 1)
    assert table.match(table.waiting(b"sip:bob@x"), "1", ALIVE, NOW + 3) is None
    table.expire(NOW + 3)
    assert table.users == {}
    assert not table.add(hint("4", expires_at=NOW), NOW)


def test_what_is_heard_twice_is_kept_once_and_there_is_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_HINTS", 2)
    table = HintTable()
    assert [table.add(hint(n), NOW) for n in ("1", "1", "2", "3", "2")] == [
        True, True, True, False, True,
    ]  # fmt: skip
    assert (len(table), table.refused) == (2, 1)
    table.withdraw("1")
    assert table.add(hint("3"), NOW)


def test_many_hints_come_and_go_without_a_trace() -> None:
    table = HintTable()
    for number in range(1000):
        table.add(hint(str(number), users=(f"user{number}",)), NOW)
        if number >= 10:
            table.withdraw(str(number - 10))
    assert len(table) == 10
    assert len(table.users) == 10
    assert len(table._ends) < 200
    assert re.fullmatch("a:1", found(table, b"sip:user999@x") or "")
