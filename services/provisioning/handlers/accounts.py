"""SIP accounts: list, read, make, change, remove.

A dotted user name needs care: a call to `part.username` reaches `username` unless an account has
exactly that name (ORIGINAL §1.1), so whoever made `x.alice` would take calls from alice. What
follows the last dot must therefore not be somebody else's account in the domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from services.provisioning.domain.entities import SipAccount
from services.provisioning.domain.errors import Conflict, Forbidden, NotFound, invalid
from services.provisioning.domain.rules import ACCOUNT_RULES, check_not_the_name, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.domain.secrets import digest_hashes, new_id
from services.provisioning.handlers.notices import Notices
from services.provisioning.ports import Clock, Page, Store, Work
from tandem.rpc.sessions import Principal

_NAME: Final = ("username", "domain")
"""What the digest hashes are made of, with the password."""


class Accounts:
    """The use cases."""

    def __init__(self, store: Store, notices: Notices, clock: Clock) -> None:
        self._store = store
        self._notices = notices
        self._clock = clock

    async def page(self, caller: Principal, offset: int, count: int) -> Page[SipAccount]:
        """A piece of the caller's accounts, by user name."""
        async with self._store.read(Scope.of(caller)) as work:
            return await work.accounts.page(offset, count)

    async def get(self, caller: Principal, key: str) -> SipAccount:
        """One. Raises NotFound."""
        async with self._store.read(Scope.of(caller)) as work:
            return await _existing(work, key)

    async def create(self, caller: Principal, values: Mapping[str, Any]) -> SipAccount:
        """A new one. Raises Invalid, Conflict, Forbidden."""
        values = clean(ACCOUNT_RULES, values)
        secret = values.pop("password")
        async with self._store.write(Scope.of(caller)) as work:
            values["owner"] = await _owner(work, caller, values.get("owner"))
            values["domain"] = await _domain(work, values.get("domain"))
            blank = SipAccount(id=new_id(), ha1={}, created_at=self._clock(), **values)
            account = _with_password(blank, secret)
            await _refuse_capture(work, account)
            await work.accounts.insert(account)
        self._notices.accounts([account])
        return account

    async def change(self, caller: Principal, key: str, values: Mapping[str, Any]) -> SipAccount:
        """Change what `values` names. Raises Invalid, Conflict, Forbidden, NotFound."""
        values = clean(ACCOUNT_RULES, values)
        secret = values.pop("password", None)
        async with self._store.write(Scope.of(caller)) as work:
            old = await _existing(work, key)
            if "owner" in values:
                values["owner"] = await _owner(work, caller, values["owner"])
            if "domain" in values:
                values["domain"] = await _domain(work, values["domain"])
            new = _rehashed(old, replace(old, **values), secret)
            await _refuse_capture(work, new)
            await work.accounts.update(key, values | {"ha1": new.ha1})
        self._notices.accounts([old, new])
        return new

    async def remove(self, caller: Principal, key: str) -> None:
        """Remove it, and what the durable copy knows of its phones. Raises NotFound."""
        async with self._store.write(Scope.of(caller)) as work:
            account = await _existing(work, key)
            await work.accounts.delete(key)
            await work.bindings.remove_aors([account.aor])
        self._notices.accounts([account])


async def _existing(work: Work, key: str) -> SipAccount:
    account = await work.accounts.get(key)
    if account is None:
        raise NotFound("There is no such SIP account.")
    return account


async def _owner(work: Work, caller: Principal, wanted: str | None) -> str:
    """Whose it shall be: the caller's, unless an administrator says otherwise."""
    if wanted is None or wanted == caller.username:
        return caller.username
    if not caller.admin:
        raise Forbidden("Only an administrator makes or gives accounts to others.", "owner")
    if await work.customers.get(wanted) is None:
        raise invalid("owner", "there is no such customer")
    return wanted


async def _domain(work: Work, wanted: str | None) -> str:
    """The canonical name of the domain that is meant; the default one if none is."""
    if wanted is None:
        first = (await work.domains.page(0, 1)).items
        if not first:
            raise invalid("domain", "no domain is served yet; an administrator must add one")
        return first[0].name
    found = await work.domains.by_any_name(wanted)
    if found is None:
        raise invalid("domain", "there is no such domain that you may use")
    return found.name


async def _refuse_capture(work: Work, account: SipAccount) -> None:
    """See the top of this file."""
    rest, dot, target = account.username.rpartition(".")
    if dot and await work.accounts.is_anothers(target, account.domain, account.owner):
        raise Conflict(f"calls to {rest}.{target} reach {target}, who is not yours", "username")


def _rehashed(old: SipAccount, new: SipAccount, secret: str | None) -> SipAccount:
    """The digest hashes are made of user name, domain and password: with a new one of these all
    are made anew, for which the password is needed, and we don't have it."""
    if secret is not None:
        return _with_password(new, secret)
    for field in _NAME:
        if getattr(new, field) != getattr(old, field):
            raise invalid("password", f"is needed again when {field} changes")
    return new


def _with_password(account: SipAccount, secret: str) -> SipAccount:
    check_not_the_name(account.username, secret)
    return replace(account, ha1=digest_hashes(account.username, account.domain, secret))
