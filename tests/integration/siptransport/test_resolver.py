"""The resolver against a real DNS server."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tandem.sip.uri import Uri
from tandem.siptransport import resolver as module
from tandem.siptransport.resolver import Hop, ResolveError, Resolver
from tests.support.dns import SilentDns, dns_server

ZONE = """
naptr IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.pool
naptr IN NAPTR 10 20 "s" "SIP+D2T" "" _sip._tcp.pool
naptr IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.pool
naptr IN NAPTR 5 10 "s" "E2U+email" "" _smtp._tcp.pool
naptr IN A 192.0.2.99
_sip._udp.pool IN SRV 10 0 5070 one
_sip._tcp.pool IN SRV 10 0 5071 one
_sip._tcp.pool IN SRV 20 0 5072 two
_sips._tcp.pool IN SRV 10 0 5073 one

srvonly IN A 192.0.2.98
_sip._udp.srvonly IN SRV 20 0 5060 two
_sip._udp.srvonly IN SRV 10 0 5080 one
_sips._tcp.srvonly IN SRV 10 0 5061 dual

many IN A 192.0.2.97
closed IN A 192.0.2.96
_sip._udp.closed IN SRV 0 0 0 .
_sip._udp.broken IN SRV 0 0 5060 nowhere

one IN A 192.0.2.1
two IN A 192.0.2.2
dual IN A 192.0.2.3
dual IN AAAA 2001:db8::3
six IN AAAA 2001:db8::6
alias IN CNAME dual
weighted IN A 192.0.2.95
_sip._udp.weighted IN SRV 1 75 5060 one
_sip._udp.weighted IN SRV 1 25 5060 two
""" + "".join(
    f"_sip._udp.many IN SRV {n % 3} 5 {6000 + n} server-with-a-long-name-{n}\n"
    f"server-with-a-long-name-{n} IN A 198.51.100.{n + 1}\n"
    for n in range(25)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with dns_server(tmp_path_factory.mktemp("dns"), "example.test", ZONE) as address:
        yield address


@pytest.fixture
def resolver(server: tuple[str, int]) -> Resolver:
    return Resolver([server], rng=random.Random(1))


async def ways(resolver: Resolver, uri: str) -> list[tuple[str, str, int]]:
    hops = await resolver.resolve(Uri.parse(uri))
    return [(hop.transport, hop.host, hop.port) for hop in hops]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "sip:bob@naptr.example.test",
            [
                ("tls", "192.0.2.1", 5073),
                ("tcp", "192.0.2.1", 5071),
                ("tcp", "192.0.2.2", 5072),
                ("udp", "192.0.2.1", 5070),
            ],
        ),
        ("sips:bob@naptr.example.test", [("tls", "192.0.2.1", 5073)]),
        (
            "sip:bob@srvonly.example.test",
            [
                ("udp", "192.0.2.1", 5080),
                ("udp", "192.0.2.2", 5060),
                ("tls", "192.0.2.3", 5061),
                ("tls", "2001:db8::3", 5061),
            ],
        ),
        (
            "sip:bob@SRVONLY.example.test.;transport=UDP",
            [("udp", "192.0.2.1", 5080), ("udp", "192.0.2.2", 5060)],
        ),
        (
            "sips:srvonly.example.test;transport=tcp",
            [("tls", "192.0.2.3", 5061), ("tls", "2001:db8::3", 5061)],
        ),
        ("sip:srvonly.example.test;transport=tcp", [("tcp", "192.0.2.98", 5060)]),
        ("sip:srvonly.example.test:5090", [("udp", "192.0.2.98", 5090)]),
        ("sip:six.example.test", [("udp", "2001:db8::6", 5060)]),
        ("sip:alias.example.test", [("udp", "192.0.2.3", 5060), ("udp", "2001:db8::3", 5060)]),
        (
            "sips:alias.example.test:5099",
            [("tls", "192.0.2.3", 5099), ("tls", "2001:db8::3", 5099)],
        ),
        ("sip:bob@example.org;maddr=two.example.test", [("udp", "192.0.2.2", 5060)]),
    ],
)
async def test_a_uri_leads_where_rfc_3263_says(
    resolver: Resolver, uri: str, expected: list[tuple[str, str, int]]
) -> None:
    assert resolver.resolve_now(Uri.parse(uri)) is None
    assert await ways(resolver, uri) == expected
    known = resolver.resolve_now(Uri.parse(uri))
    assert known is not None
    assert [(hop.transport, hop.host, hop.port) for hop in known] == expected


async def test_the_certificate_must_be_for_the_domain_of_the_uri(resolver: Resolver) -> None:
    hops = await resolver.resolve(Uri.parse("sips:bob@naptr.example.test"))
    assert hops == [
        Hop("tls", "192.0.2.1", 5073, "naptr.example.test", "naptr.example.test"),
    ]


async def test_more_than_eight_srv_records_come_through_all_in_order(resolver: Resolver) -> None:
    hops = await resolver.resolve(Uri.parse("sip:many.example.test;transport=udp"))
    assert {hop.port for hop in hops} == set(range(6000, 6025))
    priorities = [(hop.port - 6000) % 3 for hop in hops]
    assert priorities == sorted(priorities)


async def test_weights_decide_how_often_a_server_is_first(resolver: Resolver) -> None:
    uri = Uri.parse("sip:weighted.example.test;transport=udp")
    await resolver.resolve(uri)
    first: Counter[str] = Counter()
    for _ in range(2000):
        hops = resolver.resolve_now(uri)
        assert hops is not None
        first[hops[0].host] += 1
    assert 1350 < first["192.0.2.1"] < 1650


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("sip:closed.example.test;transport=udp", "closed.example.test does not offer SIP"),
        ("sip:broken.example.test", "the servers of broken.example.test have no address"),
        ("sip:missing.example.test", "missing.example.test has no address"),
        ("sip:missing.example.test:5060", "missing.example.test has no address"),
        ("sip:other.example.org", "other.example.org cannot be looked up: DNS answers with"),
        (f"sip:{'x' * 64}.example.test", "cannot be looked up: "),
        (f"sip:{'x.' * 200}test", "cannot be looked up: "),
        ("sip:a..b.example.test", "cannot be looked up: "),
    ],
)
async def test_a_uri_that_leads_nowhere_says_why(resolver: Resolver, uri: str, text: str) -> None:
    with pytest.raises(ResolveError, match=text):
        await resolver.resolve(Uri.parse(uri))
    assert await ways(resolver, "sip:one.example.test:5060") == [("udp", "192.0.2.1", 5060)]


async def test_a_dns_server_that_is_away_is_told_so_and_asked_once_for_all_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOOKUP_TIMEOUT", 0.3)
    monkeypatch.setattr(module, "QUERY_TIMEOUT", 0.3)
    loop = asyncio.get_running_loop()
    transport, silent = await loop.create_datagram_endpoint(SilentDns, ("127.0.0.1", 0))
    resolver = Resolver([transport.get_extra_info("sockname")])
    uri = Uri.parse("sip:example.test:5060")
    results = await asyncio.gather(
        *(resolver.resolve(uri) for _ in range(50)), return_exceptions=True
    )
    transport.close()
    assert {str(result) for result in results} == {
        "example.test cannot be looked up: DNS does not answer"
    }
    assert silent.queries == 2  # A and AAAA
    await resolver.close()
