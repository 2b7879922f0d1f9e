"""What provisioning needs of the outside: a store with transactions, a password hasher.

Everything that a `Work` reads or changes lies within the scope that it was made with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
from services.provisioning.domain.leases import Held, Orphan, State
from services.provisioning.domain.programs import (
    DialplanVersion,
    ProviderBinding,
    ShownBinding,
    StoredDialplan,
    StoredProvider,
    StoredValue,
)
from services.provisioning.domain.scope import Scope
from tandem.bus.hints import Hint
from tandem.bus.location import Binding
from tandem.dialplan.script import Dialplan, Language, Problem
from tandem.rpc.directory import Account
from tandem.rpc.sessions import Principal

Clock = Callable[[], float]
"""Unix time in seconds."""
Checker = Callable[[Language, str], Awaitable[Sequence[Problem]]]
"""What is wrong with a dialplan's source, before it is ever run."""

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


class DialplanRows(Rows[StoredDialplan], Protocol):
    """Dialplans, by id, and their versions."""

    async def for_switch(self, owner: str, name: str) -> Dialplan | None:
        """The same as the appserver wants it, with what its runs may do."""

    async def count_of(self, owner: str) -> int:
        """How many a customer has."""

    async def names_of(self, owner: str) -> Sequence[str]:
        """The names of a customer's."""

    async def add_version(self, version: DialplanVersion, *, keep: int) -> None:
        """Add one, and forget those beyond the newest `keep`, but not the one that is published
        until now."""

    async def newest_version(self, dialplan: str) -> int:
        """The highest number in use, 0 for none."""

    async def versions(self, dialplan: str, offset: int, count: int) -> Page[DialplanVersion]:
        """A piece of the list, the newest first, without the sources."""

    async def version(self, dialplan: str, number: int) -> DialplanVersion | None:
        """One, with its source."""

    async def used_by(self, owner: str, name: str) -> Sequence[str]:
        """Which of the owner's accounts and providers use a dialplan, by their names."""

    async def rename_for_users(self, owner: str, old: str, new: str) -> None:
        """Have them use it by its new name."""


class ProviderRows(Rows[StoredProvider], Protocol):
    """Providers, by id."""

    async def mark_removed(self, key: str, now: float) -> None:
        """Delete one for everybody's eyes, and keep what it takes to unregister it."""

    async def owned_by(self, owner: str) -> Sequence[StoredProvider]:
        """All of one customer's, by name."""

    async def count_of(self, owner: str) -> int:
        """How many a customer has."""

    async def count_in_domain(self, domain: str) -> int:
        """How many have their contact in a domain."""

    async def is_anothers_contact(self, username: str, domain: str, owner: str) -> bool:
        """Whether this AOR is the register contact of somebody else than `owner`, in scope or
        not."""

    async def contact_for_switch(self, username: str, domain: str) -> Account | None:
        """The account that calls to a register contact reach."""


class LeaseRows(Protocol):
    """Which appserver registers at which provider, and how that stands."""

    async def page(self, offset: int, count: int) -> Page[ShownBinding]:
        """A piece of the list, by owner and provider."""

    async def now(self) -> float:
        """Unix time, the same for all instances."""

    async def anything(self) -> bool:
        """Whether there is a registration to be made, kept or ended."""

    async def renew(self, node: str, until: float) -> None:
        """This node lives until then, and what it holds is its own."""

    async def leave(self, node: str) -> None:
        """This node is gone, and holds nothing."""

    async def nodes(self, now: float) -> Sequence[str]:
        """Those that live."""

    async def held_by(self, node: str, only: Sequence[str] | None = None) -> Sequence[Held]:
        """What this node was given: all of it, or only of these providers."""

    async def states(self, node: str) -> Sequence[State]:
        """The same in short, in any order."""

    async def orphans(self, now: float) -> Sequence[Orphan]:
        """Those that no live node holds, and that are to be registered, or to be unregistered."""

    async def take(self, node: str, orphans: Sequence[Orphan]) -> None:
        """Give them to this node."""

    async def store(self, bindings: Sequence[ProviderBinding]) -> None:
        """Replace these."""

    async def give_up(self, providers: Iterable[str]) -> None:
        """Register no more at these, until their owners want it again."""

    async def forget(self, providers: Iterable[str]) -> None:
        """Delete those of these that were deleted by their owners."""

    async def purge(self, now: float) -> None:
        """Delete what nobody needs any more."""


class ValueRows(Protocol):
    """The customers' key/value stores."""

    async def page(self, offset: int, count: int) -> Page[StoredValue]:
        """A piece of the list, by owner and key."""

    async def read(self, owner: str, key: str) -> StoredValue | None:
        """One."""

    async def write(self, value: StoredValue, *, limit: int) -> bool:
        """Add or replace; False when the owner has `limit` keys already."""

    async def remove(self, owner: str, key: str) -> bool:
        """Whether it was there."""

    async def keys(self, owner: str) -> Sequence[str]:
        """The keys in use, in order."""


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
    @property
    def dialplans(self) -> DialplanRows: ...
    @property
    def providers(self) -> ProviderRows: ...
    @property
    def leases(self) -> LeaseRows: ...
    @property
    def values(self) -> ValueRows: ...


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


class SealBroken(Exception):
    """A sealed text can't be opened; the text says why, and holds nothing of it."""


class Sealer(Protocol):
    """Keeps texts so that who reads the database can't read them."""

    @property
    def usable(self) -> bool:
        """Whether there is a key."""

    def seal(self, text: str, bound: str) -> str:
        """What to keep of a text that belongs to `bound`."""

    def open(self, sealed: str, bound: str) -> str:
        """The text. Raises SealBroken."""

    def is_old(self, sealed: str) -> bool:
        """Whether it is to be sealed anew, since there is a newer key."""


class PasswordHasher(Protocol):
    """Argon2, off the event loop. Raises DirectoryUnavailable when too many wait already."""

    async def hash(self, password: str) -> str:
        """What to keep."""

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the one; None takes as long as a wrong password, and is never right."""
