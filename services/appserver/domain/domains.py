"""Which hosts are ours: serviced domains, their aliases, and our own addresses."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from tandem.rpc.directory import Domain

LOCAL: Final = "local"
"""What stands for the default domain in every dial string, unless a domain is called so."""


class Domains:
    """The serviced domains. `fallback` are those of the configuration, which serve even when
    provisioning has never answered; `local_hosts` stand for the default domain."""

    def __init__(self, fallback: Iterable[str] = (), local_hosts: Iterable[str] = ()) -> None:
        self._fallback = tuple(name.lower() for name in fallback)
        self._hosts = [_split(host) for host in local_hosts]
        self._names: dict[str, str] = {}
        self._local: dict[tuple[str, int | None], str] = {}
        self.load(())

    def listen_at(self, hosts: Iterable[str]) -> None:
        """Our own addresses, now that their ports are known."""
        self._hosts = [_split(host) for host in hosts]
        self._place()

    def load(self, domains: Iterable[Domain]) -> None:
        """Take over what provisioning says, the default domain first."""
        names: dict[str, str] = {}
        for domain in domains:
            for name in (domain.name, *domain.aliases):
                names.setdefault(_canonical(name), domain.name.lower())
        for name in self._fallback:
            names.setdefault(name, name)
        self._names = names
        default = next(iter(names.values()), None)
        if default:
            names.setdefault(LOCAL, default)
        self._place()

    def _place(self) -> None:
        default = self.default
        self._local = dict.fromkeys(self._hosts, default) if default else {}

    @property
    def default(self) -> str | None:
        """The domain that our own addresses stand for."""
        return next(iter(self._names.values()), None)

    def serviced(self, host: str, port: int | None = None) -> str | None:
        """The canonical domain of `host` (as a URI has it), None if it is not ours.

        A name is ours whatever the port. An address that was listed with a port is ours with that
        port or none: another program of the same machine is not us.
        """
        found = self._names.get(host)
        if found is None:
            name = _canonical(host)
            found = self._names.get(name) or self._local.get((name, None))
            if found is None:
                found = self._local_with_port(name, port)
        return found

    def _local_with_port(self, name: str, port: int | None) -> str | None:
        if port is not None:
            return self._local.get((name, port))
        return next((d for (host, _), d in self._local.items() if host == name), None)


def _canonical(host: str) -> str:
    name = host.lower().rstrip(".")
    if name[:1] == "[":
        try:
            return str(ip_address(name.strip("[]")))
        except ValueError:
            return name
    return name


def _split(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address."""
    text = text.lower()
    if text.count(":") > 1 and text[:1] != "[":
        return str(ip_address(text)), None
    host, colon, port = text.rpartition(":")
    if colon and port.isdecimal():
        return _canonical(host), int(port)
    return _canonical(text), None
