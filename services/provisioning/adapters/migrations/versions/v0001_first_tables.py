"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.provisioning.adapters.columns import EXACT, LONG_TEXT, TEXT, chars

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all of them, those first that others refer to."""
    _customers()
    _domains()
    _domain_names()
    _sip_accounts()
    _tokens()
    _api_keys()
    _bindings()


def _customers() -> None:
    op.create_table(
        "customers",
        sa.Column("username", chars(32), nullable=False),
        sa.Column("password_hash", chars(255), nullable=False),
        sa.Column("name", chars(255), nullable=False),
        sa.Column("email", chars(255), nullable=False),
        sa.Column("admin", sa.Boolean(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("max_calls", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("username", name=op.f("pk_customers")),
        **EXACT,
    )


def _domains() -> None:
    op.create_table(
        "domains",
        sa.Column("name", chars(255), nullable=False),
        sa.Column("owner", chars(32), nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["owner"], ["customers.username"], name=op.f("fk_domains_owner")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domains")),
        **EXACT,
    )


def _domain_names() -> None:
    op.create_table(
        "domain_names",
        sa.Column("name", chars(255), nullable=False),
        sa.Column("domain", chars(255), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain"], ["domains.name"], name=op.f("fk_domain_names_domain"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domain_names")),
        **EXACT,
    )
    op.create_index(op.f("ix_domain_names_domain"), "domain_names", ["domain"], unique=False)


def _sip_accounts() -> None:
    op.create_table(
        "sip_accounts",
        sa.Column("id", chars(32), nullable=False),
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("username", chars(64), nullable=False),
        sa.Column("username_key", chars(64), nullable=False),
        sa.Column("domain", chars(255), nullable=False),
        sa.Column("ha1_md5", chars(32), nullable=False),
        sa.Column("ha1_sha256", chars(64), nullable=False),
        sa.Column("ha1_sha512_256", chars(64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("in_dialplan", chars(64), nullable=True),
        sa.Column("out_dialplan", chars(64), nullable=True),
        sa.Column("max_bindings", sa.Integer(), nullable=False),
        sa.Column("send_keepalives", sa.Boolean(), nullable=False),
        sa.Column("ip_acl", TEXT, nullable=False),
        sa.Column("max_call_seconds", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["domain"], ["domains.name"], name=op.f("fk_sip_accounts_domain")),
        sa.ForeignKeyConstraint(
            ["owner"],
            ["customers.username"],
            name=op.f("fk_sip_accounts_owner"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sip_accounts")),
        sa.UniqueConstraint(
            "username_key", "domain", name=op.f("uq_sip_accounts_username_key_domain")
        ),
        **EXACT,
    )
    op.create_index(op.f("ix_sip_accounts_domain"), "sip_accounts", ["domain"], unique=False)
    op.create_index(op.f("ix_sip_accounts_owner"), "sip_accounts", ["owner"], unique=False)


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("secret_hash", chars(64), nullable=False),
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner"], ["customers.username"], name=op.f("fk_tokens_owner"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_tokens")),
        **EXACT,
    )
    op.create_index(op.f("ix_tokens_expires_at"), "tokens", ["expires_at"], unique=False)
    op.create_index(op.f("ix_tokens_owner"), "tokens", ["owner"], unique=False)


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", chars(32), nullable=False),
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("name", chars(64), nullable=False),
        sa.Column("prefix", chars(16), nullable=False),
        sa.Column("secret_hash", chars(64), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner"], ["customers.username"], name=op.f("fk_api_keys_owner"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_api_keys_secret_hash")),
        **EXACT,
    )
    op.create_index(op.f("ix_api_keys_expires_at"), "api_keys", ["expires_at"], unique=False)
    op.create_index(op.f("ix_api_keys_owner"), "api_keys", ["owner"], unique=False)


def _bindings() -> None:
    op.create_table(
        "bindings",
        sa.Column("key", chars(64), nullable=False),
        sa.Column("aor", chars(320), nullable=False),
        sa.Column("owner", chars(32), nullable=False),
        sa.Column("contact", LONG_TEXT, nullable=False),
        sa.Column("received", chars(128), nullable=False),
        sa.Column("path", LONG_TEXT, nullable=False),
        sa.Column("q", sa.Double(), nullable=False),
        sa.Column("instance", LONG_TEXT, nullable=False),
        sa.Column("reg_id", sa.Integer(), nullable=False),
        sa.Column("call_id", LONG_TEXT, nullable=False),
        sa.Column("cseq", sa.BigInteger(), nullable=False),
        sa.Column("user_agent", chars(255), nullable=False),
        sa.Column("registered_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("node", chars(128), nullable=False),
        sa.Column("proxy", chars(128), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_bindings")),
        **EXACT,
    )
    op.create_index("ix_bindings_aor", "bindings", ["aor"], unique=False)
    op.create_index(op.f("ix_bindings_expires_at"), "bindings", ["expires_at"], unique=False)
    op.create_index(op.f("ix_bindings_owner"), "bindings", ["owner"], unique=False)
