"""Answering challenges as a client: RFC 3261 §22.2, RFC 7616 §3.3 (stale), RFC 8760 §2.4."""

from __future__ import annotations

import itertools

import pytest

from tandem.sip.build import response_to
from tandem.sip.digest import Challenge, Credentials, ha1, verify
from tandem.sip.digest_client import MAX_CHAINS, MAX_REALMS, DigestClient
from tandem.sip.message import Request, Response

REALM = "provider.example"


def client(*, realm: str = "") -> DigestClient:
    numbers = itertools.count(1)
    return DigestClient("alice", "secret", lambda: f"cnonce{next(numbers)}", realm=realm)


def request(method: str = "REGISTER", seq: int = 7, body: bytes = b"") -> Request:
    return Request(
        method,
        "sip:provider.example",
        [
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
            "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK0",
            "From: <sip:alice@provider.example>;tag=a",
            "To: <sip:alice@provider.example>",
            "Call-ID: one",
            f"CSeq: {seq} {method}",
        ],
        body,
    )


def refusal(to: Request, *challenges: Challenge, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return response_to(to, status, tag="b", headers=[f"{name}: {c}" for c in challenges])


def ask(nonce: str = "n1", algorithm: str = "MD5", *, realm: str = REALM, qop: str = "auth",
        stale: bool = False) -> Challenge:  # fmt: skip
    return Challenge(realm, nonce, algorithm, qop, stale)


def proven(sent: Request, header: str = "authorization", password: str = "secret") -> Credentials:
    """The credentials of a request, which must be right."""
    (value,) = sent.values(header)
    got = Credentials.parse(value)
    secret = ha1(got.algorithm.removesuffix("-sess"), "alice", got.realm, password)
    assert verify(got, secret, sent.method, sent.body)
    return got


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256", "MD5-sess", "SHA-256-sess"])
@pytest.mark.parametrize("qop", ["auth", "", "auth,auth-int", "auth-int"])
def test_every_algorithm_and_quality_is_answered(algorithm: str, qop: str) -> None:
    first = request(body=b"body")
    again = client().again(first, refusal(first, ask(algorithm=algorithm, qop=qop)))
    assert again is not None
    assert proven(again).algorithm == algorithm


def test_the_request_is_the_same_but_for_its_number() -> None:
    first = request()
    again = client().again(first, refusal(first, ask()))
    assert again is not None
    assert (again.cseq.number, again.cseq.method) == (8, "REGISTER")
    assert again.call_id == first.call_id
    assert again.from_tag == first.from_tag
    assert again.values("via") == []
    assert first.cseq.number == 7


def test_the_number_may_be_given() -> None:
    first = request("BYE")
    again = client().again(first, refusal(first, ask()), 20)
    assert again is not None
    assert again.cseq.number == 20


def test_the_strongest_of_several_is_answered() -> None:
    first = request()
    offered = [ask("m", "MD5"), ask("x", "SHA-1024"), ask("s", "SHA-512-256"), ask("t", "SHA-256")]
    again = client().again(first, refusal(first, *offered))
    assert again is not None
    assert proven(again).nonce == "s"


def test_a_proxys_question_is_answered_to_the_proxy() -> None:
    first = request("INVITE")
    again = client().again(first, refusal(first, ask(), status=407))
    assert again is not None
    assert proven(again, "proxy-authorization").uri == "sip:provider.example"
    assert again.values("authorization") == []


def test_a_proxy_and_then_the_server_behind_it_are_answered() -> None:
    agent, first = client(), request("INVITE")
    second = agent.again(first, refusal(first, ask("p", realm="proxy"), status=407))
    assert second is not None
    third = agent.again(second, refusal(second, ask("s")))
    assert third is not None
    assert proven(third, "proxy-authorization").count == 2
    assert proven(third).nonce == "s"


def test_wrong_credentials_are_not_tried_again() -> None:
    agent, first = client(), request()
    second = agent.again(first, refusal(first, ask("n1")))
    assert second is not None
    assert agent.again(second, refusal(second, ask("n2"))) is None


def test_one_nonce_is_not_answered_twice() -> None:
    agent, first = client(), request()
    second = agent.again(first, refusal(first, ask("n1")))
    assert second is not None
    assert agent.again(second, refusal(second, ask("n1"))) is None


def test_a_stale_nonce_is_replaced_once() -> None:
    agent, first = client(), request()
    second = agent.again(first, refusal(first, ask("n1")))
    assert second is not None
    third = agent.again(second, refusal(second, ask("n2", stale=True)))
    assert third is not None
    assert (proven(third).nonce, third.cseq.number) == ("n2", 9)
    assert agent.again(third, refusal(third, ask("n3", stale=True))) is None


def test_further_requests_have_credentials_with_a_count_that_grows() -> None:
    agent, first = client(), request("INVITE")
    assert agent.lines("INVITE", "sip:x") == []
    again = agent.again(first, refusal(first, ask()))
    assert again is not None
    (line,) = agent.lines("BYE", "sip:x")
    sent = Credentials.parse(line.partition(": ")[2])
    assert (sent.count, sent.nonce, sent.uri) == (2, "n1", "sip:x")
    assert verify(sent, ha1("MD5", "alice", REALM, "secret"), "BYE")


def test_a_further_request_whose_nonce_is_old_is_answered_anew() -> None:
    """Without stale, too: a server that forgot the nonce can't know that it was its own."""
    agent, first = client(), request("INVITE")
    assert agent.again(first, refusal(first, ask("n1")))
    later = request("BYE", 12)
    later.lines += agent.lines("BYE", later.uri)
    again = agent.again(later, refusal(later, ask("n2")))
    assert again is not None
    assert proven(again).nonce == "n2"
    assert agent.again(again, refusal(again, ask("n3"))) is None


def test_an_ack_has_the_credentials_of_its_invite() -> None:
    agent, first = client(), request("INVITE")
    again = agent.again(first, refusal(first, ask()))
    assert again is not None
    assert agent.lines("ACK", "sip:x") == again.raw_lines("authorization")


def test_no_body_is_promised_before_it_is_asked_for() -> None:
    agent, first = client(), request("INVITE", body=b"offer")
    assert agent.again(first, refusal(first, ask(qop="auth-int")))
    assert agent.lines("BYE", "sip:x") == []


def test_only_the_named_realm_is_answered() -> None:
    agent, first = client(realm=REALM), request()
    assert agent.again(first, refusal(first, ask(realm="elsewhere"))) is None
    again = agent.again(first, refusal(first, ask("e", "SHA-256", realm="elsewhere"), ask()))
    assert again is not None
    assert proven(again).realm == REALM


@pytest.mark.parametrize(
    "value", ["Basic realm=x", "Digest", "Digest realm=x", "Digest realm=x, nonce=y, qop=else", ""]
)
def test_what_cannot_be_answered_is_not(value: str) -> None:
    first = request()
    refused = response_to(first, 401, tag="b", headers=[f"WWW-Authenticate: {value}"])
    assert client().again(first, refused) is None


def test_a_refusal_without_a_challenge_is_final() -> None:
    first = request()
    assert client().again(first, refusal(first)) is None


def test_a_server_of_many_realms_costs_little() -> None:
    first = request()
    many = [ask(f"n{n}", realm=f"realm{n}") for n in range(40)]
    again = client().again(first, refusal(first, *many))
    assert again is not None
    assert len(again.values("authorization")) == MAX_REALMS


def test_a_challenge_puts_no_line_into_the_answer() -> None:
    first = request()
    evil = 'Digest realm="a\\\r\n Evil: 1", nonce="n\\"x", opaque="o\\"\\\\"'
    refused = response_to(first, 401, tag="b", headers=[f"WWW-Authenticate: {evil}"])
    again = client().again(first, refused)
    assert again is not None
    assert again.first("evil") is None
    assert all("\r" not in line for line in again.lines)


def test_what_others_wrote_into_the_request_does_not_matter() -> None:
    first = request()
    first.lines.append("Authorization: Digest nonsense")
    first._forget()
    again = client().again(first, refusal(first, ask()))
    assert again is not None
    assert proven(again).nonce == "n1"


def test_what_is_remembered_is_bounded() -> None:
    agent, last = client(), None
    for number in range(MAX_CHAINS + 2):
        first = request("INFO", 100 * number + 1)
        asked = ask(f"n{number}", realm=f"realm{number % 6}")
        last = agent.again(first, refusal(first, asked))
        assert last is not None
    assert last is not None
    assert len(last.values("authorization")) == MAX_REALMS


def test_two_realms_that_ask_one_after_the_other_are_told_apart() -> None:
    agent, first = client(), request("INVITE")
    second = agent.again(first, refusal(first, ask("a", realm="one")))
    assert second is not None
    third = agent.again(second, refusal(second, ask("b", realm="two")))
    assert third is not None
    assert [Credentials.parse(v).realm for v in third.values("authorization")] == ["one", "two"]
    assert agent.again(third, refusal(third, ask("b", realm="two"))) is None
