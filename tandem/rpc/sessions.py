"""Who is it that holds this token? Provisioning knows; every HTTP surface asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

MAX_TOKEN_LENGTH: Final = 512
"""Characters of a token that are looked at; ours have under 100."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller of an API."""

    username: str
    admin: bool = False
    """Sees and may change everything."""

    def may_see(self, owners: tuple[str, ...]) -> bool:
        """The one rule of scope: administrators all, others what is theirs."""
        return self.admin or self.username in owners


def bearer(authorization: str) -> str:
    """The token of an Authorization header or metadata, "" if it has none: RFC 6750 §2.1."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Sessions(Protocol):
    """Token verification."""

    async def verify(self, token: str) -> Principal | None:
        """The holder of a token or API key; None for one that is unknown or expired."""
