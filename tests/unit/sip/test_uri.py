"""URIs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri


@pytest.mark.parametrize(
    "text",
    [
        "sip:example.com",
        "sips:alice@example.com:5061;transport=tls;lr",
        "sip:alice:secret@[2001:db8::1]:5060;a=;b?subject=x&to=y",
        "sip:+1-650;phone-context=x@gw.example.com;user=phone",
        "sip:@example.com",
        "tel:+15551234",
        "urn:service:sos",
        "sip:a_b@under_score.example",
    ],
)
def test_parsing_and_text_are_inverse(text: str) -> None:
    assert str(Uri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "sip:", "example.com", "sip:a@", "sip:a@b:99999", "sip:a b@c", "<sip:a@b>", "SIPS:<",
     "tel:", "sip:a@b@c", "sip:2001:db8::1", "1x:y"],
)  # fmt: skip
def test_malformed_uris_are_refused(text: str) -> None:
    with pytest.raises(BadMessage):
        Uri.parse(text)


def test_parameters_are_found_without_case_and_unescaped() -> None:
    uri = Uri.parse("SIP:a@b;Transport=TCP;l%52;x=")
    assert (uri.scheme, uri.transport, uri.param("lr"), uri.param("x")) == ("sip", "tcp", "", "")
    assert uri.param("maddr") is None
    assert Uri.parse("sip:b").transport is None


def test_parameters_are_set_and_taken_away() -> None:
    uri = Uri.parse("sip:a@b;lr;transport=udp;x=1")
    assert str(uri.with_params(transport="tcp", x=None, ob="", reg_id="1")) == (
        "sip:a@b;lr;transport=tcp;ob;reg-id=1"
    )


def test_a_bare_uri_is_an_aor() -> None:
    assert str(Uri.parse("sips:a:p@b:5;c=d?e=f").bare()) == "sips:a@b:5"


def test_escapes_of_any_bytes_are_resolved_in_the_user() -> None:
    assert Uri.parse("sip:J%C3%BCrgen@x").unescaped_user == "Jürgen"
    assert Uri.parse("sip:%ff@x").unescaped_user == "\udcff"
    assert Uri.parse("sip:x").unescaped_user == ""


# RFC 3261 §19.1.4's examples, and one for each rule
@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", True),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", True),
        ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", True),
        ("sip:a@b?subject=x&priority=urgent", "sip:a@b?Priority=urgent&subject=x", True),
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", False),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", False),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", False),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", False),
        ("sip:bob@a", "sips:bob@a", False),
        ("sip:bob@a", "sip:a", False),
        ("sip:bob:1@a", "sip:bob:2@a", False),
        ("tel:1", "tel:1", True),
        ("tel:1", "sip:1@a", False),
    ],
)
def test_equivalence_follows_the_rules(one: str, other: str, equal: bool) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(other)) is equal
    assert Uri.parse(other).equivalent(Uri.parse(one)) is equal


@given(st.text(alphabet='sip:a@[]1.;=?&%<> ,"', max_size=40) | st.text(max_size=40))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    for value in (text, f"sip:{text}", f"sip:a@b{text}"):
        try:
            uri = Uri.parse(value)
        except BadMessage:
            continue
        assert Uri.parse(str(uri)) == uri
        assert uri.equivalent(uri)
