"""Each test on PostgreSQL and on MariaDB; whatever a test did to the server is undone after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.databases import DatabaseServer


@pytest.fixture(params=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    """A running server."""
    found: DatabaseServer = request.getfixturevalue(request.param)
    yield found
    if not found.running:
        found.start()
    found.thaw()
    found.read_only(False)


@pytest.fixture
def database(server: DatabaseServer) -> str:
    """The URL of a database without tables."""
    return server.fresh_database()
