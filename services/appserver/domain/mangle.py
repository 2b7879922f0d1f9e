"""Private addresses in session descriptions, replaced by the one that the message came from.

A phone behind a NAT that does not know its public address offers to take sound at one that nobody
outside can reach. Most ends send their sound back to where it comes from, which cures it; for
those that do not, the address at least is put right (ORIGINAL §1.1). The port is the phone's own:
few NATs keep it, so this is a help and not a cure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

_PRIVATE: Final = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598, between a provider's NAT and its customers
        "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128",
    )
)  # fmt: skip
"""Addresses that mean nothing elsewhere. 0.0.0.0 is not among them: it says "hold"."""

# connection = "c=" nettype SP addrtype SP address
# origin = "o=" username SP sess-id SP sess-version SP nettype SP addrtype SP address
_ADDRESS_RE: Final = re.compile(
    rb"^((?:c=|o=[^ \r\n]+ [^ \r\n]+ [^ \r\n]+ )IN IP[46] )([0-9A-Fa-f:.]+)", re.MULTILINE
)


def public(body: bytes, host: str) -> bytes:
    """The session description with `host` in place of private addresses of its kind in c= and o=
    lines. What is none comes back as it is."""
    if body[:3] != b"v=0":
        return body
    there = _address(host)
    if there is None:
        return body

    def replaced(match: re.Match[bytes]) -> bytes:
        found = _address(match[2].decode())
        if found is None or found.version != there.version or not _is_private(found):
            return match[0]
        return match[1] + host.encode()

    return _ADDRESS_RE.sub(replaced, body)


def sdp_hosts(caller: str, callee: str) -> tuple[str, str]:
    """What private addresses of the caller, and of the callee, are to be replaced by, "" for not at
    all. Both are as `udp:203.0.113.7:5060`. Two ends behind one NAT reach each other best by the
    addresses that they have there, and an end that we see by a private address is near us."""
    hosts = (_host(caller), _host(callee))
    if hosts[0] == hosts[1]:
        return "", ""
    return _if_public(hosts[0]), _if_public(hosts[1])


def _host(text: str) -> str:
    return text.partition(":")[2].rpartition(":")[0].strip("[]")


def _if_public(host: str) -> str:
    address = _address(host)
    return host if address is not None and not _is_private(address) else ""


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE)


@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
