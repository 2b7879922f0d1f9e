"""Login, logout, and a customer's own password."""

from __future__ import annotations

from services.provisioning.domain.entities import Customer, Token
from services.provisioning.domain.errors import Forbidden, TooManyLogins, WrongCredentials, invalid
from services.provisioning.domain.rules import (
    CUSTOMER_RULES,
    MAX_PASSWORD,
    check_not_the_name,
    clean,
)
from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.domain.secrets import at_rest, new_token
from services.provisioning.domain.throttle import LoginThrottle
from services.provisioning.handlers.sessions import StoredSessions
from services.provisioning.ports import Clock, PasswordHasher, Store
from tandem.bus.ports import Publisher, Topic
from tandem.bus.web_events import LoginFailed
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.sessions import Principal

NAME_LIMIT = 64
"""Characters of a user name that a login looks at, and an event tells."""


class Login:
    """The use cases."""

    def __init__(
        self,
        store: Store,
        bus: Publisher,
        hasher: PasswordHasher,
        sessions: StoredSessions,
        clock: Clock,
        *,
        token_seconds: int,
    ) -> None:
        self._store = store
        self._bus = bus
        self._hasher = hasher
        self._sessions = sessions
        self._clock = clock
        self._token_seconds = token_seconds
        self._throttle = LoginThrottle()

    async def login(self, username: str, password: str, source: str) -> tuple[str, float]:
        """A new token and when it expires. An unknown user takes as long as a wrong password.

        Raises WrongCredentials, TooManyLogins, Forbidden for a suspended customer."""
        customer = await self._authenticated(username[:NAME_LIMIT].lower(), password, source)
        if customer.suspended:
            raise Forbidden("This customer is suspended.")
        token, now = new_token(), self._clock()
        expires_at = now + self._token_seconds
        async with self._store.write(EVERYTHING) as work:
            await work.tokens.insert(
                Token(
                    secret_hash=at_rest(token),
                    owner=customer.username,
                    created_at=now,
                    expires_at=expires_at,
                )
            )
        return token, expires_at

    async def logout(self, caller: Principal, token: str) -> None:
        """End this session; an API key is not ended by it."""
        async with self._store.write(Scope.of(caller)) as work:
            await work.tokens.delete(at_rest(token))
        self._sessions.forget(caller.username)

    async def change_password(
        self, caller: Principal, token: str, old: str, new: str, source: str
    ) -> None:
        """A new password; all other sessions of the customer end. Raises Invalid,
        TooManyLogins."""
        clean({"new_password": CUSTOMER_RULES["password"]}, {"new_password": new})
        check_not_the_name(caller.username, new)
        try:
            await self._authenticated(caller.username, old, source)
        except WrongCredentials:
            raise invalid("old_password", "is not your password") from None
        kept = await self._hasher.hash(new)
        async with self._store.write(Scope.of(caller)) as work:
            await work.customers.update(caller.username, {"password_hash": kept})
            await work.tokens.delete_of(caller.username, but=at_rest(token))
        self._sessions.forget(caller.username)

    async def _authenticated(self, username: str, password: str, source: str) -> Customer:
        wait = self._throttle.charge(username, source, self._clock())
        if wait:
            raise TooManyLogins(wait)
        try:
            customer = await self._matching(username, password)
        except DirectoryUnavailable:
            self._throttle.refund(username, source, self._clock())
            raise
        if customer is None:
            event = LoginFailed(username=_one_line(username), source=source)
            self._bus.publish(Topic.EVENTS, event)
            raise WrongCredentials("User name or password is wrong.")
        self._throttle.forgive(username, source)
        return customer

    async def _matching(self, username: str, password: str) -> Customer | None:
        async with self._store.read(EVERYTHING) as work:
            customer = await work.customers.get(username)
        stored = customer.password_hash if customer else None
        right = await self._hasher.verify(stored, password[: MAX_PASSWORD + 1])
        return customer if right else None


def _one_line(text: str) -> str:
    """What a stranger typed, fit for a console and a log."""
    return "".join(c if c.isprintable() else "?" for c in text)
