"""`tandem db`: the schemas of a database that provisioning and events use, or one of them alone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from services.events.adapters import database as events
from services.events.ports import StorageError
from services.provisioning.adapters import database as provisioning
from services.provisioning.adapters.engine import parse
from services.provisioning.domain.errors import DatabaseProblem
from tandem.rpc.directory import DirectoryUnavailable
from tandem.runtime.database import DatabaseUrl

DONE = 0
FAILED = 1
"""The database is away or can't be used, or (`current`) its schema is not the newest."""
WRONG_SETTING = 2


def run(action: str, url: str) -> int:
    """Do `upgrade` or `current` on the database at `url`; returns the exit status."""
    try:
        parsed = parse(url)
    except DatabaseProblem as problem:
        return _complain(problem, WRONG_SETTING)
    try:
        return _upgrade(url, parsed) if action == "upgrade" else _current(url)
    except (DatabaseProblem, DirectoryUnavailable) as problem:
        return _complain(problem, FAILED)


def _upgrade(url: str, parsed: DatabaseUrl) -> int:
    _tell_upgrade("provisioning", *asyncio.run(provisioning.upgrade_database(url)))
    with _events_problems(parsed):
        _tell_upgrade("events", *events.upgrade_database(url))
    return DONE


def _current(url: str) -> int:
    found = {"provisioning": asyncio.run(provisioning.revision_of(url))}
    with _events_problems(parse(url)):
        found["events"] = events.revision_of(url)
    newest = {"provisioning": provisioning.NEWEST_SCHEMA, "events": events.NEWEST_SCHEMA}
    for service, schema in found.items():
        state = "the newest" if schema == newest[service] else f"the newest is {newest[service]}"
        print(f"{service}: schema {schema or 'none'} ({state})")
    return DONE if found == newest else FAILED


def _tell_upgrade(service: str, before: str | None, after: str) -> None:
    done = "nothing to do" if before == after else f"upgraded from {before or 'nothing'}"
    print(f"{service}: schema {after}, {done}", flush=True)


@contextmanager
def _events_problems(url: DatabaseUrl) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError, StorageError) as fault:
        reason = " ".join(str(getattr(fault, "orig", None) or fault).split())
        raise DatabaseProblem(f"events: can't use the database {url}: {reason}") from fault


def _complain(problem: Exception, status: int) -> int:
    print(f"tandem: {problem}", file=sys.stderr)
    return status
