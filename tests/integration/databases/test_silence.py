"""An event log whose database falls silent lets go of it, and goes on when it answers again."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from services.events.adapters import database as module
from services.events.adapters import eventlog
from services.events.adapters.eventlog import SqlEventLog
from services.events.domain.event import draft
from services.events.ports import StorageError
from tandem.bus.ports import Envelope
from tests.support.databases import DatabaseServer
from tests.support.events import removed
from tests.support.waiting import PATIENCE_SECONDS, eventually


@pytest.fixture
async def log(database: str, monkeypatch: pytest.MonkeyPatch) -> SqlEventLog:
    """Open, and of little patience."""
    monkeypatch.setattr(eventlog, "make_engine", partial(module.make_engine, statement_seconds=1))
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.5)
    log = SqlEventLog(database)
    await log.open()
    await store(log, 1)
    monkeypatch.setattr(eventlog, "PATIENCE_SECONDS", 0.5)
    return log


async def store(log: SqlEventLog, number: int) -> None:
    await log.append([draft(Envelope(f"n-{number}", 1.0, "n", removed("alice", number)))])


async def test_a_log_whose_database_is_silent_can_be_closed(
    server: DatabaseServer, log: SqlEventLog
) -> None:
    server.freeze()
    with pytest.raises(StorageError):
        await store(log, 2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await log.close()


async def test_what_was_given_up_is_stored_once_when_the_database_answers(
    server: DatabaseServer, log: SqlEventLog
) -> None:
    server.freeze()
    with pytest.raises(StorageError):
        await store(log, 2)
    server.thaw()

    async def stored() -> bool:
        try:
            await store(log, 2)
            await store(log, 3)
            return await log.bounds() == (1, 3)
        except StorageError:
            return False

    await eventually(stored, "three events", seconds=60)
    await log.close()
