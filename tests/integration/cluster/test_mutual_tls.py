"""Whole nodes that talk gRPC with certificates of one authority, and let in nobody without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.cluster.conftest import MakePlace
from tests.integration.cluster.test_cluster import phone
from tests.support.certificates import Authority, Certificate
from tests.support.cluster import DOMAIN, Cluster
from tests.support.tandemctl import Tandemctl
from tests.support.waiting import eventually

KINDS = ("provisioning", "events", "appserver")
"""Those that take part in gRPC."""


def settings(authority: Authority, own: Certificate) -> dict[str, str]:
    """Of a node, or of tandemctl."""
    return {
        "TANDEM_GRPC_CA": str(authority.certificate),
        "TANDEM_GRPC_CERT": str(own.certificate),
        "TANDEM_GRPC_KEY": str(own.key),
    }


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The cluster's own."""
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(authority: Authority, make_place: MakePlace) -> AsyncIterator[Cluster]:
    """One of everything, each with a certificate of its own."""
    env = {kind: settings(authority, authority.issue(kind, "127.0.0.1")) for kind in KINDS}
    place = await asyncio.to_thread(make_place)
    made = Cluster(proxies=1, appservers=1, events=1, env=env, **place)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


@pytest_asyncio.fixture
async def cluster(running: Cluster) -> AsyncIterator[Cluster]:
    """The same, logged in."""
    await running.log_in()
    yield running
    await running.log_out()


def operator(cluster: Cluster, **certificates: str) -> Tandemctl:
    """Who has the right token, and these certificates."""
    return Tandemctl(
        TANDEM_GRPC_URL=cluster.local.shared.directory_url,
        TANDEM_TOKEN=cluster.api.client.headers["Authorization"].removeprefix("Bearer "),
        **certificates,
    )


async def test_nodes_ask_each_other_and_operators_ask_them_over_mutual_tls_alone(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    # the appserver asks for accounts, the events node who a token belongs to
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy1")
    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).accept()
    call = await calling
    live = await cluster.events_apis[0].live_call("answered")

    # provisioning asks the appserver, and the events node, for whoever asks it
    run = operator(cluster, **settings(authority, authority.issue("operator", "127.0.0.1")))
    bindings = (await run("bindings", "--json")).json
    assert {binding["aor"] for binding in bindings} == {
        f"{each.user}@{DOMAIN}" for each in (caller, callee)
    }
    assert [shown["id"] for shown in (await run("calls", "--json")).json] == [live["id"]]
    assert (await run("hints", "--json")).json == []
    assert (await run("calls", "hangup", live["id"])).status == 0
    for each in (caller, callee):
        await each.confirm("BYE")
    assert call.dialog is not None
    await cluster.events_apis[0].no_calls()

    stranger = Authority(tmp_path, "stranger")
    other = settings(authority, stranger.issue("strange", "127.0.0.1"))
    for refused in (operator(cluster), operator(cluster, **other)):
        ran = await refused("nodes")
        assert (ran.status != 0, ran.out) == (True, ""), ran
    for each in (caller, callee):
        await each.close()


async def test_an_appserver_with_a_strangers_certificate_learns_nothing(
    cluster: Cluster, authority: Authority, tmp_path: Path
) -> None:
    appserver = cluster["appserver1"]
    known = await phone(cluster, "proxy1")
    assert await appserver.terminate() == 0
    stranger = Authority(tmp_path, "stranger").issue("strange", "127.0.0.1")
    starting = asyncio.create_task(appserver.start(**settings(authority, stranger)))

    async def refused() -> bool:
        return "provisioning does not answer" in appserver.log

    await eventually(refused, "the stranger to be refused")
    await starting
    await known.close()
    assert await appserver.terminate() == 0
    await appserver.start(**settings(authority, authority.issue("again", "127.0.0.1")))
    await cluster.is_ready(appserver)
