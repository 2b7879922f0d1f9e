"""One cluster for all tests that break nothing, and clusters of their own for those that do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.support.certificates import make_certificate
from tests.support.cluster import Cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Two of everything, on TLS too, started once; use `cluster`."""
    made = make_certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")
    shared = Cluster(tls=(made.certificate, made.key))
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


MakeCluster = Callable[..., Awaitable[Cluster]]


@pytest_asyncio.fixture
async def make_cluster() -> AsyncIterator[MakeCluster]:
    """`await make_cluster(proxies=2, ...)`: a cluster of one's own to break, logged in."""
    made: list[Cluster] = []

    async def make(**options: Any) -> Cluster:
        cluster = Cluster(**options)
        made.append(cluster)
        await cluster.start()
        await cluster.log_in()
        return cluster

    yield make
    for cluster in made:
        await cluster.log_out()
        await cluster.stop()


@pytest_asyncio.fixture
async def own_cluster(make_cluster: MakeCluster) -> Cluster:
    """Two of everything, to break."""
    return await make_cluster()
