"""The proxy's settings: one frozen dataclass, read from the environment once."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tandem.runtime.address import HostPort
from tandem.runtime.config import load, setting

ANY_LOOPBACK_PORT: Final = HostPort("127.0.0.1", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """Every setting of a proxy; the variable of `node_id` is TANDEM_NODE_ID, and so on."""

    node_id: str = "proxy1"
    """Unique among all nodes."""
    sip_listen: tuple[HostPort, ...] = (HostPort("0.0.0.0", 5060),)
    """UDP and TCP, numeric addresses; port 0 takes a free one, the same for both."""
    tls_listen: tuple[HostPort, ...] = ()
    """SIP over TLS; needs TANDEM_TLS_CERT and TANDEM_TLS_KEY."""
    ws_listen: tuple[HostPort, ...] = ()
    """SIP over WebSocket."""
    wss_listen: tuple[HostPort, ...] = ()
    """SIP over secure WebSocket; needs TANDEM_TLS_CERT and TANDEM_TLS_KEY."""
    tls_cert: Path | None = None
    """PEM file of the certificate chain."""
    tls_key: Path | None = None
    """PEM file of its key."""
    internal_listen: HostPort = ANY_LOOPBACK_PORT
    """UDP towards the appservers. It must never be reachable from outside: what comes here is
    trusted. A numeric address that appservers can reach, not a wildcard."""
    public_address: str = ""
    """Numeric address that others reach us by, behind a NAT or load balancer; empty: the address
    listened on, or for a wildcard the local one that the route to the other side leaves from."""
    appservers: tuple[str, ...] = ()
    """`udp:HOST:PORT` of each appserver (in one process: the address of its link)."""
    cluster_key: str = ""
    """Shared by all proxies: tokens that one signed are trusted by all. Empty: a random one, so
    that tokens die with the process."""
    rate_limit: float = setting(1000.0, minimum=0)
    """Messages per second and source address, bursts of two seconds' worth; 0: no limit. A whole
    office or a busy provider stays under 1,000, and as much from one address costs a proxy a
    hundredth of a core. Loopback is an address like others."""
    domains: tuple[str, ...] = ()
    """Domains that are ours: OPTIONS without a user part there is answered by the proxy."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TANDEM_TLS_CERT and TANDEM_TLS_KEY go together")
        if (self.tls_listen or self.wss_listen) and self.tls_cert is None:
            raise ValueError("TANDEM_TLS_CERT: needed to listen for TLS or WSS")
        if not self.appservers:
            raise ValueError("TANDEM_APPSERVERS is not set")
        for item in (*self.sip_listen, *self.tls_listen, *self.ws_listen, *self.wss_listen):
            _numeric("listen address", item.host)
        if self.public_address:
            _numeric("TANDEM_PUBLIC_ADDRESS", self.public_address)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ProxyConfig:
        """Read the `TANDEM_*` settings; raises `tandem.runtime.config.ConfigError`, one line."""
        return load(cls, environ)


def appserver_address(text: str) -> str:
    """`host:port` of `udp:HOST:PORT` (HOST numeric), as a UDP link names it. Raises ValueError."""
    where = text.removeprefix("udp:")
    address = HostPort.parse(where)
    _numeric("TANDEM_APPSERVERS", address.host)
    return str(address)


def _numeric(what: str, host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{what}: {host!r} is not a numeric address") from None
