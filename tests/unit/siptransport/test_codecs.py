"""The codecs without sockets: fuzz, order of bytes, ends."""

from __future__ import annotations

import dataclasses
import random

import pytest

from tandem.sip.limits import MAX_MESSAGE
from tandem.sip.stream import PING
from tandem.siptransport.codec import Cause, Codec, StreamCodec
from tandem.siptransport.flow import StreamCounters
from tandem.siptransport.stream import network_of
from tandem.siptransport.ws import WsCodec

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: sip\r\n\r\n"
)
MESSAGE = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


def frame(opcode: int, data: bytes = b"", fin: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
    return bytes(((0x80 if fin else 0) | opcode,)) + length + b"\0\0\0\0" + data


def opened() -> WsCodec:
    codec = WsCodec()
    assert codec.start() == b""
    assert codec.receive(UPGRADE).reply.startswith(b"HTTP/1.1 101 ")
    assert codec.ready
    return codec


def test_a_handshake_byte_by_byte() -> None:
    codec = WsCodec()
    for byte in UPGRADE[:-1]:
        assert codec.receive(bytes((byte,))).reply == b""
    assert b"Sec-WebSocket-Protocol: sip" in codec.receive(UPGRADE[-1:]).reply


def test_frames_byte_by_byte_and_with_a_tail() -> None:
    codec = opened()
    stream = frame(1, MESSAGE) + frame(9, b"x") + frame(2, MESSAGE[:5], fin=False)
    messages, reply = [], b""
    for byte in stream:
        received = codec.receive(bytes((byte,)))
        messages += received.messages
        reply += received.reply
    assert messages == [MESSAGE]
    assert reply == b"\x8a\x01x"
    assert codec.partial
    received = codec.receive(frame(0, MESSAGE[5:]) + frame(2, MESSAGE))
    assert received.messages == [MESSAGE, MESSAGE]
    assert not codec.partial


@pytest.mark.parametrize(
    "tail",
    [frame(9), frame(8), frame(1, MESSAGE), b"\x81\x02hi", b"\xff" * 10],
)
@pytest.mark.parametrize("head", [UPGRADE, UPGRADE.replace(b": sip\r", b": xmpp\r")])
def test_frames_before_the_handshakes_answer_end_the_connection(head: bytes, tail: bytes) -> None:
    codec = WsCodec()
    end = codec.receive(head + tail).end
    assert end is not None
    assert end.cause is Cause.HANDSHAKE_FAILED
    assert not codec.ready


def test_fragments_without_end_are_refused_at_the_limit() -> None:
    codec = opened()
    received = codec.receive(frame(1, b"x" * 60_000, fin=False))
    assert received.end is None
    received = codec.receive(frame(0, b"x" * 6_000, fin=False))
    assert received.end is not None
    assert received.end.cause is Cause.TOO_LARGE
    assert 66_000 > MAX_MESSAGE


def test_empty_fragments_take_no_memory() -> None:
    codec = opened()
    codec.receive(frame(1, MESSAGE, fin=False))
    for _ in range(1000):
        assert codec.receive(frame(0, fin=False)).messages == []
    assert codec.receive(frame(0)).messages == [MESSAGE]


def test_the_clients_close_is_echoed() -> None:
    received = opened().receive(frame(8, b"\x03\xe8"))
    assert received.reply == b"\x88\x02\x03\xe8"
    assert received.end is not None
    assert received.end.cause is None


def test_a_text_keepalive_is_answered_in_kind() -> None:
    codec = opened()
    assert codec.receive(frame(1, PING)).reply == b"\x81\x02\r\n"
    assert codec.receive(frame(2, PING)).reply == b"\x82\x02\r\n"
    received = codec.receive(frame(2, b"\r\n") + frame(2))
    assert (received.reply, received.messages, received.keepalives) == (b"", [], 2)


def test_farewell_is_a_close_frame_once() -> None:
    codec = opened()
    assert codec.farewell() == b"\x88\x02\x03\xe9"
    assert codec.farewell() == b""
    assert WsCodec().farewell() == b""


@pytest.mark.parametrize("make", [StreamCodec, WsCodec, opened])
def test_random_bytes_never_raise(make: type[StreamCodec]) -> None:
    rng = random.Random(3)
    pieces = [UPGRADE, MESSAGE, PING, b"\r\n", frame(1, MESSAGE), frame(8), frame(9), frame(0)]
    for _ in range(1500):
        codec: Codec = make()
        for _ in range(rng.randint(1, 6)):
            data = bytearray(rng.choice(pieces))
            for _ in range(rng.choice((0, 0, 1, 5))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            received = codec.receive(bytes(data[: rng.choice((None, 3))]))
            assert isinstance(received.reply, bytes)
            if received.end is not None:
                break


def test_every_cause_has_its_counter() -> None:
    counters = StreamCounters()
    for cause in Cause:
        counters.count(cause.value)
    assert sum(dataclasses.astuple(counters)) == len(Cause)


def test_the_limit_per_address_counts_ipv6_by_its_network() -> None:
    assert network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8:0:0:ffff::2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
