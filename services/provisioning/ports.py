"""What provisioning needs of the outside: a store with transactions, a password hasher.

Everything that a `Work` reads or changes lies within the scope that it was made with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from services.provisioning.domain.agi import AgiRule
from services.provisioning.domain.callmanager import Access, FoundLeg, LegRef
from services.provisioning.domain.entities import (
    ApiKey,
    Customer,
    ServedDomain,
    SipAccount,
    Token,
)
from services.provisioning.domain.scope import Scope
from tandem.bus.hints import Hint
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.rpc.sessions import Principal

Clock = Callable[[], float]
"""Unix time in seconds."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A piece of a list, and how long the whole list is."""

    items: Sequence[T]
    total: int


class Rows(Protocol[T]):
    """The rows of one kind that are in scope."""

    async def page(self, offset: int, count: int) -> Page[T]:
        """A piece, in the kind's natural order."""

    async def get(self, key: str) -> T | None:
        """One, or None if there is none in scope."""

    async def insert(self, row: T) -> None:
        """Add. Raises Conflict."""

    async def update(self, key: str, changes: Mapping[str, Any]) -> None:
        """Change columns of one in scope. Raises Conflict."""

    async def delete(self, key: str) -> None:
        """Delete one in scope."""


class CustomerRows(Rows[Customer], Protocol):
    """Customers, by user name."""

    async def count_administrators(self) -> int:
        """How many could still log in and repair things."""


class DomainRows(Rows[ServedDomain], Protocol):
    """Domains, by canonical name; the order of `page` has the default domain first."""

    async def by_any_name(self, name: str) -> ServedDomain | None:
        """The domain with this name or alias."""

    async def last_position(self) -> int:
        """The highest position in use, -1 for none."""


class AccountRows(Rows[SipAccount], Protocol):
    """SIP accounts, by id."""

    async def for_switch(self, username: str, domain: str) -> Account | None:
        """The same as the appserver wants it, with what it needs to know of the owner."""

    async def is_anothers(self, username: str, domain: str, owner: str) -> bool:
        """Whether this AOR is an account of somebody else than `owner`, in scope or not: the one
        question that looks beyond the scope."""

    async def owned_by(self, owner: str) -> Sequence[SipAccount]:
        """All of one customer's."""

    async def count_in_domain(self, domain: str) -> int:
        """How many there are in a domain."""


class TokenRows(Protocol):
    """Login sessions and API keys as credentials, by hash."""

    async def holder(self, secret_hash: str, now: float) -> Principal | None:
        """Who holds this token or key, if it has not expired and the customer isn't suspended."""

    async def insert(self, token: Token) -> None:
        """Add."""

    async def delete(self, secret_hash: str) -> None:
        """End one session."""

    async def delete_of(self, owner: str, *, but: str = "") -> None:
        """End all sessions of a customer, but perhaps one."""

    async def purge(self, now: float) -> None:
        """Delete expired sessions and keys."""


class BindingRows(Protocol):
    """The durable copy of the bindings."""

    async def page(self, offset: int, count: int, now: float, aor: str = "") -> Page[Binding]:
        """A piece of those that have not expired, of all or of one AOR, by AOR."""

    async def after(self, last: str, count: int, now: float) -> tuple[Sequence[Binding], str]:
        """Up to `count` of those that have not expired, and what to give as `last` for those
        that follow ("" for the first, and at the end)."""

    async def live(self, now: float) -> Sequence[Binding]:
        """All that have not expired."""

    async def store(self, bindings: Iterable[Binding]) -> None:
        """Add or replace, unless what is stored, or was removed, is newer."""

    async def remove(self, bindings: Iterable[Binding], now: float) -> None:
        """Remove, unless what is stored is newer; it stays removed whatever is told late."""

    async def remove_aors(self, aors: Iterable[str]) -> None:
        """Delete all bindings of these."""

    async def purge(self, now: float) -> None:
        """Delete what expired."""


class OwnedList(Protocol[T]):
    """A short list that each customer has, read and replaced as a whole."""

    async def of(self, owner: str) -> Sequence[T]:
        """A customer's, in order; nothing when he is not in scope."""

    async def replace(self, owner: str, items: Sequence[T]) -> None:
        """Put this list in its place."""


class Work(Protocol):
    """One transaction."""

    @property
    def customers(self) -> CustomerRows: ...
    @property
    def domains(self) -> DomainRows: ...
    @property
    def accounts(self) -> AccountRows: ...
    @property
    def api_keys(self) -> Rows[ApiKey]: ...
    @property
    def tokens(self) -> TokenRows: ...
    @property
    def bindings(self) -> BindingRows: ...
    @property
    def access(self) -> OwnedList[Access]: ...
    @property
    def agi_rules(self) -> OwnedList[AgiRule]: ...


class Store(Protocol):
    """Makes transactions. Both raise DirectoryUnavailable when the database is away, and then
    nothing is changed."""

    def read(self, scope: Scope) -> AbstractAsyncContextManager[Work]:
        """A transaction for reading."""

    def write(self, scope: Scope) -> AbstractAsyncContextManager[Work]:
        """A transaction that is committed at the end of the block, or undone by an exception."""


class Appservers(Protocol):
    """What runs on the live appservers, each named by the `host:port` of its gRPC server. All
    raise AppserverSilent, within seconds, when it does not answer."""

    async def hints(self, address: str) -> Sequence[Hint]:
        """The next-call hints that it has published and that still hold."""

    async def hang_up(self, address: str, call_id: str) -> bool:
        """End a call; False when it does not have it."""


class CallControl(Protocol):
    """Asks an appserver, named by the `host:port` of its gRPC server, about calls. All raise
    AppserverSilent, within seconds, when it does not answer, and those that begin something
    CallRefused."""

    async def run_dialplan(
        self, address: str, customer: str, dialplan: str, destination: str
    ) -> str:
        """Run a dialplan for a call without a caller; the call's id."""

    async def connect(self, address: str, customer: str, first: str, second: str) -> str:
        """Ring two dial strings and join them; the call's id."""

    async def find_leg(self, address: str, customer: str, identifier: str) -> Sequence[FoundLeg]:
        """The legs that an identifier names."""

    async def blind(
        self, address: str, customer: str, leg: LegRef, destination: str, dialplan: str
    ) -> str:
        """Transfer a leg's far end by a dialplan; the call's id."""

    async def direct(self, address: str, customer: str, leg: LegRef, dial: str) -> str:
        """The same to a dial string."""

    async def dual(self, address: str, customer: str, first: LegRef, second: LegRef) -> None:
        """Join the far ends of two legs."""

    async def hang_up_of(self, address: str, call_id: str, customer: str) -> bool:
        """End a call of this customer ("": of anybody); False when it has no such call."""

    async def put_signal(
        self, address: str, customer: str, key: str, body: str, *, keep: bool
    ) -> tuple[int, bool]:
        """Hand a signal over: how many got it, whether it is kept. Raises Conflict when too many
        are kept."""


class AppserverSilent(Exception):
    """It does not answer."""


class AppserverUnreachable(AppserverSilent):
    """It could not be reached, and so has not heard what it was asked."""


class PasswordHasher(Protocol):
    """Argon2, off the event loop. Raises DirectoryUnavailable when too many wait already."""

    async def hash(self, password: str) -> str:
        """What to keep."""

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the one; None takes as long as a wrong password, and is never right."""
