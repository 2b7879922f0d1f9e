"""The proxy's settings: one frozen dataclass, read from the environment once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tandem.runtime.address import HostPort
from tandem.runtime.config import check_otlp_endpoint, load, setting

ANY_LOOPBACK_PORT: Final = HostPort("127.0.0.1", 0)
_NAME_RE: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*\.?")


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
    public_name: str = ""
    """DNS name of all proxies (SRV or several addresses). It is what clients find in the route of
    their dialogs in place of this proxy's address, so that they reach another when this is gone."""
    appservers: tuple[str, ...] = ()
    """`udp:HOST:PORT` of each appserver (in one process: the address of its link), beside those
    that announce themselves over the broker."""
    broker_url: str = field(default="memory:", repr=False)
    """Where appservers announce themselves and their next-call hints: `memory:` (no broker: only
    TANDEM_APPSERVERS), or `amqp://USER:PASSWORD@HOST:PORT/VHOST`, several with commas."""
    http_listen: HostPort | None = None
    """Health and metrics over HTTP; port 0 takes a free one. Empty: none. Not for the public."""
    otlp_endpoint: str = ""
    """Where OpenTelemetry traces go, `http://HOST:PORT`; empty: none are made."""
    drain_seconds: float = setting(0.0, minimum=0, maximum=3600)
    """How long a proxy that is told to stop still forwards, announced as draining and not ready
    for new clients, before its sockets close."""
    cluster_key: str = field(default="", repr=False)
    """Shared by all nodes: tokens that one signed are trusted by all. Needed with a broker; empty:
    a random one, so that tokens die with the process."""
    rate_limit: float = setting(1000.0, minimum=0)
    """Messages per second and source address, bursts of two seconds' worth; 0: no limit. A whole
    office or a busy provider stays under 1,000, and as much from one address costs a proxy a
    hundredth of a core. Loopback is an address like others."""
    domains: tuple[str, ...] = ()
    """Domains that are ours: OPTIONS without a user part there is answered by the proxy."""

    def __post_init__(self) -> None:
        check_otlp_endpoint(self.otlp_endpoint)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("TANDEM_TLS_CERT and TANDEM_TLS_KEY go together")
        if (self.tls_listen or self.wss_listen) and self.tls_cert is None:
            raise ValueError("TANDEM_TLS_CERT: needed to listen for TLS or WSS")
        if not self.appservers and not self.has_broker:
            raise ValueError("TANDEM_APPSERVERS is not set, nor a broker in TANDEM_BROKER_URL")
        if self.has_broker and not self.cluster_key:
            raise ValueError("TANDEM_CLUSTER_KEY is not set: all nodes of a cluster share one")
        if self.public_name and not _NAME_RE.fullmatch(self.public_name):
            raise ValueError(f"TANDEM_PUBLIC_NAME: {self.public_name!r} is not a DNS name")
        for item in (*self.sip_listen, *self.tls_listen, *self.ws_listen, *self.wss_listen):
            _numeric("listen address", item.host)
        if self.public_address:
            _numeric("TANDEM_PUBLIC_ADDRESS", self.public_address)

    @property
    def has_broker(self) -> bool:
        """Whether there is one beside this process."""
        return self.broker_url not in ("", "memory:")

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
