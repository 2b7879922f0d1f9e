"""The console page before a cluster: events come from other servers than the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.integration.cluster.conftest import MakeCluster
from tests.integration.cluster.test_cluster import phone
from tests.support.browser import Browser
from tests.support.cluster import ADMIN_PASSWORD, DOMAIN, Cluster

RETRY_SECONDS = 40.0
"""The page asks a server that is away again after 30 s at the latest."""


@pytest_asyncio.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    """A window of its own."""
    made = Browser(tmp_path / "browser")
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


async def log_in(browser: Browser, cluster: Cluster) -> None:
    """Fill in the form and wait for the event stream."""
    await browser.open(cluster.provisioning.http)
    await browser.fill("#login [name=username]", "admin")
    await browser.fill("#login [name=password]", ADMIN_PASSWORD)
    await browser.click("#login button")
    await browser.shows("#stream-state", "live")


async def test_an_administrator_sees_the_nodes_and_where_phones_go(
    cluster: Cluster, browser: Browser
) -> None:
    await log_in(browser, cluster)
    for name in cluster.nodes:
        await browser.shows("#nodes", name)
    await browser.fill("#add-account [name=username]", "shown")
    await browser.fill("#add-account [name=password]", "secret1")
    await browser.click("#add-account button")
    settings = await browser.shows("#phone-settings", "shown")
    for proxy in cluster.proxies:
        assert proxy.sip in settings
    one = await phone(cluster, "proxy2")
    await browser.shows("#bindings", f"{one.user}@{DOMAIN}")
    await browser.shows("#events", "registration.added")
    assert (await one.call("nobody")).status == 404
    await browser.shows("#cdrs", one.user)  # of the newest call, which comes first
    await browser.click("#cdrs button")
    await browser.shows("#steps", "sip.trace")
    await browser.click("#steps summary")
    await browser.shows("#steps details[open] pre", "INVITE sip:nobody@")
    await one.close()
    faults = [line for line in await browser.log() if "Content Security" in line or "CORS" in line]
    assert faults == []


async def test_events_go_on_from_the_other_server_with_none_missing(
    make_cluster: MakeCluster, browser: Browser
) -> None:
    cluster = await make_cluster(proxies=1, appservers=1)
    await log_in(browser, cluster)
    names = []
    for round_, node in enumerate((*cluster.events, *cluster.events)):
        node.kill()
        for part in ("a", "b"):
            names.append(f"stranger-{round_}{part}")
            wrong = {"username": names[-1], "password": "wrong"}
            answer = await cluster.api.client.post("/api/v1/login", json=wrong)
            assert answer.status_code == 401
        await browser.shows("#events", names[-1])
        await node.start()
        await cluster.is_ready(node)
    # newest first; the list was never filled anew
    shown = await browser.script(
        """return [...document.querySelectorAll('#events li')].map(li => li.textContent)
             .map(text => (text.match(/stranger-[0-9][ab]/) || [])[0]).filter(Boolean)"""
    )
    assert shown == names[::-1]


async def test_a_call_is_hung_up_and_all_but_calls_goes_on_while_no_events_server_is_there(
    make_cluster: MakeCluster, browser: Browser
) -> None:
    cluster = await make_cluster(proxies=1, appservers=2)
    await log_in(browser, cluster)
    caller, callee = await phone(cluster, "proxy1"), await phone(cluster, "proxy1")
    calling = asyncio.create_task(caller.call(callee.user))
    await (await callee.incoming()).accept()
    assert (await calling).status == 200
    await browser.shows("#calls", "answered")
    await browser.click("#calls td.actions button:last-child")
    await browser.shows("#ask", "Hang up")
    await browser.click("#ask-yes")
    await asyncio.gather(caller.confirm("BYE"), callee.confirm("BYE"))
    await browser.shows("#calls", "No call is under way.")
    for node in cluster.events:
        node.kill()
    await browser.shows("#stream-state", "not connected")
    await browser.open(cluster.provisioning.http)
    await browser.shows("#error", "What tells of calls and events does not answer.")
    await browser.fill("#add-key [name=name]", "made meanwhile")
    await browser.click("#add-key button")
    await browser.shows("#keys", "made meanwhile")
    for node in cluster.events:
        await node.start()
        await cluster.is_ready(node)
    await browser.shows("#stream-state", "live", RETRY_SECONDS)
    await browser.shows("#calls", "No call is under way.")
    for each in (caller, callee):
        await each.close()
