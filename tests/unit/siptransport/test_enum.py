"""ENUM: from numbers to URIs by NAPTR records, which may be anybody's."""

from __future__ import annotations

import pytest

from tandem.siptransport import enum
from tandem.siptransport.locate import Naptr


def record(regexp: str, *, order: int = 1, service: str = "E2U+sip", flags: str = "u") -> Naptr:
    return Naptr(order, 1, flags, service, "", regexp)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("+44 20-7946(0148)", "8.4.1.0.6.4.9.7.0.2.4.4.e164.arpa"),
        ("123", "3.2.1.e164.arpa"),
        ("", ""),
        ("+", ""),
        ("12a", ""),
        ("1" * 16, ""),
        ("٣", ""),
    ],
)
def test_a_number_has_a_name(number: str, name: str) -> None:
    assert enum.domain(number, "e164.arpa.") == name


@pytest.mark.parametrize(
    ("regexp", "uri"),
    [
        ("!^.*$!sip:info@example.com!", "sip:info@example.com"),
        ("!^(.*)$!sip:\\1@example.com!", "sip:+442079460148@example.com"),
        ("!^\\+44(.*)$!sip:0\\1@example.com!i", "sip:02079460148@example.com"),
        ("!^\\+44([0-9]+)$!sips:\\1@example.com!", "sips:2079460148@example.com"),
        ("/^.*$/sip:a@b.example/", "sip:a@b.example"),
        ("!^\\+1(.*)$!sip:\\1@example.com!", ""),
        ("!^.*$!mailto:a@example.com!", ""),
        ("!^.*$!sip:a b@example.com!", ""),
        ("!^.*$!sip:a@example.com\r\nX: y!", ""),
        ("!^(.*)+$!sip:\\1@example.com!", ""),
        ("!^((.*))$!sip:\\1@example.com!", ""),
        ("!^" + ".*" * 5 + "$!sip:a@example.com!", ""),
        ("!^(a|b)$!sip:\\1@example.com!", ""),
        ("!^.*$!sip:\\7a@example.com!", "sip:a@example.com"),
        ("", ""),
        ("!", ""),
        ("!a!b", ""),
        ("!^.*$!sip:" + "a" * 300 + "@x!", ""),
    ],
)
def test_a_record_makes_a_uri(regexp: str, uri: str) -> None:
    assert enum.uri("+442079460148", [record(regexp)]) == uri


def test_the_best_record_that_is_sip_counts() -> None:
    records = [
        record("!^.*$!sip:third@example.com!", order=3),
        record("!^.*$!sip:first@example.com!", order=1, service="E2U+mailto"),
        record("!^.*$!sip:none@example.com!", order=1, flags="s"),
        record("!^.*$!sip:second@example.com!", order=2, service="sip+E2U"),
    ]
    assert enum.uri("+1", records) == "sip:second@example.com"
    assert enum.uri("+1", [record("!^.*$!sip:v@x.example!", service="E2U+voice:sip")])
    assert enum.uri("+1", []) == ""
