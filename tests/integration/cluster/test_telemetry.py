"""OpenTelemetry: a call is one trace over proxy, appserver and provisioning."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from time import monotonic

import pytest_asyncio

from tandem.runtime.telemetry import CLOSE_SECONDS, EXPORT_SECONDS, trace_id
from tests.integration.cluster.conftest import MakePlace
from tests.support.cluster import DOMAIN, Cluster, Node
from tests.support.collector import Collector, SeenSpan
from tests.support.waiting import eventually
from tests.support.wsclient import WebPhone

LOOK_UP = "tandem.directory.v1.Directory/GetAccount"


@dataclass(frozen=True)
class Traced:
    """A cluster whose nodes all export to a collector."""

    cluster: Cluster
    collector: Collector

    async def spans(self, call_id: str, done: Callable[[list[SeenSpan]], bool]) -> list[SeenSpan]:
        """The spans of one SIP Call-ID, once they are what was waited for."""
        trace = f"{trace_id(call_id):032x}"

        async def look() -> list[SeenSpan]:
            found = [span for span in self.collector.spans if span.trace == trace]
            return found if done(found) else []

        return await eventually(look, f"the spans of {call_id}: {self.collector.spans}")

    async def phone(self) -> WebPhone:
        """A phone with an account that nobody has asked for yet."""
        user = f"u{secrets.token_hex(4)}"
        await self.cluster.api.add_account(user, "secret1")
        made = WebPhone(user, "secret1")
        await made.connect(self.cluster["proxy1"].at("ws"))
        return made


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(make_place: MakePlace) -> AsyncIterator[Traced]:
    """One of everything, started once."""
    with Collector() as collector:
        often = {
            "TANDEM_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",  # the SDK's own setting, milliseconds
        }
        kinds = ("proxy", "appserver", "provisioning", "events")
        env = {kind: often for kind in kinds}
        place = await asyncio.to_thread(make_place)
        cluster = Cluster(proxies=1, appservers=1, provisionings=1, events=1, env=env, **place)
        try:
            await cluster.start()
            yield Traced(cluster, collector)
        finally:
            await cluster.stop()


@pytest_asyncio.fixture
async def traced(running: Traced) -> AsyncIterator[Traced]:
    """The same, logged in."""
    await running.cluster.log_in()
    yield running
    await running.cluster.log_out()


def all_of_a_call(spans: list[SeenSpan]) -> bool:
    """Whether those of an INVITE that was challenged, and of the call after it, are there."""
    invites = sum(span.name == "INVITE request" for span in spans)
    return invites == 3 and any(span.service == "tandem-provisioning" for span in spans)


def one(spans: list[SeenSpan], service: str, name: str, **attributes: str | int) -> SeenSpan:
    """The only span of this service and name, with these attributes (`__` for `.`)."""
    wanted = {key.replace("__", "."): value for key, value in attributes.items()}
    found = [
        span
        for span in spans
        if (span.service, span.name) == (f"tandem-{service}", name)
        and wanted.items() <= span.attributes.items()
    ]
    assert len(found) == 1, (service, name, wanted, spans)
    return found[0]


async def test_a_call_is_one_trace_over_proxy_appserver_and_provisioning(traced: Traced) -> None:
    caller, callee = await traced.phone(), await traced.phone()
    assert (await callee.register()).status == 200
    await traced.cluster.api.bound(f"{callee.user}@{DOMAIN}")
    calling = asyncio.create_task(caller.call(callee.user))
    incoming = await callee.incoming()
    await incoming.ring()
    await incoming.accept()
    call = await calling
    hanging = asyncio.create_task(call.hang_up())
    await callee.confirm("BYE")
    assert (await hanging).status == 200
    call_id = call.invite.call_id
    spans = await traced.spans(call_id, all_of_a_call)
    # the proxy: a span for the INVITE that was challenged, one for the INVITE that was not
    challenged = one(spans, "proxy", "INVITE request", sip__response__status_code=407)
    passed = one(spans, "proxy", "INVITE request", sip__response__status_code=200)
    uri = f"sip:{callee.user}@{DOMAIN}"
    for span in (challenged, passed):
        assert span.node == "proxy1"
        assert (
            span.attributes.items()
            >= {
                "network.protocol.name": "sip",
                "network.protocol.version": "2.0",
                "network.transport": "ws",
                "network.peer.address": "127.0.0.1",
                "sip.message.type": "request",
                "sip.request.method": "INVITE",
                "sip.request.uri": uri,
                "sip.call_id": call_id,
                "url.full": uri,
                "url.scheme": "sip",
                "user_agent.original": "tests web phone",
            }.items()
        )
        assert int(span.attributes["network.peer.port"]) > 0
    # the appserver: the call below what the proxy let pass, and its leg below that
    taken = one(spans, "appserver", "INVITE request")
    assert taken.parent == passed.span
    assert (
        taken.attributes.items()
        >= {
            "network.transport": "ws",
            "network.peer.address": "127.0.0.1",
            "network.peer.port": passed.attributes["network.peer.port"],
            "sip.call_id": call_id,
            "sip.request.uri": uri,
            "sip.response.status_code": 200,
            "tandem.end_reason": "caller hung up",
            "user_agent.original": "tests web phone",
        }.items()
    )
    leg = one(spans, "appserver", "INVITE local")
    assert leg.parent == taken.span
    assert leg.attributes["sip.response.status_code"] == 200
    # provisioning: the account of the caller, who was challenged only then
    asked = one(spans, "appserver", LOOK_UP)
    told = one(spans, "provisioning", LOOK_UP)
    assert (asked.parent, told.parent) == (challenged.span, asked.span)
    assert told.node == "provisioning1"
    for phone in (caller, callee):
        await phone.close()


async def test_a_registration_is_a_trace_too(traced: Traced) -> None:
    phone = await traced.phone()
    assert (await phone.register()).status == 200
    refreshed = await phone.register_once(authorized=True)
    assert refreshed.status == 200
    spans = await traced.spans(refreshed.call_id, lambda s: len(s) == 8)
    for number, status in ((1, 401), (2, 200), (3, 200)):
        cseq = f"{number} REGISTER"
        passed = one(spans, "proxy", "REGISTER request", sip__cseq=cseq)
        taken = one(spans, "appserver", "REGISTER request", sip__cseq=cseq)
        assert taken.parent == passed.span
        assert taken.attributes["sip.request.method"] == "REGISTER"
        assert taken.attributes["user_agent.original"] == "tests web phone"
        for span in (passed, taken):
            assert span.attributes["sip.response.status_code"] == status
        if status == 401:
            asked = one(spans, "appserver", LOOK_UP)
            assert asked.parent == taken.span
            assert one(spans, "provisioning", LOOK_UP).parent == asked.span
    await phone.close()


async def test_spans_are_counted_and_a_failed_call_has_its_status(traced: Traced) -> None:
    caller = await traced.phone()
    call = await caller.call("nobody")
    assert call.status == 404
    spans = await traced.spans(call.invite.call_id, all_of_a_call)
    assert one(spans, "appserver", "INVITE request").attributes["sip.response.status_code"] == 404
    for name in ("proxy1", "appserver1", "provisioning1"):
        metrics = await traced.cluster[name].metrics()
        assert metrics["tandem_spans_exported_total"] > 0
        assert metrics["tandem_spans_lost_total"] == 0
    await caller.close()


async def stopped(node: Node) -> float:
    """SIGTERM; how many seconds it took."""
    began = monotonic()
    assert await node.terminate() == 0
    return monotonic() - began


async def test_a_collector_that_is_away_costs_one_line_and_delays_no_stop(traced: Traced) -> None:
    cluster = traced.cluster
    nodes = [cluster["appserver1"], cluster["proxy1"]]
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        await asyncio.gather(*(stopped(node) for node in nodes))
        await asyncio.gather(*(node.start(TANDEM_OTLP_ENDPOINT=away) for node in nodes))
        for node in nodes:
            await cluster.is_ready(node)
        # until spans are given up on both
        phone = await traced.phone()

        async def lost() -> bool:
            assert (await phone.register()).status == 200
            return all([(await node.metrics())["tandem_spans_lost_total"] > 5 for node in nodes])

        await eventually(lost, "spans to be lost", 60)
        assert (await phone.call("nobody")).status == 404
        await phone.close()
        took = await asyncio.gather(*(stopped(node) for node in nodes))
        assert max(took) < 10 + CLOSE_SECONDS + EXPORT_SECONDS
        for node in nodes:
            assert node.log.count("traces can't be exported") == 1
            assert "Traceback" not in node.log
        back = traced.collector.endpoint
        await asyncio.gather(*(node.start(TANDEM_OTLP_ENDPOINT=back) for node in nodes))
