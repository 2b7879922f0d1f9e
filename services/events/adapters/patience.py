"""Connections to PostgreSQL with an end to their patience: a server that takes a statement and says
nothing (it is frozen, or its disk is) would hold our thread for ever, since its system goes on
acknowledging what we send."""

from __future__ import annotations

from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")


def connect(seconds: float, **arguments: Any) -> psycopg.Connection[Any]:
    """A connection that is closed when the server is silent for so long after a statement."""

    class Patient(psycopg.Connection[Any]):
        def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
            return super().wait(_limited(gen, self, seconds), *args, **kwargs)

    return Patient.connect(**arguments)


def _limited(gen: PQGen[T], connection: psycopg.Connection[Any], seconds: float) -> PQGen[T]:
    """The driver's steps, which it takes when there is something to read and ten times a second."""
    deadline = monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and monotonic() > deadline:
                connection.pgconn.finish()
                raise psycopg.OperationalError("the connection is given up: the server is silent")
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
