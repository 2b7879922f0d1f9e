"""Whether this node hears the others, and what their bindings are worth while it does not.

A phone renews its registration at the node that took it, and the others only hear of that. While
nothing is heard, the broker being away, a binding of another node seems to end although its phone
goes on renewing it. To call a phone that has gone costs a time-out; not to call one that is there
costs a call: so those bindings stay for calls until we hear again.
"""

from __future__ import annotations

from typing import Final

from tandem.bus.location import Binding

HOLD_SECONDS: Final = 3600.0
"""How long a binding of another node stays after its end, at most: then its refreshes are lost too,
as no outbox keeps them for longer."""
CATCH_UP_SECONDS: Final = 15.0
"""After the first word that is heard again: the others may come back to the broker later, and what
they kept is on its way."""


class Hearing:
    """One node's. Times are Unix seconds."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._deaf_since: float | None = None
        self._heard_at: float | None = None

    def lost(self, since: float) -> None:
        """Nothing was heard since then."""
        self._heard_at = None
        if self._deaf_since is None:
            self._deaf_since = since

    def back(self, wall: float) -> None:
        """Something is heard."""
        if self._deaf_since is None:
            return
        if self._heard_at is None:
            self._heard_at = wall
        elif wall - self._heard_at > CATCH_UP_SECONDS:
            self._deaf_since = None

    @property
    def whole(self) -> bool:
        """Whether all that the others say is known."""
        return self._deaf_since is None

    def holds(self, binding: Binding, wall: float) -> bool:
        """Whether a binding that has expired may have been renewed unheard."""
        since = self._deaf_since
        return (
            since is not None
            and binding.node != self._node
            and since < binding.expires_at
            and wall - HOLD_SECONDS < binding.expires_at
        )
