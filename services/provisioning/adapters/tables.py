"""The tables. Portable to PostgreSQL and MariaDB: every string has a length, names are compared in
lower case that is stored so, and times are Unix seconds in a DOUBLE."""

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
    String,
    Table,
    Text,
    UniqueConstraint,
)

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
    Column("username", String(OWNER_LENGTH), primary_key=True),
    Column("password_hash", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("email", String(255), nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("max_calls", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
)

domains: Final = Table(
    "domains",
    metadata,
    Column("name", String(DOMAIN_LENGTH), primary_key=True),
    Column("owner", String(OWNER_LENGTH), ForeignKey("customers.username"), nullable=True),
    Column("position", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
)

domain_names: Final = Table(
    # Every name that is served, canonical (place 0) or alias: so that none is served twice.
    "domain_names",
    metadata,
    Column("name", String(DOMAIN_LENGTH), primary_key=True),
    Column(
        "domain",
        String(DOMAIN_LENGTH),
        ForeignKey("domains.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("place", Integer, nullable=False),
)

sip_accounts: Final = Table(
    "sip_accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column(
        "owner",
        String(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("username", String(64), nullable=False),
    Column("username_key", String(64), nullable=False),
    Column("domain", String(DOMAIN_LENGTH), ForeignKey("domains.name"), nullable=False, index=True),
    Column("ha1_md5", String(32), nullable=False),
    Column("ha1_sha256", String(64), nullable=False),
    Column("ha1_sha512_256", String(64), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("in_dialplan", String(64), nullable=True),
    Column("out_dialplan", String(64), nullable=True),
    Column("max_bindings", Integer, nullable=False),
    Column("send_keepalives", Boolean, nullable=False),
    Column("ip_acl", Text, nullable=False),
    Column("max_call_seconds", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("username_key", "domain"),
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column(
        "owner",
        String(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column(
        "owner",
        String(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("name", String(64), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
)

bindings: Final = Table(
    # A copy of what appservers tell: no foreign keys, it may arrive before or after its account.
    "bindings",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("aor", String(320), nullable=False),
    Column("owner", String(OWNER_LENGTH), nullable=False, index=True),
    Column("contact", Text, nullable=False),
    Column("received", String(RECEIVED_LENGTH), nullable=False),
    Column("path", Text, nullable=False),
    Column("q", Double, nullable=False),
    Column("instance", Text, nullable=False),
    Column("reg_id", Integer, nullable=False),
    Column("call_id", Text, nullable=False),
    Column("cseq", BigInteger, nullable=False),
    Column("user_agent", String(TEXT_LENGTH), nullable=False),
    Column("registered_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("node", String(NODE_LENGTH), nullable=False),
    Column("proxy", String(NODE_LENGTH), nullable=False),
    Index("ix_bindings_aor", "aor"),
)
