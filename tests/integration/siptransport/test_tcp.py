"""TCP over loopback: framing, limits, time-outs, both directions."""

from __future__ import annotations

import asyncio
import dataclasses
import socket

import pytest

from tandem.sip.limits import MAX_MESSAGE
from tandem.siptransport.connection import Connection
from tandem.siptransport.flow import Flow, StreamLimits
from tests.integration.siptransport.conftest import QUICK, MakeSide, Side

MESSAGE = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK74bf9\r\n"
    b"From: <sip:alice@example.com>;tag=9fxced76sl\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: 38482@example.com\r\nCSeq: 2 OPTIONS\r\nContent-Length: 4\r\n\r\nbody"
)
ANSWER = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def quick(**values: float) -> StreamLimits:
    return dataclasses.replace(QUICK, **values)  # type: ignore[arg-type]  # ints are floats too


async def dial(side: Side, host: str = "127.0.0.1") -> Streams:
    address = await side.streams.listen("tcp", host, 0)
    return await asyncio.open_connection(*address)


def stop_reading(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()


async def read(reader: asyncio.StreamReader, size: int) -> bytes:
    return await asyncio.wait_for(reader.readexactly(size), 5)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(), 5)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_request_comes_in_and_its_answer_goes_out_on_the_same_flow(
    make_side: MakeSide, host: str
) -> None:
    side = make_side()
    reader, writer = await dial(side, host)
    writer.write(MESSAGE)
    data, flow = await side.user.message()
    assert data == MESSAGE
    assert flow.transport == "tcp"
    assert flow.remote == writer.get_extra_info("sockname")[:2]
    assert flow.local == writer.get_extra_info("peername")[:2]
    assert side.streams.get(flow.id) is flow
    assert flow.send(ANSWER)
    assert await read(reader, len(ANSWER)) == ANSWER
    writer.close()
    assert await side.user.end() == (flow, "closed by peer")
    assert flow.closed
    assert not flow.send(ANSWER)
    assert side.streams.get(flow.id) is None


async def test_messages_may_come_byte_by_byte(make_side: MakeSide) -> None:
    side = make_side()
    _, writer = await dial(side)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in MESSAGE * 2:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    assert (await side.user.message())[0] == MESSAGE
    assert (await side.user.message())[0] == MESSAGE
    writer.close()


async def test_a_ping_is_answered_with_a_pong(make_side: MakeSide) -> None:
    side = make_side()
    reader, writer = await dial(side)
    writer.write(b"\r\n\r\n")
    assert await read(reader, 2) == b"\r\n"
    assert side.streams.counters.keepalives == 1
    writer.close()


async def test_two_sides_keep_a_flow_alive_without_an_endless_exchange(
    make_side: MakeSide,
) -> None:
    server, client = make_side(), make_side()
    flow = client.streams.connect("tcp", *await server.streams.listen("tcp", "127.0.0.1", 0))
    assert flow.send(MESSAGE)
    _, incoming = await server.user.message()
    for _ in range(3):
        flow.keepalive()
        incoming.keepalive()
    assert incoming.send(MESSAGE)
    assert flow.send(MESSAGE)
    await asyncio.gather(server.user.message(), client.user.message())
    assert server.streams.counters.keepalives <= 3
    assert client.streams.counters.keepalives <= 4


async def test_what_cannot_be_framed_is_answered_and_the_connection_closed(
    make_side: MakeSide,
) -> None:
    side = make_side()
    reader, writer = await dial(side)
    writer.write(MESSAGE + MESSAGE.replace(b"Content-Length: 4", b"Content-Length: four"))
    assert (await side.user.message())[0] == MESSAGE
    answer = await read_to_end(reader)
    assert answer.startswith(b"SIP/2.0 400 Malformed Content-Length\r\n")
    writer.close()
    assert (await side.user.end())[1] == "Malformed Content-Length"
    assert side.streams.counters.bad_framing == 1


async def test_an_oversize_message_is_answered_although_the_peer_sends_it_all(
    make_side: MakeSide,
) -> None:
    side = make_side()
    reader, writer = await dial(side)
    size = 20 * MAX_MESSAGE
    writer.write(MESSAGE.replace(b"Length: 4", b"Length: %d" % size) + b"x" * size)
    answer = await read_to_end(reader)
    assert answer.startswith(b"SIP/2.0 513 Message too large\r\n")
    writer.close()
    await side.user.end()
    assert side.streams.counters.too_large == 1


async def test_a_peer_that_ends_its_side_is_gone_at_once(make_side: MakeSide) -> None:
    side = make_side()

    def answer(data: bytes, flow: Flow) -> None:
        flow.send(ANSWER)

    side.user.react = answer
    reader, writer = await dial(side)
    writer.write(MESSAGE)
    writer.write_eof()
    assert await read_to_end(reader) == ANSWER
    assert (await side.user.end())[1] == "closed by peer"
    writer.close()


