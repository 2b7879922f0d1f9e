"""Who may speak on the link: addresses of the internal network, and proxies that announced
themselves over the broker, which only nodes of the cluster can."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tandem.runtime.address import HostPort


class Admission:
    """Called with the `host:port` of a sender that is not known yet. With no networks: loopback
    and private addresses, so that a proxy is heard before anybody announced it."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(text, strict=False) for text in networks)
        self._announced: set[str] = set()

    def announced(self, address: str) -> None:
        """A proxy of the cluster has this link address."""
        self._announced.add(address)

    def left(self, address: str) -> bool:
        """It has it no more: somebody else may have it soon. Returns whether that is news."""
        news = address in self._announced
        self._announced.discard(address)
        return news

    def __call__(self, sender: str) -> bool:
        """Whether its messages are taken."""
        if sender in self._announced:
            return True
        try:
            address: IPv4Address | IPv6Address = ip_address(HostPort.parse(sender).host)
        except ValueError:
            return False
        if self._networks:
            return any(address in network for network in self._networks)
        return address.is_private
