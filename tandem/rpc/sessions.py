"""Who is it that holds this token? Provisioning knows; every HTTP surface asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller of an API."""

    username: str
    admin: bool = False
    """Sees and may change everything."""

    def may_see(self, owners: tuple[str, ...]) -> bool:
        """The one rule of scope: administrators all, others what is theirs."""
        return self.admin or self.username in owners


class Sessions(Protocol):
    """Token verification."""

    async def verify(self, token: str) -> Principal | None:
        """The holder of a token or API key; None for one that is unknown or expired."""
