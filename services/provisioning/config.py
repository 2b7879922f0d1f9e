"""The settings of provisioning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tandem.runtime.address import HostPort
from tandem.runtime.config import setting

_LISTEN: Final = HostPort("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningConfig:
    """A default and a sentence for each; read from `TANDEM_<NAME>` by `tandem.runtime.config`."""

    node_id: str = "provisioning-1"
    """The node's name in events."""
    database_url: str = "sqlite+aiosqlite:///tandem.db"
    """Where the database is: an SQLAlchemy URL; three slashes: relative to the working folder."""
    http_listen: HostPort = _LISTEN
    """HOST:PORT of the API when the service runs alone."""
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
    argon2_time_cost: int = setting(3, minimum=1)
    """Passes of argon2id (RFC 9106 §4, the second recommended option)."""
    argon2_memory_kib: int = setting(65536, minimum=64)
    """Memory of one argon2id hash, in KiB."""
    argon2_parallelism: int = setting(4, minimum=1)
    """Lanes of one argon2id hash."""
