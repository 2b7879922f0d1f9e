"""The settings of provisioning."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.provisioning.domain.eventsurl import events_base
from tandem.rpc.security import MIN_KEY, Security
from tandem.runtime.address import HostPort
from tandem.runtime.certificates import check_certificate
from tandem.runtime.config import check_otlp_endpoint, setting

_LISTEN: Final = HostPort("127.0.0.1", 8080)
_GRPC_LISTEN: Final = HostPort("127.0.0.1", 50051)
ALONE: Final = "memory:"
"""The broker of a service that runs alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningConfig:
    """A default and a sentence for each; read from `TANDEM_<NAME>` by `tandem.runtime.config`."""

    node_id: str = "provisioning-1"
    """The node's name in events; unique among all nodes."""
    broker_url: str = field(default=ALONE, repr=False)
    """`amqp://user:password@host:port/vhost[,…]`, or `memory:` for a service that runs alone."""
    database_url: str = field(default="sqlite:///tandem.db", repr=False)
    """Where the database is: `sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST[,HOST…]/NAME` or
    `mariadb://…`; see docs/databases.md."""
    http_listen: HostPort = _LISTEN
    """HOST:PORT of the API, the console, health and metrics."""
    http_cert: Path | None = None
    """PEM file of a certificate's chain; with it `http_listen` speaks HTTPS."""
    http_key: Path | None = None
    """PEM file of its key."""
    fastagi_listen: HostPort | None = None
    """HOST:PORT where Asterisk machines ask what to do with a call (FastAGI's port is 4573); empty:
    nowhere."""
    grpc_listen: HostPort = _GRPC_LISTEN
    """HOST:PORT where appservers, events nodes and operators' tools ask; never a public address."""
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
    """The secret that all nodes share, 16 characters at least; needed with a broker."""
    events_url: tuple[str, ...] = ()
    """Base URLs of the events API as browsers reach it, several for fail-over; none: it has the
    same origin as the console's page."""
    otlp_endpoint: str = ""
    """Where OpenTelemetry traces go, `http://HOST:PORT`; empty: none are made."""
    domains: tuple[str, ...] = ()
    """Domains to serve; they are made at the start, and the first is the default."""
    admin_password: str | None = field(default=None, repr=False)
    """The password of `admin` at the first start; None: a random one, shown once."""
    token_seconds: int = setting(12 * 3600, minimum=60)
    """How long a login lasts."""
    session_cache_seconds: float = setting(5.0, minimum=0)
    """How long a verified token is believed without asking the database again."""
    location_flush_seconds: float = setting(1.0, minimum=0.05)
    """How long bindings gather before they are written."""
    purge_seconds: float = setting(60.0, minimum=1)
    """How often expired tokens, keys and bindings are deleted."""
    database_wait_seconds: float = setting(5.0, minimum=0.1)
    """How long a request waits for the database before it gets 503."""
    secret_key: str = field(default="", repr=False)
    """What providers' passwords are sealed by in the database, 16 characters at least; empty: the
    cluster key."""
    old_secret_keys: tuple[str, ...] = field(default=(), repr=False)
    """Former values of it, or of the cluster key where that served, commas between: what they
    sealed is opened, and sealed anew at the next start."""
    barred_providers: str = ""
    """A regular expression; providers whose host it matches anywhere are refused."""
    max_providers: int = setting(100, minimum=0)
    """Providers that a customer may have, unless its own `max_providers` says otherwise."""
    max_dialplans: int = setting(100, minimum=0)
    """Dialplans that a customer may have, unless its own `max_dialplans` says otherwise."""
    argon2_time_cost: int = setting(3, minimum=1)
    """Passes of argon2id (RFC 9106 §4, the second recommended option)."""
    argon2_memory_kib: int = setting(65536, minimum=64)
    """Memory of one argon2id hash, in KiB."""
    argon2_parallelism: int = setting(4, minimum=1)
    """Lanes of one argon2id hash."""

    def __post_init__(self) -> None:
        check_otlp_endpoint(self.otlp_endpoint)
        check_certificate(self.http_cert, self.http_key, ("TANDEM_HTTP_CERT", "TANDEM_HTTP_KEY"))
        self.security()
        for url in self.events_url:
            events_base(url)
        if self.secret_key and len(self.secret_key) < MIN_KEY:
            raise ValueError(f"TANDEM_SECRET_KEY is too short: {MIN_KEY} characters at least")
        try:
            re.compile(self.barred_providers)
        except re.error as fault:
            raise ValueError(f"TANDEM_BARRED_PROVIDERS: {fault}") from None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the keys for secrets in the database are derived from, the newest first; none for
        a service that runs alone without a key."""
        found = (self.secret_key, self.cluster_key, *self.old_secret_keys)
        return tuple(dict.fromkeys(secret for secret in found if secret))

    def security(self) -> Security:
        """What protects gRPC; of a service that runs alone the key is random if there is none.
        Raises ValueError."""
        alone = self.broker_url == ALONE and not self.cluster_key
        key = secrets.token_hex(32) if alone else self.cluster_key
        return Security(self.grpc_cert, self.grpc_key, self.grpc_ca, key, self.grpc_name)
