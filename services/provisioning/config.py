"""The settings of provisioning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningConfig:
    """A default and a sentence for each."""

    node_id: str = "provisioning-1"
    """The node's name in events."""
    database_url: str = "sqlite+aiosqlite:///tandem.db"
    """Where the database is: an SQLAlchemy URL; three slashes: relative to the working folder."""
    http_listen: str = "127.0.0.1:8080"
    """HOST:PORT of the API when the service runs alone."""
    domains: tuple[str, ...] = ()
    """Domains to serve; they are made at the start, and the first is the default."""
    admin_password: str | None = field(default=None, repr=False)
    """The password of `admin` at the first start; None: a random one, shown once."""
    token_seconds: int = 12 * 3600
    """How long a login lasts."""
    session_cache_seconds: float = 5.0
    """How long a verified token is believed without asking the database again."""
    location_flush_seconds: float = 1.0
    """How long bindings gather before they are written."""
    purge_seconds: float = 60.0
    """How often expired tokens, keys and bindings are deleted."""
    database_wait_seconds: float = 5.0
    """How long a request waits for the database before it gets 503."""
    argon2_time_cost: int = 3
    """Passes of argon2id (RFC 9106 §4, the second recommended option)."""
    argon2_memory_kib: int = 65536
    """Memory of one argon2id hash, in KiB."""
    argon2_parallelism: int = 4
    """Lanes of one argon2id hash."""


def from_environment(environ: Mapping[str, str]) -> ProvisioningConfig:
    """Read `TANDEM_*`. Raises ValueError with one line that names the variable."""
    default = ProvisioningConfig()
    return ProvisioningConfig(
        node_id=environ.get("TANDEM_NODE_ID") or default.node_id,
        database_url=environ.get("TANDEM_DATABASE_URL") or default.database_url,
        http_listen=environ.get("TANDEM_HTTP_LISTEN") or default.http_listen,
        domains=tuple(environ.get("TANDEM_DOMAINS", "").replace(",", " ").split()),
        admin_password=environ.get("TANDEM_ADMIN_PASSWORD") or None,
        token_seconds=_seconds(environ, "TANDEM_TOKEN_SECONDS", default.token_seconds),
    )


def listen_address(value: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT` apart. Raises ValueError naming TANDEM_HTTP_LISTEN."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"TANDEM_HTTP_LISTEN is {value!r}; it must be HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _seconds(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{name} is {text!r}; it must be a whole number of seconds, 1 or more")
    return int(text)
