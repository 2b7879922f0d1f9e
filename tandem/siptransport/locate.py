"""From a URI to the addresses to try, as RFC 3263 §4 says, without any I/O.

    NAPTR ──► SRV ──► A, AAAA         nothing fixed: §4.1, what the domain prefers
              SRV ──► A, AAAA         a transport without a port
                      A, AAAA         a port
                                      a numeric host: nothing is asked

`locate` is a generator: it yields questions, is sent their answers, and returns hops. So a cache
alone can drive it, or a cache with DNS behind it.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tandem.sip.uri import Uri

MAX_HOPS: Final = 32
"""Addresses that one URI may lead to: trying more than that would outlive every transaction."""

MAX_TARGETS: Final = 64
"""SRV records of one name that are looked at."""

PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}
"""RFC 3261 §19.1.2, RFC 7118 §5.2.2."""

_SECURED: Final = {"tcp": "tls", "tls": "tls", "ws": "wss", "wss": "wss"}

# RFC 3263 §4.1 and §5, RFC 7118 §6: NAPTR's service and SRV's prefix
_SERVICES: Final = {
    "SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls", "SIP+D2W": "ws", "SIPS+D2W": "wss",
}  # fmt: skip
_SRV: Final = {
    "udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp.",
    "ws": "_sip._ws.", "wss": "_sips._ws.",
}  # fmt: skip


class ResolveError(Exception):
    """The URI leads nowhere; the text says why, fit for a user's eyes."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where to send: RFC 3261 §16.6 step 7's transport, address and port."""

    transport: str
    """'udp', 'tcp', 'tls', 'ws' or 'wss'."""
    host: str
    """An IP address without brackets."""
    port: int
    name: str = ""
    """The host name that led here; empty for a numeric host."""
    server_name: str | None = None
    """What a TLS certificate must be for (RFC 5922 §4: the URI's domain, whatever DNS says);
    None without TLS, and for a numeric host."""


class Kind(Enum):
    """Types of DNS records."""

    NAPTR = "NAPTR"
    SRV = "SRV"
    A = "A"
    AAAA = "AAAA"


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask DNS. The name is in lower case and without the last dot."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record: RFC 3403 §4.1."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str
    regexp: str = ""


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record: RFC 2782. A target of '' says that the service is not offered."""

    priority: int
    weight: int
    port: int
    target: str


Record = Naptr | Srv | str
"""An address record is its address."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says: records, none, or why we do not know."""

    records: tuple[Record, ...] = ()
    failure: str = ""
    """Not empty: DNS gave no usable answer."""


Steps = Generator[Sequence[Question], Sequence[Answer], list[Hop]]


@dataclass(frozen=True, slots=True)
class Policy:
    """What this node can use."""

    transports: tuple[str, ...] = ("udp", "tcp", "tls")
    """Transports to find when the URI names none, the most wanted first."""
    families: tuple[Kind, ...] = (Kind.A, Kind.AAAA)
    """Address families that there is a route for, the most wanted first."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A transport, and the SRV name that has its servers."""

    transport: str
    srv: str


def locate(uri: Uri, policy: Policy, rng: random.Random) -> Steps:
    """Steps to the hops of `uri`, best first, at least one. Raises ResolveError."""
    if not uri.is_sip:
        raise ResolveError(f"{uri.scheme} is no SIP address")
    transport = _transport(uri)
    host = (uri.param("maddr") or uri.host).strip("[]").rstrip(".").lower()
    address = numeric(host)
    if address is not None:
        return [_hop(uri, transport or _default(uri), address, uri.port, "")]
    if host == "localhost":  # RFC 6761 §6.3: never asked of DNS
        chosen = transport or _default(uri)
        return [_hop(uri, chosen, ip, uri.port, host) for ip in ("127.0.0.1", "::1")]
    hops: list[Hop] = []
    if uri.port is None:
        ways = yield from _ways(uri, host, transport, policy)
        hops = yield from _by_srv(uri, host, ways, policy, rng)
    if not hops:
        chosen = transport or _default(uri)
        hops = yield from _by_address(uri, host, [(chosen, host, uri.port)], policy)
    if not hops:
        raise ResolveError(f"{host} has no address")
    return hops[:MAX_HOPS]


def numeric(host: str) -> str | None:
    """The address in its usual spelling if `host` (without brackets) is one, else None."""
    if not (host[-1:].isdigit() or ":" in host):
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _transport(uri: Uri) -> str | None:
    asked = uri.transport
    if asked is None:
        return None
    if asked not in PORTS:
        raise ResolveError(f"transport {asked} is not supported")
    if uri.scheme == "sip":
        return asked
    # "a SIPS URI ... MUST be TLS" (RFC 3263 §4.1)
    if asked not in _SECURED:
        raise ResolveError(f"a sips address cannot be reached over {asked}")
    return _SECURED[asked]


def _default(uri: Uri) -> str:
    # "if the TARGET is numeric ... the client SHOULD use UDP for a SIP URI, and TCP [TLS] for a
    #  SIPS URI"; the same without any SRV record
    return "udp" if uri.scheme == "sip" else "tls"


def _hop(uri: Uri, transport: str, address: str, port: int | None, name: str) -> Hop:
    domain = uri.host.strip("[]").rstrip(".").lower()
    secure = transport in ("tls", "wss") and numeric(domain) is None
    server_name = domain if secure else None
    return Hop(transport, address, port or PORTS[transport], name, server_name)


def _ways(
    uri: Uri, host: str, transport: str | None, policy: Policy
) -> Generator[Sequence[Question], Sequence[Answer], list[_Way]]:
    if transport is not None:
        return [_Way(transport, _SRV[transport] + host)]
    wanted = [t for t in policy.transports if uri.scheme == "sip" or t in ("tls", "wss")]
    (answer,) = yield [Question(host, Kind.NAPTR)]
    records = sorted(
        (r for r in answer.records if isinstance(r, Naptr) and r.flags.lower() == "s"),
        key=lambda record: (record.order, record.preference),
    )
    found = [(_SERVICES.get(r.service.upper()), r.replacement) for r in records]
    ways = [_Way(t, name) for t, name in found if t is not None and t in wanted and name]
    # "If no NAPTR records are found, the client constructs SRV queries for those transport
    #  protocols it supports" (§4.1)
    return ways or [_Way(t, _SRV[t] + host) for t in wanted]


def _by_srv(uri: Uri, host: str, ways: list[_Way], policy: Policy, rng: random.Random) -> Steps:
    answers = yield [Question(way.srv, Kind.SRV) for way in ways]
    targets: list[tuple[str, str, int | None]] = []
    refused = False
    for way, answer in zip(ways, answers, strict=True):
        records = [record for record in answer.records if isinstance(record, Srv)]
        refused = refused or any(not record.target for record in records)
        offered = [record for record in records if record.target and record.port]
        targets += [(way.transport, r.target, r.port) for r in in_srv_order(offered, rng)]
    if not targets:
        if refused:  # "a Target of '.' means that the service is decidedly not available"
            raise ResolveError(f"{host} does not offer SIP")
        return []
    hops = yield from _by_address(uri, host, targets[:MAX_TARGETS], policy)
    if not hops:
        raise ResolveError(f"the servers of {host} have no address")
    return hops


def in_srv_order(records: Sequence[Srv], rng: random.Random) -> list[Srv]:
    """RFC 2782: by priority; among equals, drawn at random in proportion to their weights."""
    ordered: list[Srv] = []
    for priority in sorted({record.priority for record in records}):
        # "arrange all SRV RRs ... in any order, except that all those with weight 0 are placed
        #  at the beginning of the list"
        left = sorted((r for r in records if r.priority == priority), key=lambda r: r.weight)
        while left:
            ordered.append(left.pop(_draw(left, rng)))
    return ordered


def _draw(records: Sequence[Srv], rng: random.Random) -> int:
    chosen = rng.randint(0, sum(record.weight for record in records))
    for at, record in enumerate(records):
        chosen -= record.weight
        if chosen <= 0:
            return at
    raise AssertionError("the running sum reaches the sum")


def _by_address(
    uri: Uri, host: str, targets: Sequence[tuple[str, str, int | None]], policy: Policy
) -> Steps:
    names = list(dict.fromkeys(target for _, target, _ in targets if numeric(target) is None))
    questions = [Question(name.lower(), kind) for name in names for kind in policy.families]
    answers = (yield questions) if questions else ()
    known = dict(zip(questions, answers, strict=True))
    hops: list[Hop] = []
    for transport, target, port in targets:
        literal = numeric(target)  # forbidden by RFC 2782, and seen in the wild
        found: list[Record] = [literal] if literal else []
        for kind in policy.families if not literal else ():
            found += known[Question(target.lower(), kind)].records
        hops += [_hop(uri, transport, a, port, host) for a in found if isinstance(a, str)]
    failures = [answer.failure for answer in answers if answer.failure]
    if failures and not hops:
        raise ResolveError(f"{host} cannot be looked up: {failures[0]}")
    return list(dict.fromkeys(hops))
