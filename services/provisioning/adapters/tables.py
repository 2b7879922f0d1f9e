"""The tables, the same on SQLite, PostgreSQL and MariaDB: every string has a length, names are
compared byte by byte, in lower case that is stored so, and times are Unix seconds in a DOUBLE."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from services.provisioning.adapters.columns import EXACT, LONG_TEXT, TEXT, chars

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

OWNER_LENGTH: Final = 32
DOMAIN_LENGTH: Final = 255
RECEIVED_LENGTH: Final = 128
NODE_LENGTH: Final = 128
TEXT_LENGTH: Final = 255

customers: Final = Table(
    "customers",
    metadata,
    Column("username", chars(OWNER_LENGTH), primary_key=True),
    Column("password_hash", chars(255), nullable=False),
    Column("name", chars(255), nullable=False),
    Column("email", chars(255), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("max_calls", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    **EXACT,
)

domains: Final = Table(
    "domains",
    metadata,
    Column("name", chars(DOMAIN_LENGTH), primary_key=True),
    Column("owner", chars(OWNER_LENGTH), ForeignKey("customers.username"), nullable=True),
    Column("position", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    **EXACT,
)

domain_names: Final = Table(
    # Every name that is served, canonical (place 0) or alias: so that none is served twice.
    "domain_names",
    metadata,
    Column("name", chars(DOMAIN_LENGTH), primary_key=True),
    Column(
        "domain",
        chars(DOMAIN_LENGTH),
        ForeignKey("domains.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("place", Integer, nullable=False),
    **EXACT,
)

sip_accounts: Final = Table(
    "sip_accounts",
    metadata,
    Column("id", chars(32), primary_key=True),
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("username", chars(64), nullable=False),
    Column("username_key", chars(64), nullable=False),
    Column("domain", chars(DOMAIN_LENGTH), ForeignKey("domains.name"), nullable=False, index=True),
    Column("ha1_md5", chars(32), nullable=False),
    Column("ha1_sha256", chars(64), nullable=False),
    Column("ha1_sha512_256", chars(64), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("in_dialplan", chars(64), nullable=True),
    Column("out_dialplan", chars(64), nullable=True),
    Column("max_bindings", Integer, nullable=False),
    Column("send_keepalives", Boolean, nullable=False),
    Column("ip_acl", TEXT, nullable=False),
    Column("max_call_seconds", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("username_key", "domain"),
    **EXACT,
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("secret_hash", chars(64), primary_key=True),
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    **EXACT,
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", chars(32), primary_key=True),
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("name", chars(64), nullable=False),
    Column("prefix", chars(16), nullable=False),
    Column("secret_hash", chars(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    **EXACT,
)

bindings: Final = Table(
    # A copy of what appservers tell: no foreign keys, it may arrive before or after its account.
    # What was removed stays for a while, so that late news of before can't bring it back.
    "bindings",
    metadata,
    Column("key", chars(64), primary_key=True),
    Column("aor", chars(320), nullable=False),
    Column("owner", chars(OWNER_LENGTH), nullable=False, index=True),
    Column("contact", LONG_TEXT, nullable=False),
    Column("received", chars(RECEIVED_LENGTH), nullable=False),
    Column("path", LONG_TEXT, nullable=False),
    Column("q", Double, nullable=False),
    Column("instance", LONG_TEXT, nullable=False),
    Column("reg_id", Integer, nullable=False),
    Column("call_id", LONG_TEXT, nullable=False),
    Column("cseq", BigInteger, nullable=False),
    Column("user_agent", chars(TEXT_LENGTH), nullable=False),
    Column("registered_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("node", chars(NODE_LENGTH), nullable=False),
    Column("proxy", chars(NODE_LENGTH), nullable=False),
    Column("removed_at", Double, nullable=True),
    Index("ix_bindings_aor", "aor"),
    **EXACT,
)

write_turn: Final = Table(
    # One row. Who writes to this database locks it until the commit.
    "write_turn",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    **EXACT,
)
