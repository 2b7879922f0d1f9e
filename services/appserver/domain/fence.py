"""Where nobody is called, whatever customers write: private networks, hosts that the operator
bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

ALLOW: Final = "allow"
DENY: Final = "deny"
PRIVATE: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
        "::/127", "64:ff9b:1::/48", "fc00::/7", "fe80::/9", "ff00::/8",
    )
)  # fmt: skip
"""This network, one's own, the carrier's, the link, loopback, and no one host (RFC 6890)."""
NAT64: Final = IPv6Network("64:ff9b::/96")
REMEMBERED: Final = 10_000
"""Addresses that are judged once."""


class Fence:
    """`private`: `allow`, `deny`, or the networks that are open though they are private; `barred`:
    a regular expression that names hosts of no one's calls. Raises ValueError."""

    def __init__(self, private: Sequence[str] = (DENY,), barred: str = "") -> None:
        words = set(private) & {ALLOW, DENY}
        if words and len(private) > 1:
            raise ValueError(f"{words.pop()} stands alone, or networks do")
        self._open = ALLOW in private
        self._networks = () if words else tuple(ip_network(each, strict=False) for each in private)
        try:
            self._barred = re.compile(barred, re.IGNORECASE) if barred else None
        except re.error as error:
            raise ValueError(f"{barred!r} is no regular expression: {error}") from None
        self._judged = lru_cache(REMEMBERED)(self._judge)

    def bars(self, host: str) -> bool:
        """Whether the operator wants nobody to be called at this host, be its name written with the
        dot of DNS's root at its end or without."""
        return self._barred is not None and self._barred.search(host.rstrip(".")) is not None

    def admits(self, address: str) -> bool:
        """Whether an IP address, without brackets, may be called."""
        return self._open or self._judged(address)

    def _judge(self, text: str) -> bool:
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return False
        return all(
            any(each in network for network in self._networks)
            or not any(each in network for network in PRIVATE)
            for each in _meant(address)
        )


def _meant(address: IPv4Address | IPv6Address) -> tuple[IPv4Address | IPv6Address, ...]:
    """An address, and the IPv4 address that it stands for or holds."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:  # just another way to write it
        return (address.ipv4_mapped,)
    inner = IPv4Address(int(address) & 0xFFFFFFFF) if address in NAT64 else address.sixtofour
    return (address,) if inner is None else (address, inner)
