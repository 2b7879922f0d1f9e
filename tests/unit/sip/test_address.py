"""Addresses with their parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri

URI = Uri.parse("sip:a@b")


@pytest.mark.parametrize(
    "text",
    [
        "<sip:a@b>",
        '"Alice, the \\"first\\"" <sip:a@b;lr>;tag=1',
        '<sip:a@b>;q=0.7;expires=60;+sip.instance="<urn:uuid:1>";reg-id=1;x',
        '"Jürgen" <sips:j@b>',
    ],
)
def test_parsing_and_text_are_inverse(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:a@b;tag=1", Address(URI, params=(("tag", "1"),))),
        ("Alice Smith <sip:a@b> ; Tag = 1 ; ", Address(URI, "Alice Smith", (("Tag", "1"),))),
        ("Alice<sip:a@b>", Address(URI, "Alice")),
        ('""<sip:a@b>', Address(URI)),
        ("< sip:a@b >", Address(URI)),
    ],
)
def test_other_spellings_are_understood(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "*", "a", "<sip:a@b", "sip:a@b>", '"a <sip:a@b>', "A, B <sip:a@b>", "<sip:a@b> x",
     "<sip:a@b>;=", "sip:a@b?x=y", "sip:a@b, sip:c@d", "<<sip:a@b>>", "<sip:a@b>;a b"],
)  # fmt: skip
def test_malformed_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        Address.parse(text)


def test_header_parameters_are_unquoted_and_found_without_case() -> None:
    address = Address.parse('<sip:a@b;tag=no>;TAG=1;x="a\\"b";y')
    assert (address.tag, address.param("x"), address.param("y")) == ("1", 'a"b', "")
    assert address.param("z") is None


def test_a_tag_takes_the_place_of_any_other() -> None:
    address = Address.parse("<sip:a@b>;tag=1;x")
    assert str(address.with_tag("2")) == "<sip:a@b>;x;tag=2"


def test_lists_span_lines_and_commas() -> None:
    values = ['"a,b" <sip:a@b>, <sip:c@d>;q=1', "sip:e@f"]
    assert [str(one.uri) for one in Address.parse_list(values)] == ["sip:a@b", "sip:c@d", "sip:e@f"]


@given(st.text(alphabet='sip:a@b<>";,=\\ \t', max_size=40) | st.text(max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for value in (text, f"<sip:a@b>{text}", f"{text}<sip:a@b>"):
        try:
            address = Address.parse(value)
        except BadMessage:
            continue
        assert Address.parse(str(address)).uri == address.uri
