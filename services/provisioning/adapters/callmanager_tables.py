"""The tables of the call manager: methods that are open, and AGI rules."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, Table

from services.provisioning.adapters.columns import EXACT, TEXT, chars
from services.provisioning.adapters.tables import OWNER_LENGTH, metadata

call_manager_access: Final = Table(
    "call_manager_access",
    metadata,
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("method", chars(32), nullable=False),
    Column("networks", TEXT, nullable=False),
    Column("destinations", TEXT, nullable=False),
    **EXACT,
)

agi_rules: Final = Table(
    "agi_rules",
    metadata,
    Column(
        "owner",
        chars(OWNER_LENGTH),
        ForeignKey("customers.username", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("extension", chars(64), nullable=False),
    Column("caller", chars(64), nullable=False),
    Column("commands", TEXT, nullable=False),
    **EXACT,
)
