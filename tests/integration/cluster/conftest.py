"""One cluster for all tests that break nothing, and clusters of their own for those that do: at
the same servers, unless they break those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from tests.support.certificates import make_certificate
from tests.support.cluster import Cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Two of everything, on TLS too, started once; use `cluster`."""
    made = make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")
    env = {"appserver": {"TANDEM_TRIGGER_PRIVATE": "1"}}  # providers of tests are on this machine
    shared = Cluster(tls=(made.certificate, made.key), env=env)
    try:
        await shared.start()
        yield shared
    finally:
        await shared.stop()


@pytest_asyncio.fixture
async def cluster(shared_cluster: Cluster) -> AsyncIterator[Cluster]:
    """The shared cluster, all nodes ready, logged in. Leave it as it was found."""
    await shared_cluster.log_in()
    yield shared_cluster
    await shared_cluster.log_out()


MakePlace = Callable[[], dict[str, Any]]
MakeCluster = Callable[..., Awaitable[Cluster]]


@pytest.fixture(scope="session")
def make_place(shared_cluster: Cluster) -> MakePlace:
    """`Cluster(**make_place())`: at the servers of the shared cluster. Takes a second."""
    numbers = count(1)
    return lambda: shared_cluster.place(f"own{next(numbers)}")


@pytest_asyncio.fixture
async def make_cluster(make_place: MakePlace) -> AsyncIterator[MakeCluster]:
    """`await make_cluster(proxies=2, ...)`: nodes of one's own to break, logged in."""
    made: list[Cluster] = []

    async def make(**options: Any) -> Cluster:
        cluster = Cluster(**await asyncio.to_thread(make_place), **options)
        made.append(cluster)
        await cluster.start()
        await cluster.log_in()
        return cluster

    yield make
    for cluster in made:
        await cluster.log_out()
        await cluster.stop()


@pytest_asyncio.fixture
async def own_cluster() -> AsyncIterator[Cluster]:
    """Two of everything to break, with servers of its own, logged in."""
    cluster = Cluster()
    try:
        await cluster.start()
        await cluster.log_in()
        yield cluster
    finally:
        await cluster.log_out()
        await cluster.stop()
