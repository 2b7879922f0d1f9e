"""Which addresses this machine is reached by."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from services.local.config import DEFAULT_DOMAIN, LocalConfig
from tandem.runtime.address import HostPort

# Documentation addresses: connecting a UDP socket sends nothing, it only picks a route.
_PROBES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_WILDCARDS: Final = ("0.0.0.0", "::")
_LOOPBACK: Final = ("127.0.0.1", "::1")


def own_hosts(listeners: Iterable[HostPort]) -> tuple[str, ...]:
    """The addresses and names by which phones may name these listeners, without brackets."""
    hosts: dict[str, None] = {}
    for listener in listeners:
        if listener.host in _WILDCARDS:
            hosts.update(dict.fromkeys(_machine()))
        else:
            hosts[listener.host] = None
    return tuple(hosts)


def with_ports(hosts: Iterable[str], ports: Iterable[int]) -> list[str]:
    """`host:port` of all: what else listens on this machine is somebody else."""
    ports = sorted(ports)
    names = [f"[{host}]" if ":" in host else host for host in hosts]
    return [f"{name}:{port}" for name in names for port in ports]


def reachable(host: str) -> str:
    """The address by which phones in the same network reach a listener on `host`: for a wildcard
    the one of the route outward, a loopback one without network."""
    for wildcard, loopback, (family, probe) in zip(_WILDCARDS, _LOOPBACK, _PROBES, strict=True):
        if host == wildcard:
            return _route_to(family, probe) or loopback
    return host


def contact_host(config: LocalConfig) -> str:
    """What providers are given to call, "" for the default domain. The domain of a switch that was
    given none is in no DNS, so there it is the address that phones are set up with."""
    if config.contact_host or config.domains[:1] != (DEFAULT_DOMAIN,):
        return config.contact_host
    return next((str(HostPort(reachable(s.host), s.port)) for s in config.sip if s.port), "")


def unusable(listeners: Iterable[tuple[str, HostPort]]) -> tuple[str, HostPort] | None:
    """The first of these (option, address) that can't be listened on now, for an explanation."""
    for option, listener in listeners:
        kinds = [socket.SOCK_STREAM, *([socket.SOCK_DGRAM] if option == "sip" else [])]
        if not all(_can_bind(listener, kind) for kind in kinds):
            return option, listener
    return None


def _can_bind(listener: HostPort, kind: socket.SocketKind) -> bool:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    try:
        with socket.socket(family, kind) as probe:
            if kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((listener.host, listener.port))
    except OSError:
        return False
    return True


def _machine() -> list[str]:
    found = ["127.0.0.1", "::1", "localhost", socket.gethostname()]
    found += [host for family, probe in _PROBES if (host := _route_to(family, probe))]
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        infos = []
    return found + [str(info[4][0]).partition("%")[0] for info in infos]


def _route_to(family: socket.AddressFamily, address: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
