"""Dialplans with their versions, providers and their registrations, the key/value store.

MariaDB can't undo changes of tables, so each step looks whether it was done already by an upgrade
that was broken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from services.provisioning.adapters.columns import EXACT, LONG_TEXT, chars

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns to the customers, and make the tables, those first that others refer to."""
    found = sa.inspect(op.get_bind())
    there = {column["name"] for column in found.get_columns("customers")}
    for column in _columns():
        if column.name not in there:
            op.add_column("customers", column)
    for name, make in _TABLES.items():
        if not found.has_table(name):
            make(name)
    for name, index, columns in _INDEXES:
        if index not in {one["name"] for one in sa.inspect(op.get_bind()).get_indexes(name)}:
            op.create_index(index, name, columns, unique=False)


def _columns() -> list[sa.Column[Any]]:
    """With defaults in the database: an instance of the version before may still add customers."""
    return [
        sa.Column("timezone", chars(64), nullable=False, server_default="UTC"),
        sa.Column("max_executions", sa.Integer(), nullable=False, server_default="5"),
        sa.Column("may_email", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("max_providers", sa.Integer(), nullable=True),
        sa.Column("max_dialplans", sa.Integer(), nullable=True),
    ]


def _owner(table: str) -> tuple[sa.Column[Any], sa.ForeignKeyConstraint]:
    return sa.Column("owner", chars(32), nullable=False), sa.ForeignKeyConstraint(
        ["owner"], ["customers.username"], name=op.f(f"fk_{table}_owner"), ondelete="CASCADE"
    )


def _dialplans(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", chars(32), nullable=False),
        *_owner(name),
        sa.Column("name", chars(64), nullable=False),
        sa.Column("name_key", chars(64), nullable=False),
        sa.Column("language", chars(16), nullable=False),
        sa.Column("source", LONG_TEXT, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dialplans")),
        sa.UniqueConstraint("owner", "name_key", name=op.f("uq_dialplans_owner_name_key")),
        **EXACT,
    )


def _dialplan_versions(name: str) -> None:
    op.create_table(
        name,
        sa.Column("dialplan", chars(32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("language", chars(16), nullable=False),
        sa.Column("source", LONG_TEXT, nullable=False),
        sa.Column("author", chars(32), nullable=False),
        sa.Column("comment", chars(255), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dialplan"],
            ["dialplans.id"],
            name=op.f("fk_dialplan_versions_dialplan"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dialplan", "version", name=op.f("pk_dialplan_versions")),
        **EXACT,
    )


def _providers(name: str) -> None:
    op.create_table(
        name,
        sa.Column("id", chars(32), nullable=False),
        *_owner(name),
        sa.Column("name", chars(64), nullable=False),
        sa.Column("name_key", chars(64), nullable=False),
        sa.Column("server", chars(320), nullable=False),
        sa.Column("username", chars(128), nullable=False),
        sa.Column("auth_username", chars(128), nullable=False),
        sa.Column("realm", chars(255), nullable=False),
        sa.Column("outbound_proxy", chars(320), nullable=False),
        sa.Column("from_header", chars(255), nullable=False),
        sa.Column("custom_headers", LONG_TEXT, nullable=False),
        sa.Column("in_dialplan", chars(64), nullable=True),
        sa.Column("register", sa.Boolean(), nullable=False),
        sa.Column("register_contact", chars(320), nullable=False),
        sa.Column("contact_key", chars(64), nullable=False),
        sa.Column("contact_domain", chars(255), nullable=False),
        sa.Column("register_server", chars(320), nullable=False),
        sa.Column("register_expires", sa.Integer(), nullable=False),
        sa.Column("callback", LONG_TEXT, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("sealed", LONG_TEXT, nullable=False),
        sa.Column("has_password", sa.Boolean(), nullable=False),
        sa.Column("removed_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_providers")),
        sa.UniqueConstraint("owner", "name_key", name=op.f("uq_providers_owner_name_key")),
        **EXACT,
    )


def _registrars(name: str) -> None:
    op.create_table(
        name,
        sa.Column("node", chars(128), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("node", name=op.f("pk_registrars")),
        **EXACT,
    )


def _provider_bindings(name: str) -> None:
    op.create_table(
        name,
        sa.Column("provider", chars(32), nullable=False),
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("node", chars(128), nullable=True),
        sa.Column("registered", sa.Boolean(), nullable=False),
        sa.Column("contact", LONG_TEXT, nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("tried_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("reason", chars(255), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider"],
            ["providers.id"],
            name=op.f("fk_provider_bindings_provider"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_provider_bindings")),
        **EXACT,
    )


def _customer_values(name: str) -> None:
    op.create_table(
        name,
        *_owner(name),
        sa.Column("key", chars(64), nullable=False),
        sa.Column("value", chars(1024), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name=op.f("pk_customer_values")),
        **EXACT,
    )


_TABLES: Final[dict[str, Callable[[str], None]]] = {
    "dialplans": _dialplans,
    "dialplan_versions": _dialplan_versions,
    "providers": _providers,
    "registrars": _registrars,
    "provider_bindings": _provider_bindings,
    "customer_values": _customer_values,
}
_INDEXES: Final = (
    ("dialplans", "ix_dialplans_owner", ["owner"]),
    ("providers", "ix_providers_owner", ["owner"]),
    ("providers", "ix_providers_contact", ["contact_key", "contact_domain"]),
    ("provider_bindings", "ix_provider_bindings_owner", ["owner"]),
    ("provider_bindings", "ix_provider_bindings_node", ["node"]),
)
