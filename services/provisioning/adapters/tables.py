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
URI_LENGTH: Final = 320

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
    Column("timezone", chars(64), nullable=False),
    Column("max_executions", Integer, nullable=False),
    Column("may_email", Boolean, nullable=False),
    Column("max_providers", Integer, nullable=True),
    Column("max_dialplans", Integer, nullable=True),
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

dialplans: Final = Table(
    "dialplans",
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
    Column("name_key", chars(64), nullable=False),
    Column("language", chars(16), nullable=False),
    Column("source", LONG_TEXT, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("owner", "name_key"),
    **EXACT,
)

dialplan_versions: Final = Table(
    "dialplan_versions",
    metadata,
    Column("dialplan", chars(32), ForeignKey("dialplans.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("language", chars(16), nullable=False),
    Column("source", LONG_TEXT, nullable=False),
    Column("author", chars(OWNER_LENGTH), nullable=False),
    Column("comment", chars(TEXT_LENGTH), nullable=False),
    Column("created_at", Double, nullable=False),
    **EXACT,
)

providers: Final = Table(
    # A provider that was deleted stays, under a name that none can have, until it is unregistered.
    "providers",
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
    Column("name_key", chars(64), nullable=False),
    Column("server", chars(URI_LENGTH), nullable=False),
    Column("username", chars(128), nullable=False),
    Column("auth_username", chars(128), nullable=False),
    Column("realm", chars(TEXT_LENGTH), nullable=False),
    Column("outbound_proxy", chars(URI_LENGTH), nullable=False),
    Column("from_header", chars(TEXT_LENGTH), nullable=False),
    Column("custom_headers", LONG_TEXT, nullable=False),
    Column("in_dialplan", chars(64), nullable=True),
    Column("register", Boolean, nullable=False),
    Column("register_contact", chars(URI_LENGTH), nullable=False),
    Column("contact_key", chars(64), nullable=False),
    Column("contact_domain", chars(DOMAIN_LENGTH), nullable=False),
    Column("register_server", chars(URI_LENGTH), nullable=False),
    Column("register_expires", Integer, nullable=False),
    Column("callback", LONG_TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("sealed", LONG_TEXT, nullable=False),
    Column("has_password", Boolean, nullable=False),
    Column("removed_at", Double, nullable=True),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("owner", "name_key"),
    Index("ix_providers_contact", "contact_key", "contact_domain"),
    **EXACT,
)

registrars: Final = Table(
    # The appservers that register at providers; what one was given is its own until then.
    "registrars",
    metadata,
    Column("node", chars(NODE_LENGTH), primary_key=True),
    Column("until", Double, nullable=False),
    **EXACT,
)

provider_bindings: Final = Table(
    # No foreign key to `registrars`: who is gone from there holds nothing.
    "provider_bindings",
    metadata,
    Column("provider", chars(32), ForeignKey("providers.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", chars(OWNER_LENGTH), nullable=False, index=True),
    Column("node", chars(NODE_LENGTH), nullable=True, index=True),
    Column("registered", Boolean, nullable=False),
    Column("contact", LONG_TEXT, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("tried_at", Double, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("status", Integer, nullable=False),
    Column("reason", chars(TEXT_LENGTH), nullable=False),
    **EXACT,
)

customer_values: Final = Table(
    "customer_values",
    metadata,
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("key", chars(64), primary_key=True),
    Column("value", chars(1024), nullable=False),
    Column("updated_at", Double, nullable=False),
    **EXACT,
)

write_turn: Final = Table(
    # One row. Who writes to this database locks it until the commit.
    "write_turn",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    **EXACT,
)