async def test_a_reset_is_told_in_the_systems_words(make_side: MakeSide) -> None:
    side = make_side()
    _, writer = await dial(side)
    writer.write(MESSAGE)
    await side.user.message()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    assert (await side.user.end())[1] == "Connection reset by peer"


async def test_a_peer_that_does_not_read_is_dropped(make_side: MakeSide) -> None:
    side = make_side(quick(write_buffer=100_000))
    _, writer = await dial(side)
    stop_reading(writer)
    writer.write(MESSAGE)
    _, flow = await side.user.message()
    sent = 0
    while flow.send(b"x" * 60_000):
        sent += 1
        assert sent < 10_000
        await asyncio.sleep(0)
    assert flow.closed
    assert await side.user.end() == (flow, "reads too slowly")
    assert side.streams.counters.dropped_slow == 1
    writer.transport.abort()


@pytest.mark.parametrize(
    ("limits", "sent", "reason", "counter"),
    [
        (quick(first_message=0.1), b"", "no message came", "idle_closed"),
        (quick(idle=0.1), MESSAGE, "idle for too long", "idle_closed"),
        (
            quick(partial_message=0.1),
            MESSAGE + b"OPTIONS ",
            "the rest of a message did not come",
            "bad_framing",
        ),
        (quick(first_message=0.1), b"OPTIONS ", "no message came", "idle_closed"),
    ],
)
async def test_a_silent_peer_is_closed(
    make_side: MakeSide, limits: StreamLimits, sent: bytes, reason: str, counter: str
) -> None:
    side = make_side(limits)
    reader, writer = await dial(side)
    writer.write(sent)
    assert await read_to_end(reader) == b""
    writer.close()
    assert (await side.user.end())[1] == reason
    assert getattr(side.streams.counters, counter) == 1


async def test_a_peer_that_does_not_close_its_side_is_cut_after_a_while(
    make_side: MakeSide,
) -> None:
    side = make_side(quick(linger=0.05))
    _, writer = await dial(side)
    stop_reading(writer)
    writer.write(MESSAGE)
    _, flow = await side.user.message()
    flow.close("drained")
    assert await side.user.end() == (flow, "drained")
    writer.transport.abort()


@pytest.mark.parametrize("limits", [quick(connections=2), quick(per_address=2)])
async def test_connections_over_a_limit_are_refused_and_others_go_on(
    make_side: MakeSide, limits: StreamLimits
) -> None:
    side = make_side(limits)
    address = await side.streams.listen("tcp", "127.0.0.1", 0)
    kept = [await asyncio.open_connection(*address) for _ in range(2)]
    for _, writer in kept:
        writer.write(MESSAGE)
        await side.user.message()
    reader, writer = await asyncio.open_connection(*address)
    with pytest.raises((EOFError, ConnectionResetError)):
        await read(reader, 1)
    writer.close()
    assert side.streams.counters.refused == 1
    kept[0][1].write(MESSAGE)
    await side.user.message()
    kept[0][1].close()
    await side.user.end()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(MESSAGE)
    await side.user.message()
    assert side.streams.counters.accepted == 3
    for _, each in [*kept, (reader, writer)]:
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_new_flow_queues_until_it_is_connected_and_is_reused(
    make_side: MakeSide, host: str
) -> None:
    server, client = make_side(), make_side()
    address = await server.streams.listen("tcp", host, 0)
    flow = client.streams.connect("tcp", *address)
    assert flow.send(MESSAGE)
    assert flow.send(ANSWER)
    assert client.streams.connect("tcp", *address) is flow
    assert client.streams.connect("tcp", f"[{host}]" if ":" in host else host, address[1]) is flow
    assert (await server.user.message())[0] == MESSAGE
    data, incoming = await server.user.message()
    assert data == ANSWER
    assert incoming.remote == flow.local
    assert server.streams.connect("tcp", *incoming.remote) is incoming
    assert incoming.send(ANSWER)
    assert await client.user.message() == (ANSWER, flow)
    flow.close("done with it")
    assert client.streams.connect("tcp", *address) is not flow
    assert await client.user.end() == (flow, "done with it")
    assert await server.user.end() == (incoming, "closed by peer")
    assert flow.id not in {other.id for other in client.streams.flows()}


async def test_a_connection_that_is_refused_is_told_once(make_side: MakeSide) -> None:
    side = make_side()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        flow = side.streams.connect("tcp", "127.0.0.1", unused.getsockname()[1])
        assert flow.send(MESSAGE)
        assert await side.user.end() == (flow, "Connection refused")
    assert flow.closed
    assert not flow.send(MESSAGE)
    assert side.streams.counters.connect_failed == 1
    assert side.user.closed.empty()


