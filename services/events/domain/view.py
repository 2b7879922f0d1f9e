"""Who looks, and at what: the one place where an event is let through to a console or not."""

from __future__ import annotations

from dataclasses import dataclass

from services.events.domain.event import StoredEvent
from services.events.domain.filters import Filter
from tandem.rpc.sessions import Principal


@dataclass(frozen=True, slots=True)
class View:
    """A viewer and his filter."""

    viewer: Principal
    filter: Filter = Filter()  # noqa: RUF009  # it is immutable

    def shows(self, event: StoredEvent) -> bool:
        """The rule of scope first, then the filter."""
        return self.viewer.may_see(event.owners) and self.filter.matches(event)

    @property
    def owner(self) -> str | None:
        """Whose events a database may be asked for; None: everybody's."""
        return None if self.viewer.admin else self.viewer.username
