"""tandemctl before one process that has all services in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.switch import DOMAIN, Switch
from tests.support.tandemctl import Tandemctl
from tests.support.wsclient import WebPhone

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(switch: Switch) -> AsyncIterator[Tandemctl]:
    """Logged in as the administrator."""
    token = switch.api.client.headers["Authorization"].removeprefix("Bearer ")
    yield Tandemctl(TANDEM_GRPC_URL=switch.grpc, TANDEM_TOKEN=token)


async def test_there_are_no_other_nodes_and_no_hints(run: Tandemctl) -> None:
    assert (await run("nodes")).status == 0
    assert (await run("hints", "--json")).json == []
    assert (await run("calls", "--json")).json == []


async def test_phones_and_events_are_shown(run: Tandemctl, switch: Switch) -> None:
    await switch.api.add_account("ann", "secret1")
    phone = WebPhone("ann", "secret1")
    # from the first event on: nobody can tell when it has begun to follow
    tail_of = ("events", "tail", "--filter", "type=registration.*", "--cursor", "0")
    async with await run.follow(*tail_of) as tail:
        await phone.connect(switch.address("ws"))
        assert (await phone.register()).status == 200
        await switch.api.bound(f"ann@{DOMAIN}")
        (binding,) = (await run("bindings", "--json")).json
        assert binding["aor"] == f"ann@{DOMAIN}"
        await phone.close()
        await tail.until("registration.removed", aor=f"ann@{DOMAIN}")
        await tail.stop()


async def test_a_customer_follows_his_own_events_and_sees_no_nodes(
    switch: Switch, tmp_path: Path
) -> None:
    account = {"username": "bob", "password": "correct horse"}
    made = await switch.api.client.post("/api/v1/customers", json=account)
    made.raise_for_status()
    run = Tandemctl(
        TANDEM_GRPC_URL=switch.grpc,
        TANDEM_HTTP_URL=str(switch.api.client.base_url),
        XDG_CONFIG_HOME=str(tmp_path),
    )
    assert (await run("login", "bob", "--password-stdin", given="correct horse\n")).status == 0
    assert (await run("nodes")).status == 4
    assert (await run("calls", "--json")).json == []
    async with await run.follow("events", "tail", "--cursor", "0") as tail:
        for owner in ("admin", "bob"):
            await switch.api.add_account(f"of-{owner}", "secret1", owner=owner)
            phone = WebPhone(f"of-{owner}", "secret1")
            await phone.connect(switch.address("ws"))
            assert (await phone.register()).status == 200
            await phone.close()
        await tail.until("registration.removed", aor=f"of-bob@{DOMAIN}")
        await tail.stop()
    assert {event["owner"] for event in tail.events} == {"bob"}
