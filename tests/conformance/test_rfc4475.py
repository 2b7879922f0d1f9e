"""RFC 4475 §3: every torture message, with the verdict that the RFC asks of a parser."""

from __future__ import annotations

import pytest

from tandem.sip.address import Address
from tandem.sip.build import response_to
from tandem.sip.digest import Credentials
from tandem.sip.errors import BadMessage, RemoteFault
from tandem.sip.message import MalformedRequest, Message, Request, Response, parse_message
from tandem.sip.uri import Uri
from tests.support.torture import ALSO, DROP, EXPECTED, OK, RFC_4475, acceptable

# What is wrong with these is seen by whoever uses the header or knows what is supported.
APPLICATION = {"unkscm", "novelsc", "unksm2", "bext01", "regaut01", "zeromf", "regbadct"}
MALFORMED = {
    name for name, verdict in EXPECTED.items()
    if name in RFC_4475 and isinstance(verdict, int) and name not in APPLICATION
} | {"scalarlg", "bigcode"}  # fmt: skip
WELL_FORMED = set(RFC_4475) - MALFORMED


def parsed(name: str) -> Message:
    message = parse_message(RFC_4475[name])
    message.check()
    return message


def request(name: str) -> Request:
    message = parsed(name)
    assert isinstance(message, Request)
    return message


def fault(name: str) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        parsed(name)
    return caught.value


def test_all_messages_of_the_rfc_are_here() -> None:
    assert len(RFC_4475) == 49
    assert set(RFC_4475) <= set(EXPECTED)


@pytest.mark.parametrize("name", sorted(WELL_FORMED - {"dblreq", "inv2543"}))
def test_a_well_formed_message_leaves_as_it_came(name: str) -> None:
    assert parsed(name).to_bytes() == RFC_4475[name]


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_message_is_refused_with_the_status_of_the_rfc(name: str) -> None:
    status = fault(name).status
    assert EXPECTED[name] == DROP or status == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(MALFORMED - {"scalarlg", "bigcode"}))
def test_a_malformed_request_can_be_answered(name: str) -> None:
    """With its Via, so that the answer finds its way, and whatever else there is to copy."""
    try:
        message: Message = parse_message(RFC_4475[name])
    except MalformedRequest as malformed:
        message = malformed.request
    assert isinstance(message, Request)
    response = response_to(message, fault(name).status, fault(name).reason, tag="t")
    answered = parse_message(response.to_bytes())
    assert isinstance(answered, Response)
    assert answered.status == EXPECTED[name]
    assert answered.raw_lines("via") == message.raw_lines("via")


def test_wsinv_folds_blanks_and_escaped_quotes() -> None:
    message = request("wsinv")
    assert message.to.tag == "1918181833n"
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.from_.tag == "98asjd8"
    assert message.max_forwards == 68
    assert (message.cseq.number, message.cseq.method) == (9, "INVITE")
    assert [(via.transport, via.host) for via in message.vias] == [
        ("UDP", "192.0.2.2"), ("TCP", "spindle.example.com"), ("UDP", "192.168.255.111"),
    ]  # fmt: skip
    assert [via.branch for via in message.vias] == [
        "390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239",
    ]  # fmt: skip
    assert message.values("subject") == [""]
    assert message.first("newfangledheader") == "newfangled value continued newfangled value"
    assert message.first("unknownheaderwithunusualvalue") == ";;,,;;,;"
    assert message.request_uri.param("unknownparam") == ""
    (contact,) = message.contacts
    assert contact.display == 'Quoted string ""'
    assert contact.params == (("newparam", "newvalue"), ("secondparam", None), ("q", "0.33"))
    (route,) = Address.parse_list(message.values("route"))
    assert route.uri.params == (
        ("lr", None), ("unknownwith", "value"), ("unknown-no-value", None),
    )  # fmt: skip


def test_intmeth_uses_the_whole_range_of_characters() -> None:
    message = request("intmeth")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    uri = message.request_uri
    assert uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert uri.host == "example.com"
    assert message.to.display == "BEL:\x07 NUL:\0 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.param("fromparam''~+*_!.-%") == "работающий"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.call_id == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert message.via.branch == "z9hG4bK-.!%66*_+`'~"
    assert message.first("extensionheader-!.%*+_`'~") == "\ufeff大停電"


def test_esc01_escapes_are_resolved_for_comparison_only() -> None:
    message = request("esc01")
    assert message.request_uri.user == "sips%3Auser%40example.com"
    assert message.request_uri.unescaped_user == "sips:user@example.com"
    assert message.to.uri.equivalent(Uri.parse("sip:user@example.com"))
    assert message.from_.uri.unescaped_user == "I have spaces"
    assert message.contacts[0].uri.unescaped_user == "caller"
    contact = message.contacts[0].uri
    assert contact.param("lr") == ""
    assert contact.equivalent(Uri.parse("sip:caller@host5.example.net;lr;name=value%2541"))
    assert not contact.equivalent(Uri.parse("sip:caller@host5.example.net;lr;name=valueA"))


def test_escnull_does_not_shorten_the_user_at_a_null() -> None:
    message = request("escnull")
    assert message.to.uri.unescaped_user == "null-\0-null"
    users = [contact.uri.unescaped_user for contact in message.contacts]
    assert users == ["\0", "\0\0"]


