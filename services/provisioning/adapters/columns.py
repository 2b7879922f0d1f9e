"""Text columns that compare the same on all databases: exactly, in the order of code points."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import String, Text
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.types import TypeEngine

EXACT: Final[dict[str, Any]] = {
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "mariadb_charset": "utf8mb4",
    # MariaDB's utf8mb4_bin takes "a" and "a " for the same; MySQL does not know this one.
    "mariadb_collate": "utf8mb4_nopad_bin",
}
"""Options of each table, for what else would be case-insensitive."""

TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")
LONG_TEXT: Final = TEXT.with_variant(MEDIUMTEXT(), "mysql", "mariadb")
"""What came in SIP messages: MariaDB's TEXT ends at 64 kB."""


def chars(length: int) -> TypeEngine[str]:
    """Text of up to `length` characters."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