async def test_a_connect_that_nobody_answers_times_out(make_side: MakeSide) -> None:
    side = make_side(quick(handshake=0.1))
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        with socket.create_connection(address):  # takes the only place in the backlog
            flow = side.streams.connect("tcp", *address)
            assert await side.user.end() == (flow, "connect timed out")
    assert side.streams.counters.connect_failed == 1


async def test_a_flow_closed_before_it_is_connected_ends_without_a_connection(
    make_side: MakeSide,
) -> None:
    server, client = make_side(), make_side()
    address = await server.streams.listen("tcp", "127.0.0.1", 0)
    flow = client.streams.connect("tcp", *address)
    flow.close("changed our mind")
    assert await client.user.end() == (flow, "changed our mind")
    assert server.streams.counters.accepted == 0


async def test_a_queue_that_grows_too_long_before_the_connect_drops_the_flow(
    make_side: MakeSide,
) -> None:
    server, client = make_side(), make_side(quick(write_buffer=1000))
    flow = client.streams.connect("tcp", *await server.streams.listen("tcp", "127.0.0.1", 0))
    assert flow.send(b"x" * 600)
    assert not flow.send(b"x" * 600)
    assert await client.user.end() == (flow, "reads too slowly")


@pytest.mark.parametrize(
    ("transport", "host", "port", "reason"),
    [
        ("tcp", "example.com", 5060, "not an IP address: example.com"),
        ("tcp", "127.0.0.1", 0, "not a port: 0"),
        ("ws", "127.0.0.1", 80, "no connection can be made over ws, only taken"),
    ],
)
async def test_a_flow_that_cannot_be_made_ends_with_the_reason(
    make_side: MakeSide, transport: str, host: str, port: int, reason: str
) -> None:
    side = make_side()
    flow = side.streams.connect(transport, host, port)
    assert side.user.closed.empty()
    assert await side.user.end() == (flow, reason)


async def test_outgoing_connections_count_against_the_total(make_side: MakeSide) -> None:
    server, client = make_side(), make_side(quick(connections=1))
    address = await server.streams.listen("tcp", "127.0.0.1", 0)
    other = await server.streams.listen("tcp", "127.0.0.1", 0)
    client.streams.connect("tcp", *address).send(MESSAGE)
    refused = client.streams.connect("tcp", *other)
    assert await client.user.end() == (refused, "too many connections")
    await server.user.message()


async def test_closing_ends_every_flow_after_what_was_sent(make_side: MakeSide) -> None:
    side = make_side()
    reader, writer = await dial(side)
    writer.write(MESSAGE)
    _, flow = await side.user.message()
    flow.send(ANSWER)
    closing = asyncio.ensure_future(side.streams.close())
    assert await read_to_end(reader) == ANSWER
    writer.close()
    await closing
    assert await side.user.end() == (flow, "shutting down")
    assert list(side.streams.flows()) == []


async def test_an_address_in_use_and_wrong_arguments_are_errors(make_side: MakeSide) -> None:
    side = make_side()
    host, port = await side.streams.listen("tcp", "127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await side.streams.listen("tcp", host, port)
    with pytest.raises(ValueError, match="no stream transport: udp"):
        await side.streams.listen("udp", host, 0)
    with pytest.raises(ValueError, match="tls needs a TLS context"):
        await side.streams.listen("tls", host, 0)


async def test_worker_processes_may_share_a_port(make_side: MakeSide) -> None:
    one, two = make_side(), make_side()
    address = await one.streams.listen("tcp", "127.0.0.1", 0, reuse_port=True)
    assert await two.streams.listen("tcp", *address, reuse_port=True) == address


async def test_nagle_is_off_and_a_vanished_peer_is_noticed(make_side: MakeSide) -> None:
    server, client = make_side(), make_side()
    flow = client.streams.connect("tcp", *await server.streams.listen("tcp", "127.0.0.1", 0))
    flow.send(MESSAGE)
    await server.user.message()
    assert isinstance(flow, Connection)
    sock = flow.socket
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


async def test_a_user_that_closes_the_flow_gets_none_of_the_messages_behind(
    make_side: MakeSide,
) -> None:
    side = make_side()
    side.user.react = lambda data, flow: flow.close("one is enough")
    reader, writer = await dial(side)
    writer.write(MESSAGE * 3)
    assert await read_to_end(reader) == b""
    writer.close()
    assert (await side.user.end())[1] == "one is enough"
    assert side.user.messages.qsize() == 1
