"""Single lines: what is read the short way means what it means the long way."""

from __future__ import annotations

import pytest

from tandem.sip.address import Address
from tandem.sip.errors import BadMessage, TooLarge
from tandem.sip.limits import MAX_VIAS
from tandem.sip.lines import PLAIN_VIA_RE, line_value, number_of, tag_of
from tandem.sip.message import Message
from tandem.sip.via import Via

BASE = [
    "From: <sip:a@b>;tag=1", "To: <sip:c@d>", "Call-ID: x", "CSeq: 1 INVITE", "Max-Forwards: 70",
]  # fmt: skip

PARTIES = [
    "<sip:a@b>",
    "<sip:a@b>;tag=1",
    "<sip:a@b>;tag",
    "<sip:a@b>;tag=",
    "<sip:a@b>;TAG=1",
    "<sip:a@b>;tag=1;x=y",
    "<sip:a@b>;x=y;tag=1",
    "<sip:a@b>;x;tag=1;tag=2",
    "<sip:a@b> ;tag=1 ",
    '<sip:a@b>;tag="q"',
    "<sip:a@b>;tagged=1",
    "<sip:a@b;tag=uri>",
    "sip:a@b;tag=1",
    '"A \\" <x>" <sip:a@b>;tag=1',
    '"A, B" <sip:a@b>;tag=1',
    "A B <sip:a@b>;tag=1",
    "A\r\n B <sip:a@b>\r\n ;tag=1",
    "< sip:a@b >;tag=1",
    "<tel:+1>;tag=1",
    "",
    "<>",
    "<sip:a@b",
    "<sip:a@b:99999>;tag=1",
    "<sip:a b@c>;tag=1",
    "A;B <sip:a@b>",
    "<sip:a@b>,<sip:c@d>",
    "<sip:a@b>;tag=1 rubbish",
    "<sip:a@b>;@",
]


@pytest.mark.parametrize("value", PARTIES)
@pytest.mark.parametrize("name", ["From", "t", "TO "])
def test_a_tag_is_what_the_parsed_address_has(name: str, value: str) -> None:
    line = f"{name}:{value}"
    try:
        wanted = Address.parse(line_value(line)).tag if line_value(line) else None
    except BadMessage:
        with pytest.raises(BadMessage):
            tag_of(line)
        return
    if line_value(line):
        assert tag_of(line) == wanted
    else:
        with pytest.raises(BadMessage, match="Missing"):
            tag_of(line)


VIAS = [
    "SIP/2.0/UDP a.example",
    "SIP/2.0/UDP A.example:5060;branch=z9hG4bK1",
    "SIP/2.0/TCP [2001:DB8::1]:5061;rport;branch=z9hG4bK1;received=::1",
    "SIP/2.0/UDP a;BRANCH=z9hG4bK1",
    "SIP/2.0/UDP a;branch",
    "SIP/2.0/UDP a;branch=",
    "SIP/2.0/UDP a;branch=1;branch=2",
    "SIP/2.0/UDP a;branched=1;branch=2",
    "SIP/2.0/UDP a:05060;branch=1",
    "SIP/2.0/UDP a:65535;branch=1",
    "SIP/2.0/UDP a:65536;branch=1",
    "SIP/2.0/UDP a:0;branch=1",
    "sip / 2.0 / udp a : 5060 ; branch = 1",
    "SIP/2.0/UDP a;branch=1, SIP/2.0/TCP b;branch=2",
    "SIP/2.0/UDP a;x=\"q;branch=no\";branch=1",
    "SIP/2.0/UDP a;branch=1;x=\"q\"",
    "SIP/2.0/UDP a;branch=1 ",
    "SIP/2.0/UDP",
    "SIP/3.0/UDP a",
    "SIP/2.0/UDP a;;branch=1",
    "SIP/2.0/UDP a rubbish",
    "",
]  # fmt: skip


@pytest.mark.parametrize("value", VIAS)
@pytest.mark.parametrize("below", [(), ("SIP/2.0/TLS below;branch=2",), ("sip/2.0/ws c", "rub")])
def test_vias_are_checked_and_read_as_if_they_were_parsed(
    value: str, below: tuple[str, ...]
) -> None:
    lines = [*(f"Via: {each}" for each in (value, *below)), *BASE]
    message, asked = Message("x", lines), Message("x", list(lines))
    try:
        vias = asked.vias
        assert vias[0] == asked.via
    except BadMessage:
        with pytest.raises(BadMessage):
            message.check()
        return
    message.check()
    for each in (message, asked):
        assert each.top == (vias[0].branch, vias[0].sent_by)
        assert each.second_transport == vias[1 if len(vias) > 1 else 0].transport


def test_vias_as_nearly_all_spell_them_need_no_parsing() -> None:
    match = PLAIN_VIA_RE.fullmatch("v: SIP/2.0/UDP a:5060;rport;branch=z9hG4bK1;received=::1")
    assert match is not None
    assert match.groups() == ("UDP", "a:5060", "z9hG4bK1")
    assert Via.parse("SIP/2.0/UDP a:5060").sent_by == match[2]


@pytest.mark.parametrize("separator", ["\r\nVia: ", ", "])
def test_there_are_only_so_many_vias(separator: str) -> None:
    vias = separator.join(f"SIP/2.0/UDP a;branch={n}" for n in range(MAX_VIAS + 1))
    message = Message("x", [*f"Via: {vias}".split("\r\n"), *BASE])
    with pytest.raises(TooLarge):
        message.check()


def test_what_was_read_is_forgotten_when_a_line_changes() -> None:
    message = Message("x", ["Via: SIP/2.0/UDP a;branch=1", *BASE])
    message.check()
    message.set("Via", "SIP/2.0/TCP b;branch=2")
    message.set("To", "<sip:c@d>;tag=7")
    message.set("Call-ID", "y")
    assert (message.top, message.second_transport) == (("2", "b"), "TCP")
    assert (message.to_tag, message.call_id) == ("7", "y")


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), (" 007 ", 7), ("90;refresher=uac", 90), ("5 (x)", 5)]
)
def test_numbers(text: str, number: int) -> None:
    assert number_of("expires", f"Expires:{text}") == number


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "²", "9" * 13])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(BadMessage, match="Malformed expires"):
        number_of("expires", f"Expires: {text}")
