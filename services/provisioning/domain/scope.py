"""Whose rows a caller may touch: the one notion of it (adapters/rows.py applies it to queries)."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.rpc.sessions import Principal


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows of one customer, or of all."""

    owner: str | None
    """A customer's user name; None for everybody's rows."""

    @classmethod
    def of(cls, caller: Principal) -> Scope:
        """An administrator's scope is everything, anybody else's what is theirs."""
        return EVERYTHING if caller.admin else cls(caller.username)


EVERYTHING = Scope(None)
"""For administrators and for the service's own work (logins, the Directory, the location copy)."""
