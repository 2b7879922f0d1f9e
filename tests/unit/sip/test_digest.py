"""Digest: the examples of RFC 7616 §3.9.1 and RFC 2617 §3.5, and what phones send."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.digest import ALGORITHMS, Challenge, Credentials, answer, choose, ha1, verify
from tandem.sip.errors import BadMessage, LocalFault, RemoteFault

RFC_7616 = (
    'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", '
    'algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, '
    'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="{response}", '
    'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
RFC_7616_RESPONSES = {
    "MD5": "8ca523f5e9506fed4657c9700eebdbec",
    "SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
}
NONCE = "5f2a"


def challenge(
    algorithm: str = "MD5", *, nonce: str = NONCE, qop: str = "auth", opaque: str = ""
) -> Challenge:
    return Challenge("example.com", nonce, algorithm, qop, opaque=opaque)


def respond(to: Challenge, *, password: str = "secret", body: bytes = b"", nc: int = 1) -> str:
    return answer(
        to, "REGISTER", "sip:a", "alice", password=password, cnonce="0a4f", nc=nc, body=body
    )


@pytest.mark.parametrize("algorithm", RFC_7616_RESPONSES)
def test_the_examples_of_rfc_7616_verify(algorithm: str) -> None:
    value = RFC_7616.format(algorithm=algorithm, response=RFC_7616_RESPONSES[algorithm])
    secret = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
    assert verify(Credentials.parse(value), secret, "GET")
    assert not verify(Credentials.parse(value), secret, "POST")


def test_the_example_of_rfc_2617_verifies() -> None:
    credentials = Credentials.parse(
        'Digest username="Mufasa", realm="testrealm@host.com", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth, '
        'nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    secret = ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
    assert secret == "939e7578ed9e3c518a452acee763bce9"
    assert verify(credentials, secret, "GET")
    assert credentials.algorithm == "MD5"


def test_sha_512_256_is_the_truncated_hash_and_not_the_cut_one() -> None:
    expected = hashlib.new("sha512_256", b"alice:example.com:secret").hexdigest()
    assert ha1("SHA-512-256", "alice", "example.com", "secret") == expected
    assert expected != hashlib.sha512(b"alice:example.com:secret").hexdigest()[:64]


@pytest.mark.parametrize("session", ["", "-sess"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "", "auth-int,auth"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_answered_verifies_and_nothing_else(algorithm: str, qop: str, session: str) -> None:
    credentials = Credentials.parse(respond(challenge(algorithm + session, qop=qop), body=b"b"))
    secret = ha1(algorithm, "alice", "example.com", "secret")
    assert verify(credentials, secret, "REGISTER", b"b")
    assert not verify(credentials, ha1(algorithm, "alice", "example.com", "?"), "REGISTER", b"b")
    assert not verify(credentials, secret, "INVITE", b"b")
    assert not verify(replace(credentials, uri="sip:b"), secret, "REGISTER", b"b")
    assert not verify(replace(credentials, nonce="other"), secret, "REGISTER", b"b")
    assert verify(credentials, secret, "REGISTER", b"c") == (credentials.qop != "auth-int")


def test_an_answer_from_a_kept_hash_equals_the_one_from_the_password() -> None:
    kept = ha1("MD5", "alice", "example.com", "secret")
    value = answer(challenge(), "REGISTER", "sip:a", "alice", ha1=kept, cnonce="0a4f")
    assert value == respond(challenge())


def test_credentials_of_a_client_without_qop_count_once() -> None:
    credentials = Credentials.parse(respond(challenge(qop="")))
    assert (credentials.qop, credentials.nc, credentials.cnonce) == ("", "", "")
    assert credentials.count == 1


def test_the_nonce_count_is_hexadecimal() -> None:
    value = respond(challenge(), nc=0x1F)
    assert "nc=0000001f" in value
    assert Credentials.parse(value).count == 31


def test_order_blanks_case_and_missing_quotes_do_not_matter() -> None:
    credentials = Credentials.parse(
        'dIGEST   RESPONSE = "ABCD" ,nc=1,QOP="Auth",realm=example.com ,, '
        'Uri="sip:a,b",username="o\\"neil" , nonce=x/y+z==,Algorithm="sha-256", x-new=1'
    )
    assert credentials == Credentials(
        'o"neil', "example.com", "x/y+z==", "sip:a,b", "abcd", "SHA-256", "", "auth", "1", ""
    )


def test_a_utf_8_user_name_may_come_extended() -> None:
    credentials = Credentials.parse(
        "Digest username*=UTF-8''J%C3%A4s%C3%B8n, realm=r, nonce=n, uri=u, response=0"
    )
    assert credentials.username == "Jäsøn"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic dXNlcjpwYXNz",
        "Digest",
        "Digest ",
        'Digest username="a", realm="r", nonce="n", uri="u"',
        'Digest username="a", realm="r", nonce="n", response="0"',
        'Digest username="a", realm="r", uri="u", response="0"',
        'Digest username="a", nonce="n", uri="u", response="0"',
        'Digest realm="r", nonce="n", uri="u", response="0"',
        'Digest username*=latin1\'\'a, realm="r", nonce="n", uri="u", response="0"',
        'Digest username="a", username="b", realm="r", nonce="n", uri="u", response="0"',
        'Digest username="a", realm="r", nonce="n", uri="u", response="0", nc=123456789',
        'Digest username="a", realm="r", nonce="n", uri="u", response="0", nc=xyz',
        'Digest username="a", realm="r", nonce="n", uri="u", response="0", lonely',
        'Digest username="a, realm="r", nonce="n", uri="u", response="0"',
    ],
)
def test_malformed_credentials_are_refused(value: str) -> None:
    with pytest.raises(BadMessage):
        Credentials.parse(value)


def test_an_unknown_algorithm_or_qop_never_verifies() -> None:
    credentials = Credentials.parse(respond(challenge()))
    secret = ha1("MD5", "alice", "example.com", "secret")
    assert not verify(replace(credentials, algorithm="SHA-1"), secret, "REGISTER")
    assert not verify(replace(credentials, qop="auth-conf"), secret, "REGISTER")
    assert not verify(replace(credentials, response="ü"), secret, "REGISTER")


def test_a_challenge_and_its_text_are_inverse() -> None:
    for opaque, qop in (('o"p', "auth"), ("", ""), ("", "auth,auth-int")):
        value = challenge("SHA-256", opaque=opaque, qop=qop)
        assert Challenge.parse(str(value)) == value
    stale = replace(challenge(), stale=True)
    assert str(stale).endswith(", stale=true")
    assert Challenge.parse(str(stale).replace("true", "TRUE")) == stale


@pytest.mark.parametrize("value", ["Digest realm=r", "Digest nonce=n", "NTLM", "Digest ="])
def test_malformed_challenges_are_refused(value: str) -> None:
    with pytest.raises(BadMessage):
        Challenge.parse(value)


def test_the_strongest_known_challenge_is_chosen_wherever_it_stands() -> None:
    offered = [challenge(name) for name in ("MD5", "SHA-256", "SHA-512-256")]
    values = [str(one) for one in offered]
    assert choose(values) == choose(reversed(values)) == offered[2]
    assert choose(values[:2]) == offered[1]


def test_of_equal_challenges_the_topmost_is_chosen() -> None:
    first, second = challenge(nonce="1"), challenge(nonce="2")
    assert choose([str(first), str(second)]) == first


def test_challenges_that_nobody_can_answer_are_passed_over() -> None:
    assert choose([]) is None
    unanswerable = [str(challenge("SHA-1")), str(challenge(qop="auth-conf")), "Negotiate", "Digest"]
    assert choose(unanswerable) is None
    assert choose([*unanswerable, str(challenge())]) == challenge()


def test_what_cannot_be_answered_is_the_callers_fault() -> None:
    with pytest.raises(LocalFault):
        respond(challenge("SHA-1"))
    with pytest.raises(LocalFault):
        respond(challenge(qop="auth-conf"))
    with pytest.raises(LocalFault):
        answer(challenge(), "REGISTER", "sip:a", "alice", cnonce="1")
    with pytest.raises(LocalFault):
        ha1("md4", "a", "b", "c")


TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)


@given(username=TEXT, realm=TEXT, nonce=TEXT, uri=TEXT, cnonce=TEXT, opaque=TEXT)
def test_credentials_and_their_text_are_inverse(
    username: str, realm: str, nonce: str, uri: str, cnonce: str, opaque: str
) -> None:
    credentials = Credentials(
        username, realm, nonce, uri, "00ff", "SHA-256-sess", cnonce, "auth", "0000000a", opaque
    )
    assert Credentials.parse(str(credentials)) == credentials


@given(st.text(max_size=60))
def test_no_text_makes_the_parsers_fail_otherwise(text: str) -> None:
    for value in (text, f"Digest {text}"):
        for parse in (Credentials.parse, Challenge.parse):
            try:
                parse(value)
            except RemoteFault:
                continue


def test_a_trailing_comma_does_not_matter() -> None:
    value = respond(challenge())
    assert Credentials.parse(f"{value} , ") == Credentials.parse(value)
