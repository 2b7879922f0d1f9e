"""What the event service is told at its start."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tandem.rpc.security import Security
from tandem.runtime.address import HostPort
from tandem.runtime.certificates import check_certificate
from tandem.runtime.config import check_otlp_endpoint, setting

_LISTEN: Final = HostPort("127.0.0.1", 8081)
_GRPC_LISTEN: Final = HostPort("127.0.0.1", 50052)
ALONE: Final = "memory:"
"""The broker of a service that runs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsConfig:
    """Read from TANDEM_* variables by `tandem.runtime.config.load`."""

    node_id: str = "events-1"
    """The name of this node in events and metrics; unique among all nodes."""
    broker_url: str = field(default=ALONE, repr=False)
    """`amqp://user:password@host:port/vhost[,…]`, or `memory:` for a service that runs alone."""
    database_url: str = field(default="sqlite:///events.db", repr=False)
    """The database with the event log and the call records, the same for all events nodes: a URL
    as in docs/databases.md."""
    http_listen: HostPort = _LISTEN
    """Where REST, event streams, health and metrics are served."""
    http_cert: Path | None = None
    """PEM file of a certificate's chain; with it `http_listen` speaks HTTPS."""
    http_key: Path | None = None
    """PEM file of its key."""
    grpc_listen: HostPort = _GRPC_LISTEN
    """HOST:PORT of `EventFeed`, for operators' tools."""
    grpc_cert: Path | None = None
    """PEM file of the node's certificate chain; with it all gRPC is mutual TLS."""
    grpc_key: Path | None = None
    """PEM file of its key."""
    grpc_ca: Path | None = None
    """PEM file of the authority that all nodes' certificates come from."""
    grpc_name: str = ""
    """A name that the certificates of all nodes carry; empty: each carries the host of its
    gRPC address."""
    cluster_key: str = field(default="", repr=False)
    """The secret that all nodes share, 16 characters at least; needed with a broker or
    with provisioning."""
    directory_url: str = ""
    """`HOST:PORT[,HOST:PORT…]` of provisioning's gRPC, which knows who holds a token."""
    api_token: str = field(default="", repr=False)
    """An administrator's token, without provisioning; empty: nobody gets in that way."""
    console_origins: tuple[str, ...] = ()
    """Origins, as `https://console.example.com`, whose pages may read events with a token; `*`:
    all."""
    otlp_endpoint: str = ""
    """Where OpenTelemetry traces go, `http://HOST:PORT`; empty: none are made."""
    lost_seconds: float = setting(30.0, minimum=0.1)
    """How long an appserver may be silent before its calls are ended with records."""
    event_keep_days: float = setting(30.0, minimum=0.0)
    """Events older than this are removed."""
    event_keep_count: int = setting(1_000_000, minimum=1)
    """Events beyond this number are removed, oldest first."""
    record_keep_days: float = setting(400.0, minimum=0.0)
    """Call records that ended longer ago are removed."""
    trace_keep_days: float = setting(1.0, minimum=0.0)
    """Full SIP traces (`sip.trace`) older than this are removed."""
    trace_keep_count: int = setting(100_000, minimum=0)
    """Full SIP traces beyond this number are removed, oldest first."""
    max_consoles: int = setting(500, minimum=1)
    """Event streams open at a time."""
    max_consoles_per_user: int = setting(20, minimum=1)
    """Event streams that one user may have open at a time."""
    heartbeat_seconds: float = setting(15.0, minimum=0.01)
    """A silent stream says something this often, so that no middlebox closes it."""
    recover_calls: bool = True
    """Learn at the start from the log which calls are under way; off where calls end with us."""

    def __post_init__(self) -> None:
        check_otlp_endpoint(self.otlp_endpoint)
        check_certificate(self.http_cert, self.http_key, ("TANDEM_HTTP_CERT", "TANDEM_HTTP_KEY"))
        self.security()
        for origin in self.console_origins:
            parts = urlsplit(origin)
            if origin != "*" and (parts.scheme not in ("http", "https") or parts.path):
                raise ValueError(f"TANDEM_CONSOLE_ORIGINS: {origin!r} is no https://HOST[:PORT]")

    def security(self) -> Security:
        """What protects gRPC; of a service that runs alone the key is random if there is none.
        Raises ValueError."""
        alone = self.broker_url == ALONE and not self.directory_url and not self.cluster_key
        key = secrets.token_hex(32) if alone else self.cluster_key
        return Security(self.grpc_cert, self.grpc_key, self.grpc_ca, key, self.grpc_name)
