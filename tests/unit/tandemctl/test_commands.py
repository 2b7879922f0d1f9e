"""What tandemctl prints and how it ends, before servers with made-up answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from tandem.rpc.server import GrpcServer
from tandem.stubs.bus.v1.location_pb2 import Binding
from tandem.stubs.eventfeed.v1 import eventfeed_pb2 as feed
from tandemctl.__main__ import COMMANDS
from tandemctl.client import Access, Client
from tandemctl.errors import Problem
from tandemctl.options import make_parser
from tests.support.waiting import eventually
from tests.unit.tandemctl.fakes import TOKEN, FakeFeed, FakeOps, event, node, serve, serve_ops

Servers = tuple[FakeOps, FakeFeed, GrpcServer]


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[Servers]:
    """A server that knows nothing yet."""
    ops, events = FakeOps(), FakeFeed()
    server = await serve(ops, events)
    yield ops, events, server
    await server.stop()


async def run(server: GrpcServer, *arguments: str, token: str = TOKEN) -> None:
    """A command, as the program would run it."""
    options = make_parser({}).parse_args(["--server", str(server.address), *arguments])
    async with Client(Access(server=options.server, token=token)) as client:
        await COMMANDS[options.run](client, options)


async def test_numbers_are_numbers_in_json(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    ops, _, server = servers
    ops.nodes = [node("a1", "appserver", incarnation=1_790_000_000_000, calls=3)]
    await run(server, "nodes", "--json")
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["incarnation"], shown["calls"]) == (1_790_000_000_000, 3)
    assert (shown["hints"], shown["public"], shown["silent_seconds"]) == (0, [], 0.5)


async def test_a_call_is_shown_name_and_state_first(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, events, server = servers
    legs = [{"target": "sip:bob@b", "leg": 1}]
    events.call = {"legs": legs, "answered_at": "now", "node": "a1", "state": "answered", "id": "c"}
    await run(server, "calls", "show", "c")
    shown = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line]
    assert [name for name, _ in shown] == ["id", "state", "node", "answered_at", "legs"]
    assert shown[-1][1] == "leg 1 target sip:bob@b"


async def test_a_call_that_has_ended_is_shown_with_its_record(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, events, server = servers
    record = {"id": "c", "node": "a1", "status": 200, "caller_name": ""}
    events.call = {"id": "c", "state": "ended", "record": record}
    await run(server, "calls", "show", "c")
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert shown == [["id", "c"], ["state", "ended"], ["node", "a1"], ["status", "200"]]
    await run(server, "calls", "show", "c", "--json")
    assert json.loads(capsys.readouterr().out)["record"]["status"] == 200


async def test_what_a_phone_says_can_not_move_the_cursor(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    ops, _, server = servers
    ops.bindings = [Binding(aor="a@b", user_agent="evil\x1b[2Jphone\r\n", expires_at=9e9)]
    await run(server, "bindings")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert shown.count("\n") == 2


async def test_bindings_come_in_pages(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    ops, _, server = servers
    ops.bindings = [Binding(aor=f"u{number}@d") for number in range(2500)]
    await run(server, "bindings", "--owner", "ann", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 2500
    assert [request.offset for request in ops.asked] == [0, 1000, 2000]
    assert {request.owner for request in ops.asked} == {"ann"}


async def test_a_token_that_is_not_known_ends_with_status_4(servers: Servers) -> None:
    with pytest.raises(Problem) as caught:
        await run(servers[2], "nodes", token="bad")
    assert caught.value.status == 4
    assert "tandemctl login" in str(caught.value)


async def test_without_a_token_nobody_is_asked(servers: Servers) -> None:
    with pytest.raises(Problem, match="not logged in"):
        await run(servers[2], "nodes", token="")


async def test_a_node_that_there_is_not_ends_with_status_3(servers: Servers) -> None:
    with pytest.raises(Problem) as caught:
        await run(servers[2], "drain", "nobody")
    assert (caught.value.status, str(caught.value)) == (3, "There is no such node.")


async def test_a_wait_that_is_too_long_fails(servers: Servers) -> None:
    ops, _, server = servers
    ops.nodes = [node("a1", "appserver", calls=2)]
    with pytest.raises(Problem, match="a1 still has 2 calls"):
        await run(server, "drain", "a1", "--wait", "1")


async def test_a_drained_node_is_waited_for(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    ops, _, server = servers
    ops.nodes = [node("a1", "appserver", calls=1)]

    async def draining() -> bool:
        return ops.nodes[0].said.state == "draining"

    async def end_the_call() -> None:
        await eventually(draining, "the node to drain")
        ops.nodes[0].said.calls = 0

    await asyncio.gather(run(server, "drain", "a1", "--wait", "--json"), end_the_call())
    assert json.loads(capsys.readouterr().out)["calls"] == 0


# -- events ----------------------------------------------------------------------------------------


async def two_then_break(request: feed.FollowRequest) -> AsyncIterator[feed.FollowResponse]:
    yield event(1)
    yield event(2)


async def two_more(request: feed.FollowRequest) -> AsyncIterator[feed.FollowResponse]:
    yield event(2)
    yield event(3)
    await asyncio.Event().wait()


async def test_tail_goes_on_after_the_last_id_and_shows_none_twice(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, events, server = servers
    events.streams = [two_then_break, two_more]
    await run(server, "events", "tail", "--cursor", "0", "--count", "3", "--json")
    out, err = capsys.readouterr()
    shown = [json.loads(line) for line in out.splitlines()]
    assert [line["id"] for line in shown] == [1, 2, 3]
    assert shown[0]["data"] == {"count": 1, "share": 0.5}
    assert [request.cursor for request in events.asked] == [0, 2]
    assert "trying again" in err
    assert "connected again" in err


async def test_tail_begins_with_what_comes_now(servers: Servers) -> None:
    _, events, server = servers
    events.streams = [two_then_break]
    await run(server, "events", "tail", "--count", "1", "--filter", "type=proxy.*")
    (request,) = events.asked
    assert not request.HasField("cursor")
    assert request.filter == "type=proxy.*"
    assert not request.traces


@pytest.mark.parametrize(("given", "customer"), [(("--traces",), ""), (("--traces", "ann"), "ann")])
async def test_traces_are_asked_for(
    servers: Servers, given: tuple[str, ...], customer: str
) -> None:
    _, events, server = servers
    events.streams = [two_then_break]
    await run(server, "events", "tail", "--count", "1", *given)
    assert (events.asked[0].traces, events.asked[0].trace_customer) == (True, customer)


async def with_a_gap(request: feed.FollowRequest) -> AsyncIterator[feed.FollowResponse]:
    yield feed.FollowResponse(gap=feed.Gap(after=4, next=9))
    yield event(9)


async def test_a_gap_is_told(servers: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    _, events, server = servers
    events.streams = [with_a_gap]
    await run(server, "events", "tail", "--cursor", "4", "--count", "1", "--json")
    out, err = capsys.readouterr()
    assert "after 4 and before 9" in err
    assert json.loads(out.splitlines()[0]) == {"gap": {"after": 4, "next": 9}}


async def cursor_then_close(request: feed.FollowRequest) -> AsyncIterator[feed.FollowResponse]:
    yield feed.FollowResponse(cursor=7)
    yield feed.FollowResponse(closed="the server stops")


async def test_a_cursor_without_events_is_where_it_goes_on(
    servers: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, events, server = servers
    events.streams = [cursor_then_close, lambda request: one(8)]
    await run(server, "events", "tail", "--count", "1")
    assert [request.cursor for request in events.asked if request.HasField("cursor")] == [7]
    assert "the server stops" in capsys.readouterr().err


async def test_tail_waits_for_an_events_node_when_the_whole_cluster_has_stopped(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ops, events = FakeOps(), FakeFeed()
    server, first = await serve_ops(ops), await serve(FakeOps(), events)
    ops.nodes = [node("e1", "events", grpc=str(first.address))]
    events.streams = [lambda request: one(1)]
    tail = asyncio.create_task(run(server, "events", "tail", "--cursor", "0", "--count", "2"))

    async def lost() -> bool:
        return "trying again" in capsys.readouterr().err

    await eventually(lost, "the end of the stream")
    await first.stop()
    ops.asked.clear()
    for state in ("stopped", None):  # as provisioning knows it, and after a restart of its own
        del ops.nodes[:]
        ops.nodes += [node("e1", "events", grpc="127.0.0.1:1", state=state)] if state else []
        seen = ops.listed

        async def asked(seen: int = seen) -> bool:
            return ops.listed > seen + 1

        await eventually(asked, "another look")
        assert not tail.done()
    again = FakeFeed(streams=[lambda request: one(2)])
    second = await serve(FakeOps(), again)
    ops.nodes = [node("e2", "events", grpc=str(second.address))]
    async with asyncio.timeout(20):
        await tail
    assert again.asked[0].cursor == 1
    for each in (server, second):
        await each.stop()


async def test_where_no_events_node_is_up_that_is_said() -> None:
    ops = FakeOps(nodes=[node("e1", "events", grpc="127.0.0.1:1", state="stopped")])
    server = await serve_ops(ops)
    with pytest.raises(Problem, match="no events node is up: see tandemctl nodes"):
        await run(server, "events", "tail")
    await server.stop()


async def one(number: int) -> AsyncIterator[feed.FollowResponse]:
    yield event(number)


async def test_tail_fails_over_to_another_events_node(capsys: pytest.CaptureFixture[str]) -> None:
    ops, first, second = FakeOps(), FakeFeed(), FakeFeed()
    servers = [await serve(ops, FakeFeed()), await serve(ops, first), await serve(ops, second)]
    ops.nodes = [
        node("e1", "events", grpc=str(servers[1].address)),
        node("e2", "events", grpc=str(servers[2].address)),
        node("e3", "events", grpc="127.0.0.1:1", state="lost"),
    ]
    first.streams = [lambda request: forever(1)]
    second.streams = [lambda request: forever(1)]
    tail = asyncio.create_task(run(servers[0], "events", "tail", "--cursor", "0", "--count", "2"))

    async def shown() -> bool:
        return "proxy.dropped" in capsys.readouterr().out

    await eventually(shown, "the first event")
    asked, other, gone = (first, second, servers[1])
    if second.asked:
        asked, other, gone = (second, first, servers[2])
    other.streams = [lambda request: one(2)]
    await gone.stop()
    async with asyncio.timeout(20):
        await tail
    assert len(asked.asked) == 1
    assert other.asked[-1].cursor == 1
    for server in servers:
        await server.stop()


async def forever(number: int) -> AsyncIterator[feed.FollowResponse]:
    yield event(number)
    await asyncio.Event().wait()


async def test_an_address_where_nobody_is_fails_at_the_start() -> None:
    options = make_parser({}).parse_args(["--server", "127.0.0.1:1", "events", "tail"])
    async with Client(Access(server=options.server, token=TOKEN)) as client:
        with pytest.raises(Problem, match=r"127\.0\.0\.1:1 does not answer"):
            await COMMANDS["tail"](client, options)


async def test_what_can_not_be_mended_by_waiting_ends_the_tail(servers: Servers) -> None:
    _, events, server = servers
    events.refusal = grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(Problem, match="No\\.") as caught:
        await run(server, "events", "tail", "--cursor", "0")
    assert caught.value.status == 2
    assert len(events.asked) == 1
