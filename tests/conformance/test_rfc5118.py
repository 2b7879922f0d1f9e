"""RFC 5118 §4: the torture messages for IPv6."""

from __future__ import annotations

import pytest

from tandem.sip.errors import BadMessage
from tandem.sip.message import Request, parse_message
from tests.support.torture import RFC_5118


def request(name: str) -> Request:
    message = parse_message(RFC_5118[name])
    message.check()
    assert isinstance(message, Request)
    return message


def test_all_messages_of_the_rfc_are_here() -> None:
    assert len(RFC_5118) == 12


@pytest.mark.parametrize("name", sorted(set(RFC_5118) - {"ipv6-bad"}))
def test_a_valid_message_leaves_as_it_came(name: str) -> None:
    assert request(name).to_bytes() == RFC_5118[name]


def test_an_ipv6_reference_has_brackets() -> None:
    message = request("ipv6-good")
    assert (message.request_uri.host, message.request_uri.port) == ("[2001:db8::10]", None)
    assert message.via.host == "[2001:db8::9:1]"
    assert message.contacts[0].uri.host == "[2001:db8::1]"


def test_an_ipv6_address_without_brackets_is_refused() -> None:
    with pytest.raises(BadMessage):
        request("ipv6-bad")


def test_a_port_is_one_only_outside_of_the_brackets() -> None:
    ambiguous = request("port-ambiguous").request_uri
    assert (ambiguous.host, ambiguous.port) == ("[2001:db8::10:5070]", None)
    unambiguous = request("port-unambiguous").request_uri
    assert (unambiguous.host, unambiguous.port) == ("[2001:db8::10]", 5070)


def test_received_is_read_with_and_without_brackets() -> None:
    with_delimiters = request("via-received-param-with-delim").via
    assert with_delimiters.param("received") == "[2001:db8::9:255]"
    assert with_delimiters.branch == "z9hG4bKas3-111"
    without = request("via-received-param-no-delim").via
    assert without.param("received") == "2001:db8::9:255"


def test_both_families_occur_in_one_message() -> None:
    sent_by = [via.sent_by for via in request("mult-ip-in-header").vias]
    assert sent_by == ["[2001:db8::9:1]:6050", "192.0.2.1", "[2001:db8::9:255]"]
    assert b"IP6 2001:db8::1" in request("mult-ip-in-sdp").body
    assert b"IP6 2001:db8::20" in request("ipv6-in-sdp").body


def test_ipv4_mapped_addresses_are_read() -> None:
    message = request("ipv4-mapped-ipv6")
    assert message.via.sent_by == "[::ffff:192.0.2.10]:19823"
    assert message.contacts[0].uri.host == "[::ffff:192.0.2.2]"


def test_the_third_colon_of_rfc_3261_s_grammar_is_tolerated() -> None:
    assert request("ipv6-bug-abnf-3-colons").request_uri.host == "[2001:db8:::192.0.2.1]"
    assert request("ipv6-correct-abnf-2-colons").request_uri.host == "[2001:db8::192.0.2.1]"
