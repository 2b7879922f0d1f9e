"""RFC 3263's steps, driven with answers from a table."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from tandem.sip.uri import Uri
from tandem.siptransport.locate import (
    MAX_HOPS,
    Answer,
    Hop,
    Kind,
    Naptr,
    Policy,
    Question,
    Record,
    ResolveError,
    Srv,
    in_srv_order,
    locate,
    numeric,
)

Table = Mapping[tuple[str, Kind], tuple[Record, ...] | str]


def run(uri: str, table: Table, policy: Policy | None = None) -> tuple[list[Hop], list[Question]]:
    """Drive the steps; a text in the table is a failure. Gives the hops and what was asked."""
    steps = locate(Uri.parse(uri), policy or Policy(), random.Random(1))
    asked: list[Question] = []
    try:
        questions = next(steps)
        while True:
            asked += questions
            questions = steps.send([answer(table, question) for question in questions])
    except StopIteration as done:
        return done.value, asked


def answer(table: Table, question: Question) -> Answer:
    found = table.get((question.name, question.kind), ())
    return Answer(failure=found) if isinstance(found, str) else Answer(found)


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:bob@192.0.2.1", Hop("udp", "192.0.2.1", 5060)),
        ("sip:192.0.2.1:5070;transport=tcp", Hop("tcp", "192.0.2.1", 5070)),
        ("sip:192.0.2.1;transport=tls", Hop("tls", "192.0.2.1", 5061)),
        ("sips:192.0.2.1", Hop("tls", "192.0.2.1", 5061)),
        ("sips:192.0.2.1:5071;transport=tcp", Hop("tls", "192.0.2.1", 5071)),
        ("sip:[2001:DB8::1]", Hop("udp", "2001:db8::1", 5060)),
        ("sip:192.0.2.1;transport=ws", Hop("ws", "192.0.2.1", 80)),
        ("sips:192.0.2.1;transport=ws", Hop("wss", "192.0.2.1", 443)),
        ("sip:example.com;maddr=[::1]", Hop("udp", "::1", 5060)),
        (
            "sips:example.com;maddr=192.0.2.9",
            Hop("tls", "192.0.2.9", 5061, "", "example.com"),
        ),
        ("sip:192.0.2.1:0", Hop("udp", "192.0.2.1", 5060)),
    ],
)
def test_a_numeric_host_asks_nothing(uri: str, hop: Hop) -> None:
    assert run(uri, {}) == ([hop], [])


def test_localhost_is_never_asked_of_dns() -> None:
    hops, asked = run("sip:localhost:5080", {})
    assert [(hop.host, hop.port) for hop in hops] == [("127.0.0.1", 5080), ("::1", 5080)]
    assert asked == []


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("tel:+15551234", "tel is no SIP address"),
        ("sip:example.com;transport=sctp", "transport sctp is not supported"),
        ("sips:example.com;transport=udp", "a sips address cannot be reached over udp"),
    ],
)
def test_what_cannot_be_reached_says_why(uri: str, text: str) -> None:
    with pytest.raises(ResolveError, match=text):
        run(uri, {})


def test_naptr_records_of_unknown_use_are_passed_over() -> None:
    table: Table = {
        ("example.com", Kind.NAPTR): (
            Naptr(1, 1, "u", "SIP+D2U", "wrong.example.com"),
            Naptr(1, 2, "s", "SIP+D2S", "_sip._sctp.example.com"),
            Naptr(1, 3, "S", "sip+d2t", "servers.example.com"),
        ),
        ("servers.example.com", Kind.SRV): (Srv(1, 1, 5070, "a.example.com"),),
        ("a.example.com", Kind.A): ("192.0.2.1",),
    }
    hops, asked = run("sip:example.com", table)
    assert hops == [Hop("tcp", "192.0.2.1", 5070, "example.com")]
    assert [question.kind for question in asked] == [Kind.NAPTR, Kind.SRV, Kind.A, Kind.AAAA]


def test_a_naptr_that_dns_fails_to_answer_does_not_stop_the_rest() -> None:
    table: Table = {
        ("example.com", Kind.NAPTR): "DNS answers with an error",
        ("_sip._udp.example.com", Kind.SRV): "DNS answers with an error",
        ("example.com", Kind.A): ("192.0.2.1",),
    }
    assert run("sip:example.com", table)[0] == [Hop("udp", "192.0.2.1", 5060, "example.com")]


def test_a_failure_is_told_only_when_nothing_was_found() -> None:
    table: Table = {
        ("example.com", Kind.A): ("192.0.2.1",),
        ("example.com", Kind.AAAA): "DNS does not answer",
    }
    assert len(run("sip:example.com:5060", table)[0]) == 1
    with pytest.raises(ResolveError, match="cannot be looked up: DNS does not answer"):
        run("sip:example.net:5060", {("example.net", Kind.A): "DNS does not answer"})


def test_transports_and_families_are_used_in_the_order_of_the_policy() -> None:
    policy = Policy(transports=("tls", "udp"), families=(Kind.AAAA, Kind.A))
    table: Table = {
        (f"_sip._{name}.example.com", Kind.SRV): (Srv(1, 1, 5060, "a.example.com"),)
        for name in ("udp", "tcp")
    }
    table = {
        **table,
        ("_sips._tcp.example.com", Kind.SRV): (Srv(1, 1, 5061, "a.example.com"),),
        ("a.example.com", Kind.A): ("192.0.2.1",),
        ("a.example.com", Kind.AAAA): ("2001:db8::1",),
    }
    hops, _ = run("sip:example.com", table, policy)
    assert [(hop.transport, hop.host) for hop in hops] == [
        ("tls", "2001:db8::1"),
        ("tls", "192.0.2.1"),
        ("udp", "2001:db8::1"),
        ("udp", "192.0.2.1"),
    ]
    assert hops[0].server_name == "example.com"
    assert hops[2].server_name is None


def test_an_srv_target_that_is_an_address_is_taken_as_one() -> None:
    table: Table = {("_sip._udp.example.com", Kind.SRV): (Srv(1, 1, 5070, "192.0.2.7"),)}
    hops, _ = run("sip:example.com;transport=udp", table)
    assert [(hop.host, hop.port) for hop in hops] == [("192.0.2.7", 5070)]


def test_hops_are_bounded_and_none_comes_twice() -> None:
    addresses = tuple(f"198.51.100.{n}" for n in range(200))
    table: Table = {("example.com", Kind.A): addresses + addresses}
    hops, _ = run("sip:example.com:5060", table)
    assert [hop.host for hop in hops] == list(addresses[:MAX_HOPS])


def test_srv_records_without_weight_are_seldom_first_and_none_is_lost() -> None:
    records = [Srv(1, 0, 1, "zero"), Srv(1, 60, 2, "heavy"), Srv(1, 40, 3, "light")]
    rng = random.Random(7)
    first = [in_srv_order(records, rng)[0].target for _ in range(2000)]
    assert first.count("zero") < 60
    assert 1050 < first.count("heavy") < 1350
    assert sorted(in_srv_order(records, rng), key=lambda r: r.port) == records
    zeros = [Srv(1, 0, port, "zero") for port in range(3)]
    assert len(in_srv_order(zeros, rng)) == 3


@pytest.mark.parametrize(
    ("host", "address"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:1", "::ffff:1"), ("host1", None), ("1.2.3", None)],
)
def test_numeric_tells_addresses_from_names(host: str, address: str | None) -> None:
    assert numeric(host) == address
