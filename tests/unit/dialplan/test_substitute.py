"""Substitutions, and the From of a provider."""

from __future__ import annotations

import pytest

from tandem.dialplan.scan import DialStringError
from tandem.dialplan.substitute import Values, address, expand, in_uri, plain, problem
from tandem.dialplan.world import Incoming

CALL = Values("00441234", "Ann", "ann", "example.com", "customer")


def test_values_are_those_of_the_request() -> None:
    req = Incoming(
        direction="out", customer="me", uri="sip:%23%31;a=b@x", user="%23%31;a=b", host="x",
        from_name="N", from_user="a%20b", from_host="h",
    )  # fmt: skip
    assert Values.of(req) == Values("#1", "N", "a b", "h", "me")


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("${dst}", "00441234"),
        ("${EXTEN}", "00441234"),
        ("+${exten:2}", "+441234"),
        ("${Exten:0}${exten:999}", "00441234"),
        ("${fromname}/${fromuriuser}/${fromaor}/${username}", "Ann/ann/ann@example.com/customer"),
        ("$ { } ${", "$ { } ${"),
    ],
)
def test_names_are_filled_in(text: str, made: str) -> None:
    assert problem(text) is None
    assert expand(text, CALL, plain) == made


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a${x}", 1),
        ("${}", 0),
        ("${dst:1}", 0),
        ("${exten:}", 0),
        ("${exten:1000}", 0),
        ("${exten:-1}", 0),
    ],
)
def test_names_that_there_are_not_are_told(text: str, position: int) -> None:
    found = problem(text)
    assert found is not None
    assert found[0] == position


def test_a_value_is_not_looked_at_for_substitutions() -> None:
    evil = Values("${fromname}", "x")
    assert expand("${dst}", evil, plain) == "${fromname}"


def test_a_value_has_a_limit_and_nothing_that_can_t_be_shown() -> None:
    assert len(expand("${dst}", Values("1" * 1000), in_uri)) == 256
    assert expand("${dst}", Values("a\r\nb\udc80"), plain) == "a  b "


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("sip:me@prov.example", "<sip:me@prov.example>"),
        ("me@prov.example", "<sip:me@prov.example>"),
        ("<sip:${fromuriuser}@prov.example>", "<sip:ann@prov.example>"),
        ('"${fromname}, x" <sip:me@prov.example>', '"Ann, x" <sip:me@prov.example>'),
        ("Anonymous <sip:anonymous@anonymous.invalid>",
         '"Anonymous" <sip:anonymous@anonymous.invalid>'),
    ],
)  # fmt: skip
def test_the_from_of_a_provider_is_filled_in(text: str, made: str) -> None:
    assert str(address(text, CALL)) == made


def test_a_caller_can_t_break_out_of_the_from_of_a_provider() -> None:
    evil = Values("1", 'A" <sip:boss@bank>\r\nX: 1', "a@bank.example>;tag=1,<sip:b", "h", "c")
    made = address('"${fromname}" <sip:${fromuriuser}@prov.example>', evil)
    assert made.uri.host == "prov.example"
    assert made.params == ()
    assert str(made) == (
        '"A\\" <sip:boss@bank>  X: 1" <sip:a%40bank.example%3E%3Btag%3D1%2C%3Csip%3Ab@prov.example>'
    )


@pytest.mark.parametrize(
    "text", ["", "a b", "<sip:a@b", "<sip:a@b>;tag=1", "sip:${no}@x", "sip:a@b\r\nX: y", "sip:@@"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(DialStringError):
        address(text, CALL)
