"""The stream parser, fed whole, byte by byte and with a tail."""

from __future__ import annotations

import random

import pytest

from tandem.sip.errors import BadMessage, TooLarge
from tandem.sip.limits import MAX_MESSAGE
from tandem.sip.message import Response, parse_message
from tandem.sip.stream import MAX_HEAD, KeepAlive, StreamEvent, StreamFault, StreamParser

HEAD = (
    b"OPTIONS sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP client.example.com:5060;branch=z9hG4bK74bf9\r\n"
    b"From: Alice <sip:alice@example.com>;tag=9fxced76sl\r\n"
    b"To: Bob <sip:bob@example.com>\r\n"
    b"Call-ID: 3848276298220188511@example.com\r\n"
    b"CSeq: 2 OPTIONS\r\n"
    b"Max-Forwards: 70\r\n"
)


def message(body: bytes = b"", name: bytes = b"Content-Length") -> bytes:
    return HEAD + name + b": %d\r\n\r\n" % len(body) + body


def feed_bytes(parser: StreamParser, data: bytes) -> list[StreamEvent]:
    events = []
    for at in range(len(data)):
        events += parser.feed(data[at : at + 1])
    return events


def fault_of(events: list[StreamEvent]) -> StreamFault:
    last = events[-1]
    assert isinstance(last, StreamFault)
    return last


SAMPLES = [
    message(),
    message(b"v=0\r\n\r\no=- 1 1 IN IP4 192.0.2.1\r\n"),
    message(b"compact", b"l"),
    message(b"\r\n\r\n\r\n\r\n"),
    message(b"x" * 5000, b"CONTENT-LENGTH"),
    HEAD + b"Content-Length  :\r\n  4\r\n\r\nbody",
    HEAD + b"Subject: a\r\n l: 99\r\nl: 4 \r\n\r\nbody",
    HEAD + b"X-Content-Length: 99\r\nContent-Length: 4\r\n\r\nbody",
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_message_fed_whole_comes_out_as_it_went_in(sample: bytes) -> None:
    parser = StreamParser()
    assert parser.feed(sample) == [sample]
    assert not parser.partial


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_message_fed_byte_by_byte_comes_out_with_its_last_byte(sample: bytes) -> None:
    parser = StreamParser()
    assert feed_bytes(parser, sample[:-1]) == []
    assert parser.partial
    assert parser.feed(sample[-1:]) == [sample]
    assert not parser.partial


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_tail_of_a_message_is_the_beginning_of_the_next(sample: bytes) -> None:
    parser = StreamParser()
    assert parser.feed(sample + sample[:100]) == [sample]
    assert parser.feed(sample[100:]) == [sample]


def test_messages_in_random_pieces_come_out_whole_and_in_order() -> None:
    stream = b"".join(SAMPLES * 5)
    rng = random.Random(1)
    parser, events, at = StreamParser(), [], 0
    while at < len(stream):
        size = rng.choice((1, 2, 3, 7, 200, 3000))
        events += parser.feed(stream[at : at + size])
        at += size
    assert events == SAMPLES * 5


def test_crlfs_between_messages_are_skipped() -> None:
    events = StreamParser().feed(b"\r\n" + message() + b"\r\n" + message(b"x"))
    assert events == [message(), message(b"x")]


@pytest.mark.parametrize("feed", [StreamParser.feed, feed_bytes])
def test_a_double_crlf_is_a_ping(feed: object) -> None:
    assert callable(feed)
    parser = StreamParser()
    assert feed(parser, b"\r\n\r\n") == [KeepAlive.PING]
    assert feed(parser, message() + b"\r\n\r\n") == [message(), KeepAlive.PING]


def test_a_flood_of_pings_in_one_piece_gets_one_answer() -> None:
    assert StreamParser().feed(b"\r\n" * 10_000) == [KeepAlive.PING]


def test_a_lone_crlf_after_our_ping_is_its_pong() -> None:
    parser = StreamParser()
    parser.ping_sent()
    assert parser.feed(b"\r\n") == [KeepAlive.PONG]
    assert parser.feed(b"\r\n") == []


def test_a_ping_that_crosses_ours_is_still_a_ping() -> None:
    parser = StreamParser()
    parser.ping_sent()
    assert parser.feed(b"\r\n\r\n") == [KeepAlive.PING]


def test_a_half_crlf_is_no_message_yet() -> None:
    parser = StreamParser()
    assert parser.feed(b"\r") == []
    assert not parser.partial
    assert parser.feed(b"\n\r") == []
    assert parser.feed(b"\n" + message()) == [KeepAlive.PING, message()]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "Missing Content-Length"),
        (b"Content-Length: x\r\n", "Malformed Content-Length"),
        (b"Content-Length: -1\r\n", "Malformed Content-Length"),
        (b"Content-Length: +1\r\n", "Malformed Content-Length"),
        (b"Content-Length:\r\n", "Malformed Content-Length"),
        (b"Content-Length: 1 2\r\n", "Malformed Content-Length"),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", "Malformed Content-Length"),
        (b"Content-Length: 0\r\nl: 5\r\n", "Repeated Content-Length"),
    ],
)
def test_without_a_clear_content_length_the_stream_is_over(line: bytes, reason: str) -> None:
    parser = StreamParser()
    events = parser.feed(message() + HEAD + line + b"\r\n" + message())
    assert events[0] == message()
    fault = fault_of(events)
    assert isinstance(fault.fault, BadMessage)
    assert fault.fault.reason == reason
    assert parser.feed(message()) == []


