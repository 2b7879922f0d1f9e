"""Tokens in Record-Route and Path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.siptransport.flowtoken import FlowName, TokenKey, describe, read_flow

KEY = TokenKey(b"key")
UDP = FlowName("10.0.0.1:7000", "udp", "203.0.113.7", 5062, 1)
TLS = FlowName("proxy", "tls", "2001:db8::7", 40001, 0, 0xFFFFFFFF, 1 << 40)


@pytest.mark.parametrize("name", [UDP, TLS])
def test_a_token_says_what_was_signed(name: FlowName) -> None:
    token = KEY.sign_flow(name)
    assert TokenKey(b"key").open_flow(token) == name == read_flow(token)
    assert describe(token) == (name.proxy, name.transport, name.host, name.port)
    assert token.replace("-", "a").replace("_", "a").isalnum()


def test_a_name_has_a_text_for_people() -> None:
    assert UDP.text == "udp:203.0.113.7:5062"
    assert TLS.text == "tls:[2001:db8::7]:40001"


def test_any_change_of_a_token_makes_it_worthless() -> None:
    token = KEY.sign_flow(UDP)
    for at in range(len(token)):
        other = "A" if token[at] != "A" else "B"
        assert KEY.open_flow(token[:at] + other + token[at + 1 :]) is None


def test_kinds_and_keys_do_not_mix() -> None:
    owner, flow = KEY.sign_owner("10.0.0.9:7000"), KEY.sign_flow(UDP)
    assert KEY.open_owner(owner) == "10.0.0.9:7000"
    assert KEY.open_flow("f" + owner[1:]) is None
    assert KEY.open_owner("o" + flow[1:]) is None
    assert TokenKey(b"other").open_owner(owner) is None


@given(st.text(max_size=80))
def test_other_texts_are_no_tokens(text: str) -> None:
    assert KEY.open_flow(text) is None
    assert KEY.open_owner("o" + text) is None
    describe("f" + text)
