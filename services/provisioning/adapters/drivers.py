"""The drivers' connections with an end to their patience: a server that takes a statement and says
nothing (it is frozen, or the network swallows packets) would be waited for without end, since no
driver has a time-out of its own for that, and cancelling a task makes psycopg ask the server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

import psycopg
from aiomysql.connection import Connection
from pymysql.constants import CR
from pymysql.err import OperationalError

from tandem.runtime.database import bear_nul


async def connect_postgresql(patience: float, **arguments: Any) -> psycopg.AsyncConnection[Any]:
    """A connection that is cut when the server is silent for `patience` seconds."""

    class Patient(psycopg.AsyncConnection[Any]):
        async def wait(self, *args: Any, **kwargs: Any) -> Any:
            timer = asyncio.get_running_loop().call_later(patience, _cut, self)
            try:
                return await super().wait(*args, **kwargs)
            finally:
                timer.cancel()

    connection = await Patient.connect(**arguments)
    bear_nul(connection)
    return connection


def _cut(connection: psycopg.AsyncConnection[Any]) -> None:
    # The driver then sees the end of the stream, and does what it does when a server dies.
    with contextlib.suppress(psycopg.Error, OSError):
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
            same.shutdown(socket.SHUT_RDWR)


async def connect_mariadb(patience: float, **arguments: Any) -> Any:
    """The same for MariaDB and MySQL."""
    connection = _Patient(patience, db=arguments.pop("database"), **arguments)
    await connection._connect()
    return connection


class _Patient(Connection):  # type: ignore[misc]  # aiomysql has no types
    def __init__(self, patience: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._patience = patience

    async def _read_bytes(self, num_bytes: int) -> bytes:
        try:
            async with asyncio.timeout(self._patience):
                return bytes(await super()._read_bytes(num_bytes))
        except TimeoutError as fault:
            self.close()
            text = "Lost connection: the server is silent"
            raise OperationalError(CR.CR_SERVER_LOST, text) from fault
