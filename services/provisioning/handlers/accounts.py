"""SIP accounts: list, read, make, change, remove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from services.provisioning.domain.entities import SipAccount
from services.provisioning.domain.errors import Conflict, NotFound, invalid
from services.provisioning.domain.rules import ACCOUNT_RULES, check_not_the_name, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.domain.secrets import digest_hashes, new_id
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.owning import (
    check_dialplans,
    domain_of,
    owner_of,
    refuse_capture,
)
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
            values["owner"] = await owner_of(work, caller, values.get("owner"))
            values["domain"] = await domain_of(work, values.get("domain"))
            blank = SipAccount(id=new_id(), ha1={}, created_at=self._clock(), **values)
            await check_dialplans(work, blank.owner, _dialplans(blank), {})
            account = _with_password(blank, secret)
            await _refuse_others_names(work, account)
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
                values["owner"] = await owner_of(work, caller, values["owner"])
            if "domain" in values:
                values["domain"] = await domain_of(work, values["domain"])
            new = _rehashed(old, replace(old, **values), secret)
            before = _dialplans(old) if new.owner == old.owner else {}
            await check_dialplans(work, new.owner, _dialplans(new), before)
            await _refuse_others_names(work, new)
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


def _dialplans(account: SipAccount) -> dict[str, str | None]:
    return {"in_dialplan": account.in_dialplan, "out_dialplan": account.out_dialplan}


async def _existing(work: Work, key: str) -> SipAccount:
    account = await work.accounts.get(key)
    if account is None:
        raise NotFound("There is no such SIP account.")
    return account


async def _refuse_others_names(work: Work, account: SipAccount) -> None:
    """See `handlers.owning`; an account comes before a contact, so it must not have its name."""
    await refuse_capture(work, account.username, account.domain, account.owner)
    if await work.providers.is_anothers_contact(account.username, account.domain, account.owner):
        raise Conflict("this user name is taken in this domain", "username")


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
