"""Providers: list, read, make, change, remove. Whatever is secret goes in and does not come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from services.provisioning.domain.errors import Conflict, NotFound, invalid
from services.provisioning.domain.programs import ShownBinding, StoredProvider
from services.provisioning.domain.providerrules import PROVIDER_RULES
from services.provisioning.domain.rules import clean
from services.provisioning.domain.scope import EVERYTHING, Scope
from services.provisioning.domain.secrets import new_id
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.owning import (
    LOCAL,
    check_dialplans,
    domain_of,
    owner_of,
    refuse_contact,
)
from services.provisioning.handlers.sealing import (
    NOTHING,
    SECRET_FIELDS,
    Sealing,
    Secrets,
    outline_of,
    shown_of,
)
from services.provisioning.ports import Clock, Page, Store, Work
from tandem.rpc.sessions import Principal
from tandem.sip.uri import Uri

MANY: Final = 1_000
"""Providers that are sealed anew in one transaction."""
_TO_ITSELF: Final = frozenset({"server", "outbound_proxy", "from_header", "username"})
"""Fields by which a provider may lead to this switch itself."""
_SERVERS: Final = ("server", "outbound_proxy", "register_server")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows."""

    providers: int
    """How many each customer may have, unless its own limit says otherwise."""
    barred: str = ""
    """A pattern of servers that none may name."""


Switch = Callable[[], Iterable[str]]
"""The public addresses of this switch, `transport:host:port`."""


