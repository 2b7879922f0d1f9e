"""SIP accounts in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Row, select

from services.provisioning.adapters import tables
from services.provisioning.adapters.rows import ScopedRows
from services.provisioning.domain.entities import SipAccount
from tandem.rpc.directory import Account

_HA1_COLUMNS: Final = {
    "MD5": "ha1_md5",
    "SHA-256": "ha1_sha256",
    "SHA-512-256": "ha1_sha512_256",
}
_PLAIN: Final = (
    "id",
    "owner",
    "username",
    "domain",
    "enabled",
    "in_dialplan",
    "out_dialplan",
    "max_bindings",
    "send_keepalives",
    "max_call_seconds",
    "created_at",
)


class SqlAccounts(ScopedRows[SipAccount]):
    """Implements `ports.AccountRows`."""

    table = tables.sip_accounts
    key = tables.sip_accounts.c.id
    owner = tables.sip_accounts.c.owner
    order = (tables.sip_accounts.c.username_key, tables.sip_accounts.c.domain)
    taken = ("username", "this user name is taken in this domain")

    def entity(self, row: Row[Any]) -> SipAccount:
        plain = {name: getattr(row, name) for name in _PLAIN}
        return SipAccount(**plain, ha1=_ha1(row), ip_acl=tuple(row.ip_acl.split()))

    def values(self, row: SipAccount) -> dict[str, Any]:
        plain = {name: getattr(row, name) for name in _PLAIN}
        return plain | self.columns(
            {"username": row.username, "ha1": row.ha1, "ip_acl": row.ip_acl}
        )

    def columns(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        columns = dict(changes)
        if "username" in columns:
            columns["username_key"] = columns["username"].lower()
        if "ip_acl" in columns:
            columns["ip_acl"] = " ".join(columns["ip_acl"])
        for algorithm, value in columns.pop("ha1", {}).items():
            columns[_HA1_COLUMNS[algorithm]] = value
        return columns

    async def for_switch(self, username: str, domain: str) -> Account | None:
        """One query for what each REGISTER and INVITE needs."""
        columns, customer = self.table.c, tables.customers.c
        statement = (
            select(self.table, customer.suspended, customer.max_calls)
            .select_from(self.table.join(tables.customers))
            .where(columns.username_key == username.lower(), columns.domain == domain.lower())
            .where(self.readable())
        )
        row = (await self.connection.execute(statement)).one_or_none()
        return None if row is None else _account(row)

    async def is_anothers(self, username: str, domain: str, owner: str) -> bool:
        """Whether it is somebody else's, in scope or not."""
        columns = self.table.c
        statement = select(columns.id).where(
            columns.username_key == username.lower(),
            columns.domain == domain,
            columns.owner != owner,
        )
        return (await self.connection.execute(statement)).first() is not None

    async def owned_by(self, owner: str) -> list[SipAccount]:
        """All of one customer's."""
        return await self.all_where(self.owner == owner)

    async def count_in_domain(self, domain: str) -> int:
        """How many there are in a domain."""
        return await self.count_where(self.table.c.domain == domain)


def _ha1(row: Row[Any]) -> dict[str, str]:
    return {algorithm: getattr(row, column) for algorithm, column in _HA1_COLUMNS.items()}


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        owner=row.owner,
        username=row.username,
        domain=row.domain,
        ha1=_ha1(row),
        enabled=row.enabled,
        owner_enabled=not row.suspended,
        in_dialplan=row.in_dialplan,
        out_dialplan=row.out_dialplan,
        max_bindings=row.max_bindings,
        send_keepalives=row.send_keepalives,
        ip_acl=tuple(row.ip_acl.split()),
        max_call_seconds=row.max_call_seconds,
        max_calls=row.max_calls,
    )