def test_the_refused_request_is_answered_with_its_own_headers() -> None:
    answer = fault_of(StreamParser().feed(HEAD + b"\r\n")).answer()
    assert answer is not None
    response = parse_message(answer)
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (400, "Missing Content-Length")
    assert response.via.branch == "z9hG4bK74bf9"
    assert response.to.params[0][0] == "tag"
    assert response.call_id == "3848276298220188511@example.com"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        HEAD.replace(b"OPTIONS", b"ACK") + b"\r\n",
        HEAD.replace(b"Call-ID", b"Call ID") + b"\r\n",
        b"SIP/2.0 200 OK\r\n" + HEAD.partition(b"\r\n")[2] + b"\r\n",
        b"SIP/2.0 what\r\n" + HEAD.partition(b"\r\n")[2] + b"\r\n",
    ],
)
def test_what_is_no_answerable_request_gets_no_answer(head: bytes) -> None:
    assert fault_of(StreamParser().feed(head)).answer() is None


def test_a_malformed_request_line_is_still_answered() -> None:
    head = HEAD.replace(b"SIP/2.0\r\n", b"SIP/two\r\n", 1)
    answer = fault_of(StreamParser().feed(head + b"\r\n")).answer()
    assert answer is not None
    assert answer.startswith(b"SIP/2.0 400 ")


def test_a_content_length_over_the_limit_is_refused_before_its_body_comes() -> None:
    fault = fault_of(StreamParser().feed(HEAD + b"Content-Length: %d\r\n\r\n" % MAX_MESSAGE))
    assert isinstance(fault.fault, TooLarge)
    answer = fault.answer()
    assert answer is not None
    assert answer.startswith(b"SIP/2.0 513 Message too large\r\n")


def test_a_message_of_exactly_the_limit_passes() -> None:
    empty = HEAD + b"Content-Length: 60000\r\n\r\n"
    size = MAX_MESSAGE - len(empty)
    largest = HEAD + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
    assert len(largest) == MAX_MESSAGE
    assert StreamParser().feed(largest) == [largest]


@pytest.mark.parametrize("size", [1, 100, MAX_HEAD + 1])
def test_a_head_without_end_is_refused_at_the_limit(size: int) -> None:
    parser = StreamParser()
    events: list[StreamEvent] = []
    fed = 0
    while not events:
        events = parser.feed(b"x" * size)
        fed += size
    assert isinstance(fault_of(events).fault, TooLarge)
    assert fault_of(events).answer() is None
    assert MAX_HEAD < fed <= MAX_HEAD + size
    assert not parser.partial


def test_the_end_of_a_head_is_looked_for_once_per_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    class Counting(bytearray):
        def find(self, sub: object, start: int = 0, *rest: int) -> int:  # type: ignore[override]
            # narrower than bytearray.find on purpose: this is how the parser calls it
            nonlocal looked_at
            looked_at += len(self) - start
            return bytes(self).find(b"\r\n\r\n", start)

    monkeypatch.setattr("tandem.sip.stream.bytearray", Counting, raising=False)
    head = b"x" * 20_000
    feed_bytes(StreamParser(), head)
    assert looked_at < 5 * len(head)
