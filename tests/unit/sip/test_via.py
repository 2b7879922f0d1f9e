"""Via."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.errors import BadMessage
from tandem.sip.via import Via


@pytest.mark.parametrize(
    "text",
    [
        "SIP/2.0/UDP 10.0.0.1",
        "SIP/2.0/TLS host.example.com:5061;rport;branch=z9hG4bK1",
        "SIP/2.0/WSS [2001:db8::1]:443;branch=z9hG4bK%66;received=::1",
        'SIP/2.0/UDP a;x="q,;\\"r";branch=',
    ],
)
def test_parsing_and_text_are_inverse(text: str) -> None:
    assert str(Via.parse(text)) == text


def test_blanks_are_allowed_nearly_everywhere() -> None:
    via = Via.parse("sip / 2.0 / udp   host : 5060 ; rport ; branch = z9hG4bK1")
    assert via == Via("UDP", "host", 5060, (("rport", None), ("branch", "z9hG4bK1")))


def test_parameters_are_found_without_case() -> None:
    via = Via.parse("SIP/2.0/UDP H;Branch=b;RPORT")
    assert (via.branch, via.param("rport"), via.param("received")) == ("b", "", None)
    assert (via.sent_by, Via.parse("SIP/2.0/UDP H:1").sent_by) == ("h", "h:1")
    assert Via.parse("SIP/2.0/UDP a").branch == ""


def test_a_parameter_that_is_set_keeps_its_place() -> None:
    via = Via.parse("SIP/2.0/UDP h;rport;branch=b").with_param("rport", "5060")
    assert str(via.with_param("received", "::1")) == (
        "SIP/2.0/UDP h;rport=5060;branch=b;received=::1"
    )


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/UDP", "SIP/2.0 h", "SIP/3.0/UDP h", "SIP/2.0/UDP h:65536",
             "HTTP/2.0/UDP h", "SIP/2.0/UDP h;;,;,,", "SIP/2.0/UDP h x", 'SIP/2.0/UDP h;a="b'],
)  # fmt: skip
def test_malformed_values_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        Via.parse(text)


@given(st.text(alphabet='SIP/2.0UD h:5;=",[]\t', max_size=40) | st.text(max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for value in (text, f"SIP/2.0/UDP {text}", f"SIP/2.0/UDP h{text}"):
        try:
            via = Via.parse(value)
        except BadMessage:
            continue
        assert Via.parse(str(via)) == via