class Providers:
    """The use cases."""

    def __init__(
        self,
        store: Store,
        notices: Notices,
        sealing: Sealing,
        clock: Clock,
        limits: Limits,
        switch: Switch = tuple,
    ) -> None:
        self._store = store
        self._notices = notices
        self._sealing = sealing
        self._clock = clock
        self._limits = limits
        self._switch = switch
        self._barred = re.compile(limits.barred, re.IGNORECASE) if limits.barred else None

    async def page(self, caller: Principal, offset: int, count: int) -> Page[StoredProvider]:
        """A piece of the caller's, by name."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.providers.page(offset, count)

    async def get(self, caller: Principal, key: str) -> StoredProvider:
        """One. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, key)

    async def bindings(self, caller: Principal, offset: int, count: int) -> Page[ShownBinding]:
        """How the registrations at the caller's stand."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.leases.page(offset, count)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> StoredProvider:
        """A new one. Raises Invalid, Conflict, Forbidden."""
        values = self._cleaned(values)
        async with self._store.write(Scope.of(caller)) as work:
            owner = await owner_of(work, caller, values.pop("owner", None))
            await self._check_quota(work, owner)
            now = self._clock()
            blank = StoredProvider(
                id=new_id(), owner=owner, name=values["name"], created_at=now, updated_at=now
            )
            await _refuse_domain_name(work, blank.name)
            provider = await self._changed(work, blank, NOTHING, values)
            await work.providers.insert(provider)
        self._notices.providers([provider])
        return provider

    async def change(
        self, caller: Principal, key: str, values: Mapping[str, Any]
    ) -> StoredProvider:
        """Change what `values` names; of a callback form, too. Raises Invalid, Conflict,
        NotFound."""
        values = self._cleaned(values)
        if "owner" in values:
            raise invalid("owner", "a provider stays whose it is; make a new one")
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            if "name" in values:
                await _refuse_domain_name(work, values["name"])
            secrets = self._sealing.opened(old)
            new = await self._changed(work, old, secrets, values)
            new = replace(new, updated_at=self._clock())
            await work.providers.update(key, _differences(old, new))
        self._notices.providers([old, new])
        return new

    async def remove(self, caller: Principal, key: str) -> None:
        """Remove it; an appserver unregisters it if need be. Raises NotFound."""
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            await work.providers.mark_removed(key, self._clock())
            await work.leases.purge(await work.leases.now())
        self._notices.providers([old])

    async def purge(self) -> None:
        """Delete what was removed and is not registered any more. Raises DirectoryUnavailable."""
        async with self._store.write(EVERYTHING) as work:
            await work.leases.purge(await work.leases.now())

    async def reseal(self) -> int:
        """Seal by the newest key what an older one sealed; how many."""
        done = offset = 0
        while True:
            async with self._store.write(EVERYTHING) as work:
                page = await work.providers.page(offset, MANY)
                for provider in page.items:
                    secrets = self._sealing.opened(provider)
                    if secrets is not None and self._sealing.is_old(provider):
                        sealed = self._sealing.sealed(provider.id, secrets)
                        await work.providers.update(provider.id, {"sealed": sealed})
                        done += 1
            offset += MANY
            if offset >= page.total:
                return done

    # -- rules ---------------------------------------------------------------------------------

    def _cleaned(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found = clean(PROVIDER_RULES, values)
        for field in _SERVERS:
            if found.get(field) and self._barred and self._barred.search(_host(found[field])):
                raise invalid(field, "this server is barred by the operator")
        return found

    async def _check_quota(self, work: Work, owner: str) -> None:
        customer = await work.customers.get(owner)
        limit = customer.max_providers if customer else None
        allowed = self._limits.providers if limit is None else limit
        if await work.providers.count_of(owner) >= allowed:
            raise Conflict(f"{allowed} providers are all that this customer may have.")

    async def _changed(
        self, work: Work, old: StoredProvider, secrets: Secrets | None, values: dict[str, Any]
    ) -> StoredProvider:
        """`old` with these values, checked as a whole. `secrets` None: they can't be opened, and
        stay as they are unless they are all given anew."""
        plain = {k: v for k, v in values.items() if k not in ("password", "callback")}
        new = replace(old, **plain)
        if "password" in values or "callback" in values:
            new = self._with_secrets(new, secrets or NOTHING, values)
        if plain.get("register_contact"):
            contact = await _contact(work, plain["register_contact"])
            await refuse_contact(work, contact, new.owner)
            new = replace(new, register_contact=contact)
        given, before = {"in_dialplan": new.in_dialplan}, {"in_dialplan": old.in_dialplan}
        await check_dialplans(work, new.owner, given, before)
        _check(new, self._sealing.opened(new))
        if values.keys() & _TO_ITSELF:
            await self._refuse_itself(work, new)
        return new

    async def _refuse_itself(self, work: Work, provider: StoredProvider) -> None:
        """Calls to ourselves are those of an account here, which must prove itself: without such an
        account each is a wrong password, and a ban in the end. A name may lead elsewhere, and a
        From of another host makes it a call from outside."""
        if not provider.server or provider.outbound_proxy or provider.from_header:
            return
        uri = Uri.parse(provider.server)
        secure = uri.scheme == "sips" or (uri.param("transport") or "").lower() == "tls"
        place = f"{uri.host}:{uri.port or (5061 if secure else 5060)}"
        if place not in {address.partition(":")[2] for address in self._switch()}:
            return
        domain = await domain_of(work, None)
        username, owner = provider.username, provider.owner
        mine = {(a.username.lower(), a.domain) for a in await work.accounts.owned_by(owner)}
        if (username.lower(), domain) not in mine and not await work.accounts.is_anothers(
            username, domain, owner
        ):
            said = f"{place} is this switch itself, and {username} is no account of it"
            raise invalid("server", said)

    def _with_secrets(
        self, provider: StoredProvider, secrets: Secrets, values: Mapping[str, Any]
    ) -> StoredProvider:
        if "password" in values:
            secrets = replace(secrets, password=values["password"])
        outline = provider.callback
        if "callback" in values:
            given = values["callback"]
            if given is None:
                secrets, outline = Secrets(password=secrets.password), None
            else:
                hidden = {k: v for k, v in given.items() if k in SECRET_FIELDS}
                shown = {k: v for k, v in given.items() if k not in SECRET_FIELDS}
                secrets = replace(secrets, **hidden)
                outline = outline_of(shown_of(outline) | shown, secrets)
        return replace(
            provider,
            callback=outline,
            sealed=self._sealing.sealed(provider.id, secrets),
            has_password=bool(secrets.password),
        )


async def _existing(work: Work, key: str) -> StoredProvider:
    found = await work.providers.get(key)
    if found is None:
        raise NotFound("There is no such provider.")
    return found


async def _contact(work: Work, given: str) -> str:
    user, at, domain = given.rpartition("@") if "@" in given else (given, "", "")
    wanted = domain if at else None
    if wanted == LOCAL and await work.domains.by_any_name(LOCAL) is None:
        wanted = None
    return f"{user}@{await domain_of(work, wanted, 'register_contact')}"


async def _refuse_domain_name(work: Work, name: str) -> None:
    """A dial string's `dest@name` would reach the domain and never the provider."""
    if name.lower() == LOCAL or await work.domains.by_any_name(name.lower()) is not None:
        raise invalid("name", "a domain that is served here has this name")


def _check(provider: StoredProvider, secrets: Secrets | None) -> None:
    """What must be there together."""
    form = provider.callback
    if form is None and not provider.server:
        raise invalid("server", "is needed, unless the provider is asked to call back")
    if form is None and not provider.username:
        raise invalid("username", "is needed, unless the provider is asked to call back")
    if form is None and "@" in provider.username:
        raise invalid("username", "no @ here: put a name with one into auth_username")
    if form is not None and form.kind == "generic" and secrets is not None and not secrets.url:
        raise invalid("callback.url", "is needed for a generic callback")
    if form is not None and secrets is not None and secrets.body and secrets.fields:
        raise invalid("callback.fields", "not together with a body")
    if provider.register and not provider.register_contact:
        raise invalid("register_contact", "is needed to register: whom shall the provider call?")
    if provider.register and not (provider.server or provider.register_server):
        raise invalid("register_server", "is needed to register")


def _differences(old: StoredProvider, new: StoredProvider) -> dict[str, Any]:
    names = (field.name for field in fields(StoredProvider))
    return {n: getattr(new, n) for n in names if getattr(new, n) != getattr(old, n)}


def _host(uri: str) -> str:
    return Uri.parse(uri).host
