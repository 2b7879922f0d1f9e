from __future__ import annotations

import pytest

from services.events.domain.filters import MAX_LENGTH, FilterError, parse_filter
from services.events.domain.view import View
from tandem.rpc.sessions import Principal
from tests.support.events import stored

EVENT = stored(
    7, "call.leg_failed", call_id="c1", message="Leg 1 failed: 486 Busy Here and gone",
    owners=("alice", "bob"),
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "  ", "type=call.*", "type = call.leg_failed", "type call.*", "TYPE=*",
     "type=registration.*,call.*", "type=call.* and service=appserver and node=node-?",
     "owner=bob", "user bob", "event *", "call_id=c1 AND text=busy", 'text="Here and gone"',
     'text="486" and type=*', "text=busy here"],
)  # fmt: skip
def test_filters_that_match(text: str) -> None:
    assert parse_filter(text).matches(EVENT)


@pytest.mark.parametrize(
    "text",
    ["type=call", "type=registration.*", "type=call.* and node=other", "owner=carol",
     "call_id=c2", "text=answered", "type=call.[a-z]*", "service=proxy"],
)  # fmt: skip
def test_filters_that_do_not_match(text: str) -> None:
    assert not parse_filter(text).matches(EVENT)


@pytest.mark.parametrize(
    ("text", "said"),
    [("colour=red", "colour"), ("type=call.* and colour red", "colour"), ("type", "key=value"),
     ("=x", "cannot read"), ("type=", "cannot read"), ("type=,", "no value"),
     ("type=a and", "cannot read|and"), ('text="open', "cannot read"),
     ("x" * (MAX_LENGTH + 1), "characters"), ("type=" + ",".join("a" * 30), "conditions")],
)  # fmt: skip
def test_what_is_no_filter_is_refused_and_named(text: str, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        parse_filter(text)


def test_a_long_filter_is_read_in_linear_time() -> None:
    with pytest.raises(FilterError):
        parse_filter("type=" + "a " * 490 + '"')


def test_only_administrators_may_ask_for_others() -> None:
    asked = parse_filter("owner=bob")
    assert asked.foreign_owner(Principal("alice")) == "bob"
    assert asked.foreign_owner(Principal("bob")) is None
    assert asked.foreign_owner(Principal("root", admin=True)) is None
    assert parse_filter("owner=*").foreign_owner(Principal("alice")) is None


def test_scope_goes_before_the_filter() -> None:
    everything = parse_filter("type=*")
    nobodys = stored(1, owners=())
    assert not View(Principal("alice"), everything).shows(nobodys)
    assert not View(Principal("carol"), everything).shows(EVENT)
    assert View(Principal("root", admin=True), everything).shows(nobodys)
    assert View(Principal("bob"), everything).shows(EVENT)


def test_what_the_database_looks_up_is_what_comes_before_a_wildcard() -> None:
    def prefixes(text: str) -> tuple[str, ...]:
        return parse_filter(text).terms[0].prefixes

    assert prefixes("type=call.*") == ("call.",)
    assert prefixes("type=call.ended") == ("call.ended",)
    assert prefixes("type=a[b") == ("a",)
    assert prefixes("type=call.*,node.*") == ("call.", "node.")
    assert prefixes("type=a,*") == ()