def test_esc02_percent_is_no_escape_in_methods_names_and_display_names() -> None:
    message = request("esc02")
    assert message.method == "RE%47IST%45R"
    assert message.to.display == "%Z%45"
    assert len(message.contacts) == 2
    assert message.values("c%6fntact") == ["<sip:alias2@host2.example.com>"]
    assert message.via.branch == "z9hG4bK209%fzsnel234"


def test_lwsdisp_needs_no_blank_before_the_angle_bracket() -> None:
    assert request("lwsdisp").from_.display == "caller"


def test_longreq_keeps_long_values_and_34_vias() -> None:
    message = request("longreq")
    assert len(message.vias) == 34
    assert message.call_id.endswith("longcallid")
    assert message.to.uri.port == 6000
    assert len(message.body) == 150


def test_dblreq_ignores_what_follows_the_body() -> None:
    message = request("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")
    wire = message.to_bytes()
    assert RFC_4475["dblreq"].startswith(wire)
    assert b"INVITE" not in wire


def test_semiuri_semicolons_before_the_at_sign_belong_to_the_user() -> None:
    uri = request("semiuri").request_uri
    assert (uri.user, uri.unescaped_user, uri.params) == (
        "user;par=u%40example.net", "user;par=u@example.net", (),
    )  # fmt: skip


def test_transports_known_and_unknown_are_accepted() -> None:
    transports = [via.transport for via in request("transports").vias]
    assert transports == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_has_a_binary_body() -> None:
    message = request("mpart01")
    assert len(message.body) == 553
    assert message.body.count(b"--7a9cbec02ceef655") == 3
    assert b"\x30\x82\x01\x52" in message.body


def test_unreason_and_noreason_have_any_reason_or_none() -> None:
    unreason, noreason = parsed("unreason"), parsed("noreason")
    assert isinstance(unreason, Response)
    assert isinstance(noreason, Response)
    assert unreason.reason.startswith("= 2**3 * 5**2 но сто девяносто девять")
    assert (noreason.status, noreason.reason) == (100, "")


def test_clerr_names_the_body_that_is_not_there() -> None:
    assert "Content-Length" in fault("clerr").reason


def test_badvers_is_told_apart_from_a_broken_line() -> None:
    caught = fault("badvers")
    assert isinstance(caught, MalformedRequest)
    assert caught.request.method == "OPTIONS"


def test_regbadct_is_seen_when_the_contacts_are_read() -> None:
    with pytest.raises(BadMessage):
        _ = request("regbadct").contacts


def test_regescrt_and_cparam_keep_what_belongs_to_the_uri() -> None:
    assert request("regescrt").contacts[0].uri.headers == "?Route=%3Csip:sip.example.com%3E"
    assert request("cparam01").contacts[0].params == (("unknownparam", None),)
    assert request("cparam02").contacts[0].uri.params == (("unknownparam", None),)


def test_baddn_with_its_last_line_is_refused_for_the_display_name() -> None:
    """The RFC's archive lacks the empty line that ends the headers, which is a fault, too."""
    message = parse_message(RFC_4475["baddn"] + b"\r\n")
    with pytest.raises(BadMessage, match="address"):
        message.check()


def test_unknown_schemes_are_opaque() -> None:
    assert request("unkscm").request_uri == Uri(
        "nobodyknowsthisscheme", opaque="totallyopaquecontent"
    )
    assert request("novelsc").request_uri.scheme == "soap.beep"
    message = request("unksm2")
    assert [message.to.uri.scheme, message.from_.uri.scheme] == ["isbn", "http"]
    assert not message.contacts[0].uri.is_sip


def test_bext01_lists_its_extensions() -> None:
    message = request("bext01")
    assert message.tokens("require") == {"nothingsupportsthis", "nothingsupportsthiseither"}
    assert message.tokens("proxy-require") == {
        "noproxiessupportthis", "nordoanyproxiessupportthis",
    }  # fmt: skip


def test_regaut01_has_a_scheme_that_we_do_not_know() -> None:
    value = request("regaut01").first("authorization")
    with pytest.raises(BadMessage):
        Credentials.parse(value or "")


def test_badbranch_is_a_branch_without_identifier() -> None:
    assert request("badbranch").via.branch == "z9hG4bK"


def test_zeromf_has_no_hops_left() -> None:
    assert request("zeromf").max_forwards == 0


def test_inv2543_gets_the_content_length_that_it_lacks() -> None:
    message = request("inv2543")
    assert (message.via.branch, message.from_.tag) == ("", None)
    head, _, body = RFC_4475["inv2543"].partition(b"\r\n\r\n")
    expected = b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
    assert message.to_bytes() == expected


def test_verdicts_are_judged() -> None:
    assert acceptable("wsinv", 404)
    assert not acceptable("wsinv", 400)
    assert not acceptable("wsinv", 500)
    assert not acceptable("wsinv", None)
    assert acceptable("bigcode", None)
    assert not acceptable("bigcode", 200)
    assert acceptable("badvers", 505)
    assert acceptable("mismatch02", 501)
    assert set(ALSO) <= set(EXPECTED)
    assert {v for v in EXPECTED.values() if isinstance(v, str)} == {OK, DROP}
