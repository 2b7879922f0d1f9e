"""What the event service is told at its start."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.runtime.address import HostPort
from tandem.runtime.config import setting


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """Read from TANDEM_* variables by `tandem.runtime.config.load`."""

    node_id: str = "events-1"
    """The name of this node in events and metrics."""
    database_url: str = "sqlite:///events.db"
    """SQLAlchemy's URL of the database that holds the event log and the call records."""
    http_listen: HostPort = HostPort("127.0.0.1", 8081)  # noqa: RUF009  # it is immutable
    """Where REST, event streams, health and metrics are served when it runs alone."""
    api_token: str = ""
    """The administrator's token when it runs alone; empty: nobody gets in."""
    event_keep_days: float = setting(30.0, minimum=0.0)
    """Events older than this are removed."""
    event_keep_count: int = setting(1_000_000, minimum=1)
    """Events beyond this number are removed, oldest first."""
    record_keep_days: float = setting(400.0, minimum=0.0)
    """Call records that ended longer ago are removed."""
    max_consoles: int = setting(500, minimum=1)
    """Event streams open at a time."""
    max_consoles_per_user: int = setting(20, minimum=1)
    """Event streams that one user may have open at a time."""
    heartbeat_seconds: float = setting(15.0, minimum=0.01)
    """A silent stream says something this often, so that no middlebox closes it."""
    recover_calls: bool = True
    """Learn at the start from the log which calls are under way; off where calls end with us."""
