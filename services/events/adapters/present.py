"""Which of many keys a table has.

SQLAlchemy makes a parameter object of each value of an IN, and the statement anew for each number
of them: a fifth of what storing a batch of events costs. Here it is text, in the terms of the
driver.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, Connection


def present(connection: Connection, column: Column[Any], keys: Collection[str]) -> set[str]:
    """Those of `keys` that this column of text has."""
    if not keys:
        return set()
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(keys))
    found = connection.exec_driver_sql(
        f"SELECT {column.name} FROM {column.table.name} WHERE {column.name} IN ({marks})",
        tuple(keys),
    )
    return set(found.scalars())
