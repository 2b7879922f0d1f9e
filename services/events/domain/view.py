"""Who looks, and at what: the one place where an event is let through to a console or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.events.domain.event import SIP_TRACE, StoredEvent
from services.events.domain.filters import Filter
from tandem.rpc.sessions import Principal

EVERYBODY: Final = "*"
"""As the customer whose traces are wanted: all of them."""


@dataclass(frozen=True, slots=True)
class View:
    """A viewer and his filter."""

    viewer: Principal
    filter: Filter = Filter()  # noqa: RUF009  # it is immutable
    traces: str | None = None
    """Whose full SIP traces are wanted, by user name; None: nobody's. They are many, so no filter
    lets them through that does not name them."""

    def shows(self, event: StoredEvent) -> bool:
        """The rule of scope first, then the filter."""
        if not self.viewer.may_see(event.owners):
            return False
        if event.type == SIP_TRACE and not self._wants(event):
            return False
        return self.filter.matches(event)

    def _wants(self, event: StoredEvent) -> bool:
        if self.traces is not None and (self.traces == EVERYBODY or self.traces in event.owners):
            return True
        return self.filter.names_type(SIP_TRACE)

    @property
    def any_traces(self) -> bool:
        """Whether it shows traces at all."""
        return self.traces is not None or self.filter.names_type(SIP_TRACE)

    @property
    def owner(self) -> str | None:
        """Whose events a database may be asked for; None: everybody's."""
        return None if self.viewer.admin else self.viewer.username
