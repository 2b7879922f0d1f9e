"""The pieces of the grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.grammar import QUOTED_RE, clean, quote, split_list, unquote


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("", [""]),
        ("a", ["a"]),
        (" a , b ", ["a", "b"]),
        ('"a,b" <sip:c,d>;e="f,g", h', ['"a,b" <sip:c,d>;e="f,g"', "h"]),
        ('"a\\",b", c', ['"a\\",b"', "c"]),
        ('<sip:a"b,c>, d', ['<sip:a"b,c>', "d"]),
        ("a>, <b, c", ["a>", "<b, c"]),
        ('"open, b', ['"open, b']),
        ('"open, b\\', ['"open, b\\']),
        ("<a>,,", ["<a>", "", ""]),
    ],
)
def test_lists_are_split_at_commas_outside_of_quotes_and_brackets(
    value: str, items: list[str]
) -> None:
    assert split_list(value) == items


@given(st.text(alphabet='a",<>\\ ;', max_size=30))
def test_splitting_loses_nothing_but_blanks(value: str) -> None:
    assert ",".join(split_list(value)).replace(" ", "") == value.replace(" ", "")


@given(st.text(st.characters(exclude_characters="\r\n\0"), max_size=30))
def test_quoting_and_unquoting_are_inverse(text: str) -> None:
    assert QUOTED_RE.fullmatch(quote(text))
    assert unquote(quote(text)) == text


@pytest.mark.parametrize("text", ["", "a", '"', '"a', 'a"'])
def test_what_is_not_quoted_stays(text: str) -> None:
    assert unquote(text) == text


@given(st.text(max_size=30))
def test_cleaned_and_quoted_text_begins_no_new_line(text: str) -> None:
    for line in (clean(text), quote(text)):
        assert not set(line) & set("\r\n\0")
    assert len(clean(text)) == len(text)
