"""SIP over WebSocket and secure WebSocket, with the websockets library's client."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tandem.sip.limits import MAX_MESSAGE
from tandem.siptransport.tls import client_context, server_context
from tests.integration.siptransport.conftest import QUICK, MakeSide, Side
from tests.integration.siptransport.test_tcp import ANSWER, MESSAGE, read_to_end
from tests.support.certificates import Certificate

SIP = [Subprotocol("sip")]


async def dial(side: Side) -> ClientConnection:
    host, port = await side.streams.listen("ws", "127.0.0.1", 0)
    return await connect(f"ws://{host}:{port}", subprotocols=SIP, proxy=None)


async def test_answers_come_in_the_kind_of_frame_that_the_request_came_in(
    make_side: MakeSide,
) -> None:
    side = make_side()
    client = await dial(side)
    assert client.subprotocol == "sip"
    await client.send(MESSAGE.decode())
    data, flow = await side.user.message()
    assert (data, flow.transport) == (MESSAGE, "ws")
    assert flow.send(ANSWER)
    assert await client.recv() == ANSWER.decode()
    await client.send(MESSAGE)
    await side.user.message()
    assert flow.send(ANSWER)
    assert await client.recv() == ANSWER
    await client.close()
    assert await side.user.end() == (flow, "closed by peer")


async def test_what_is_no_utf8_goes_out_as_binary(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    await client.send(MESSAGE.decode())
    _, flow = await side.user.message()
    assert flow.send(ANSWER + b"\xff")
    assert flow.send(ANSWER + "é".encode())
    assert await client.recv() == ANSWER + b"\xff"
    assert await client.recv() == (ANSWER + "é".encode()).decode()
    await client.close()


async def test_a_message_in_fragments_is_put_together(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    text = MESSAGE.decode()
    await client.send([text[:10], text[10:11], text[11:]])
    assert (await side.user.message())[0] == MESSAGE
    await client.close()


async def test_pings_are_answered_in_both_directions(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    await asyncio.wait_for(await client.ping(), 5)
    await client.send("\r\n\r\n")
    assert await client.recv() == "\r\n"
    await client.send("\r\n")
    await client.send(MESSAGE)
    _, flow = await side.user.message()
    flow.keepalive()
    await client.send(MESSAGE)
    await side.user.message()
    await asyncio.wait_for(await client.ping(), 5)
    assert side.streams.counters.keepalives == 5
    await client.close()


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("xmpp")]])
async def test_a_client_without_the_subprotocol_is_refused(
    make_side: MakeSide, subprotocols: list[Subprotocol] | None
) -> None:
    side = make_side()
    host, port = await side.streams.listen("ws", "127.0.0.1", 0)
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{host}:{port}", subprotocols=subprotocols, proxy=None)
    assert refused.value.response.status_code == 400
    assert "subprotocol" in (await side.user.end())[1]
    assert side.streams.counters.handshake_failed == 1


async def test_a_message_over_the_limit_closes_the_connection(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    await client.send("x" * MAX_MESSAGE)
    assert len((await side.user.message())[0]) == MAX_MESSAGE
    await client.send(["x" * (MAX_MESSAGE // 2), "x" * (MAX_MESSAGE // 2 + 1)])
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert (await side.user.end())[1] == "WebSocket message too large"
    assert side.streams.counters.too_large == 1


async def test_a_frame_that_claims_to_be_huge_is_refused_at_its_header(
    make_side: MakeSide,
) -> None:
    side = make_side()
    client = await dial(side)
    client.transport.write(b"\x82\xff" + b"\x7f" + b"\xff" * 7)
    assert (await side.user.end())[1] == "WebSocket message too large"
    await client.wait_closed()


async def test_a_frame_without_a_mask_ends_the_connection(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    client.transport.write(b"\x81\x02hi")
    assert (await side.user.end())[1].startswith("WebSocket protocol error")
    assert side.streams.counters.bad_framing == 1
    await client.wait_closed()


async def test_our_close_is_a_closing_handshake(make_side: MakeSide) -> None:
    side = make_side()
    client = await dial(side)
    await client.send(MESSAGE)
    _, flow = await side.user.message()
    flow.send(ANSWER)
    flow.close("drained")
    assert await client.recv() == ANSWER
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    assert await side.user.end() == (flow, "drained")


async def test_a_handshake_that_does_not_go_on_times_out(make_side: MakeSide) -> None:
    side = make_side(dataclasses.replace(QUICK, handshake=0.1))
    reader, writer = await asyncio.open_connection(*await side.streams.listen("ws", "::1", 0))
    writer.write(b"GET / HTTP/1.1\r\n")
    assert await read_to_end(reader) == b""
    writer.close()
    assert (await side.user.end())[1] == "handshake timed out"


async def test_sip_on_the_websocket_port_is_refused(make_side: MakeSide) -> None:
    side = make_side()
    reader, writer = await asyncio.open_connection(*await side.streams.listen("ws", "127.0.0.1", 0))
    writer.write(MESSAGE)
    await read_to_end(reader)
    writer.close()
    assert (await side.user.end())[1].startswith("WebSocket refused")


async def test_secure_websocket(make_side: MakeSide, certificate: Certificate) -> None:
    side = make_side()
    context = server_context(certificate.certificate, certificate.key)
    host, port = await side.streams.listen("wss", "::1", 0, ssl=context)
    trust = client_context(certificate.certificate)
    client = await connect(f"wss://[{host}]:{port}", subprotocols=SIP, ssl=trust, proxy=None)
    await client.send(MESSAGE.decode())
    data, flow = await side.user.message()
    assert (data, flow.transport) == (MESSAGE, "wss")
    assert flow.send(ANSWER)
    assert await client.recv() == ANSWER.decode()
    await client.close()
    assert await side.user.end() == (flow, "closed by peer")
