"""Messages: read lazily, changed line by line, sent as they came."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.sip.errors import BadMessage, RemoteFault, TooLarge
from tandem.sip.limits import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, MAX_VIAS
from tandem.sip.message import (
    MalformedRequest,
    Message,
    Request,
    Response,
    header_key,
    line_value,
    parse_message,
)
from tests.support.torture import MESSAGES

INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP p;branch=z9hG4bK2 , SIP/2.0/TCP q\r\n"
    b"v:SIP/2.0/UDP r\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: Alice <sip:alice@example.com>;tag=1\r\n"
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: x@y\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@10.0.0.1>,\r\n"
    b"  <sip:alice@10.0.0.2>\r\n"
    b"Supported: Replaces, timer\r\n"
    b"Subject: caf\xe9\r\n"
    b"Content-Length: 5\r\n"
    b"\r\n"
    b"hello"
)


def invite(**changes: bytes) -> Request:
    data = INVITE
    for old, new in changes.items():
        assert old.encode() in data
        data = data.replace(old.encode(), new)
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def with_line(line: bytes) -> bytes:
    return INVITE.replace(b"Max-Forwards: 70", line)


def test_a_request_is_read() -> None:
    request = invite()
    request.check()
    assert (request.method, request.uri) == ("INVITE", "sip:bob@example.com")
    assert request.request_uri.user == "bob"
    assert request.request_uri is request.request_uri
    assert (request.via.host, request.via) == ("p", request.via)
    assert [via.host for via in request.vias] == ["p", "q", "r"]
    assert (request.from_.display, request.from_.tag, request.to.tag) == ("Alice", "1", None)
    assert request.from_ is request.from_
    assert request.to is request.to
    assert (request.cseq.number, request.cseq) == (1, request.cseq)
    assert (request.call_id, request.max_forwards, request.body) == ("x@y", 70, b"hello")
    assert [contact.uri.host for contact in request.contacts] == ["10.0.0.1", "10.0.0.2"]
    assert request.tokens("supported") == {"replaces", "timer"}
    assert request.raw_lines("to", "from") == [
        "From: Alice <sip:alice@example.com>;tag=1", "To: <sip:bob@example.com>",
    ]  # fmt: skip
    assert request.values("x") == request.items("x") == request.raw_lines("x") == []
    assert (request.first("x"), request.number("expires")) == (None, None)
    assert repr(request) == "<Request INVITE sip:bob@example.com>"


def test_a_response_is_read() -> None:
    response = parse_message(INVITE.replace(INVITE[:34], b"sip/2.0 486 Busy  Here"))
    response.check()
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (486, "Busy  Here")
    assert repr(response) == "<Response 486 Busy  Here>"
    assert response.to_bytes().startswith(b"sip/2.0 486 Busy  Here\r\n")


def test_a_status_line_may_lack_the_reason_and_its_blank() -> None:
    response = parse_message(INVITE.replace(INVITE[:34], b"SIP/2.0 200"))
    assert isinstance(response, Response)
    assert (response.status, response.reason) == (200, "")
    assert response.to_bytes().startswith(b"SIP/2.0 200\r\n")


@pytest.mark.parametrize(
    "line", [b"SIP/2.0 099 A", b"SIP/2.0 700 A", b"SIP/2.0 2000 A", b"SIP/3.0 200"]
)
def test_other_status_lines_are_refused(line: bytes) -> None:
    with pytest.raises(BadMessage):
        parse_message(INVITE.replace(INVITE[:34], line))


def test_what_nobody_changed_leaves_byte_for_byte() -> None:
    assert invite().to_bytes() == INVITE
    assert parse_message(b"\r\n\r\n" + INVITE).to_bytes() == INVITE
    zeros = INVITE.replace(b"Length: 5", b"Length: 005")
    assert parse_message(zeros).to_bytes() == zeros
    empty = INVITE.replace(b"Length: 5", b"Length: 00").removesuffix(b"hello")
    assert parse_message(empty).to_bytes() == empty


def test_a_new_body_gets_its_length() -> None:
    request = invite()
    request.body = b""
    assert b"\r\nContent-Length: 0\r\n" in request.to_bytes()
    request.remove("content-length")
    request.body = b"12"
    assert request.to_bytes().endswith(b"\r\nContent-Length: 2\r\n\r\n12")


def test_what_follows_the_body_is_thrown_away() -> None:
    assert parse_message(INVITE + b"tail").body == b"hello"


def test_a_header_is_set_in_place_of_its_first_line() -> None:
    request = invite()
    request.set("Via", "SIP/2.0/UDP new")
    assert request.lines[0] == "Via: SIP/2.0/UDP new"
    assert [via.host for via in request.vias] == ["new"]
    request.set("Expires", "60")
    assert (request.lines[-1], request.number("expires")) == ("Expires: 60", 60)


def test_lines_are_added_and_removed() -> None:
    request = invite()
    request.add("Via", "SIP/2.0/UDP top", top=True)
    request.add("X", "y")
    assert (request.via.host, request.lines[-1]) == ("top", "X: y")
    request.remove("x", "via", "not-there")
    request.remove("x")
    assert "via" not in request.index
    with pytest.raises(BadMessage, match="via"):
        _ = request.via


def test_a_value_that_is_set_begins_no_new_header() -> None:
    request = invite()
    request.set("Subject", "a\r\nEvil: 1")
    request.add("X", "b\nEvil: 2")
    assert "evil" not in parse_message(request.to_bytes()).index


def test_items_are_popped_one_by_one() -> None:
    request = invite()
    popped = [request.pop_item("via") for _ in range(4)]
    assert popped == ["SIP/2.0/UDP p;branch=z9hG4bK2", "SIP/2.0/TCP q", "SIP/2.0/UDP r", None]


def test_a_copy_with_another_uri_shares_nothing_that_changes() -> None:
    request = invite()
    copy = request.with_uri("sip:carol@example.com")
    copy.set("To", "x")
    assert request.to_bytes() == INVITE
    assert copy.to_bytes().startswith(b"INVITE sip:carol@example.com SIP/2.0\r\n")


def test_folds_are_read_as_blanks_and_kept() -> None:
    data = with_line(b"Fold: a \r\n\t b\r\n  \r\n c")
    message = parse_message(data)
    assert message.first("fold") == "a b  c"
    assert message.to_bytes() == data
    assert line_value("X:\r\n a") == "a"


def test_names_are_found_whatever_their_spelling() -> None:
    assert [header_key(name) for name in ("I", "m", "CALL-ID \t", "x-Y")] == [
        "call-id", "contact", "call-id", "x-y",
    ]  # fmt: skip
    message = parse_message(with_line(b"S : a\r\nMAX-forwards: 9\r\nx-y: 1\r\nX-Y: 2"))
    assert (message.first("subject"), message.max_forwards) == ("a", 9)
    assert message.values("x-y") == ["1", "2"]


@pytest.mark.parametrize(
    "line",
    [
        b"no colon",
        b": x",
        b"a b: c",
        b"Via",
        b"Subject\r\nX: y",
        "ü: x".encode(),
        b"X: y\r\nSubject",
    ],
)
def test_lines_that_are_no_headers_are_refused(line: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_message(with_line(line))


def test_a_first_line_cannot_be_folded() -> None:
    with pytest.raises(MalformedRequest):
        parse_message(INVITE.replace(b"Via: ", b" Via: "))


@pytest.mark.parametrize("line", [b"X: a\nVia: b", b"X: a\rVia: b", b"X: a\n", b"X: \r"])
def test_a_lone_cr_or_lf_hides_no_header(line: bytes) -> None:
    with pytest.raises(BadMessage, match="CR or LF"):
        parse_message(with_line(line))


@pytest.mark.parametrize(
    "line",
    [b"INVITE", b"INVITE sip:a", b"INVITE  SIP/2.0", b"INVITE sip:a b SIP/2.0",
     b"IN/VITE sip:a SIP/2.0", b"INVITE sip:a HTTP/1.1", b" INVITE sip:a SIP/2.0", b"",
     b"INVITE sip:a SIP/2.0 "],
)  # fmt: skip
def test_broken_request_lines_can_still_be_answered(line: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_message(INVITE.replace(INVITE[:34], line, 1) if line else b"X\r\n" + INVITE)
    assert caught.value.status == 400
    assert isinstance(caught.value.request, Request)


def test_the_version_is_compared_without_case() -> None:
    assert invite(**{"SIP/2.0\r\nVia": b"sip/2.0\r\nVia"}).method == "INVITE"
    with pytest.raises(MalformedRequest) as caught:
        invite(**{"SIP/2.0\r\nVia": b"SIP/2.1\r\nVia"})
    assert caught.value.status == 505


@pytest.mark.parametrize("length", [b"6", b"-1", b"five", b"", "٥".encode(), b"9" * 20])
def test_a_wrong_content_length_is_refused(length: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_message(INVITE.replace(b"Length: 5", b"Length: " + length))
    with pytest.raises(BadMessage):
        parse_message(
            INVITE.replace(b"Length: 5", b"Length: " + length).replace(INVITE[:34], b"SIP/2.0 200")
        )


def test_a_message_without_the_end_of_its_headers_is_refused_but_answered() -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_message(INVITE.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert caught.value.request.call_id == "x@y"
    with pytest.raises(RemoteFault):
        parse_message(b"")


@pytest.mark.parametrize("key", ["via", "from", "to", "call-id", "cseq"])
def test_a_message_without_a_mandatory_header_fails_the_check(key: str) -> None:
    request = invite()
    request.remove(key)
    with pytest.raises(BadMessage, match=f"Missing {key}"):
        request.check()


@pytest.mark.parametrize(
    "line", [b"f: <sip:x>", b"T: <sip:x>", b"i: z", b"CSeq: 1 INVITE", b"l: 5"]
)
def test_a_repeated_header_fails_the_check(line: bytes) -> None:
    with pytest.raises(BadMessage, match="Repeated"):
        parse_message(with_line(line)).check()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIP/2.0/TCP q", b"SIP/2.0/TCP"),
        ("Alice <sip:alice@example.com>", b"Alice"),
        ("To: <sip:bob", b"To: sip:bob"),
        ("Call-ID: x@y", b"Call-ID:"),
        ("1 INVITE", b"1 BYE"),
        ("Max-Forwards: 70", b"Max-Forwards: 256"),
        ("INVITE sip:bob@example.com ", b"INVITE sip:bob@exa<mple.com "),
        ("INVITE sip:bob@example.com ", b"INVITE sip:bob@example.com?to=x "),
    ],
)
def test_a_malformed_header_that_everybody_needs_fails_the_check(old: str, new: bytes) -> None:
    with pytest.raises(BadMessage):
        invite(**{old: new}).check()


def test_limits_hold() -> None:
    with pytest.raises(TooLarge):
        parse_message(INVITE + b"x" * MAX_MESSAGE)
    with pytest.raises(TooLarge):
        parse_message(with_line(b"X: " + b"x" * MAX_LINE))
    with pytest.raises(RemoteFault) as folded:
        parse_message(with_line(b"X: a" + (b"\r\n " + b"x" * 4000) * 3))
    assert folded.value.status == 513
    with pytest.raises(TooLarge):
        parse_message(with_line(b"X: 1\r\n" * MAX_HEADERS + b"X: 1"))
    with pytest.raises(TooLarge):
        parse_message(with_line(b"Via: SIP/2.0/UDP a" + b",SIP/2.0/UDP a" * MAX_VIAS)).check()


def test_what_is_as_large_as_the_limits_passes() -> None:
    room = MAX_MESSAGE - len(INVITE)
    assert parse_message(INVITE + b"x" * room).body == b"hello"
    line = b"X: " + b"x" * (MAX_LINE - 3)
    assert parse_message(with_line(line)).to_bytes() == with_line(line)


READS: tuple[Callable[[Message], object], ...] = (
    lambda m: m.index, lambda m: m.via, lambda m: m.vias, lambda m: m.from_, lambda m: m.to,
    lambda m: m.cseq, lambda m: m.call_id, lambda m: m.contacts, lambda m: m.max_forwards,
    lambda m: m.number("expires"), lambda m: m.items("via"), lambda m: m.tokens("supported"),
    lambda m: m.request_uri if isinstance(m, Request) else None, lambda m: m.to_bytes(),
)  # fmt: skip


def read_everything(data: bytes) -> None:
    try:
        message: Message = parse_message(data)
    except MalformedRequest as malformed:
        message = malformed.request
    except RemoteFault:
        return
    for read in READS:
        try:
            read(message)
        except BadMessage:
            continue
    try:
        message.check()
    except RemoteFault:
        return
    # What passed the check once passes it again when it was sent.
    again = parse_message(message.to_bytes())
    again.check()
    assert again.to_bytes() == message.to_bytes()


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_remote_faults_only(data: bytes) -> None:
    read_everything(data)
    read_everything(data + b"\r\n\r\n")
    read_everything(b"OPTIONS sip:a SIP/2.0\r\n" + data + b"\r\n\r\n")
    read_everything(b"SIP/2.0 200 OK\r\nVia: " + data + b"\r\n\r\n")


@given(st.data())
def test_mutated_messages_raise_remote_faults_only(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from([INVITE, *MESSAGES.values()]))
    message = bytearray(original)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(message)))
        width = data.draw(st.integers(0, 8))
        token = st.sampled_from(
            [b"\r\n", b"\r\n ", b":", b'"', b"<", b">", b";", b",", b"\0", b"\xff"]
        )
        message[at : at + width] = data.draw(token | st.binary(max_size=4))
    read_everything(bytes(message))


@given(st.integers(0, len(INVITE)))
def test_a_message_cut_anywhere_raises_remote_faults_only(end: int) -> None:
    read_everything(INVITE[:end])


NAMES = st.sampled_from(["X", "x-long-name", "Subject", "s", "Route", "Via"])
VALUES = st.text(st.characters(exclude_characters="\r\n"), max_size=30).map(str.strip)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=10), st.binary(max_size=20))
def test_built_messages_are_read_as_they_were_built(
    headers: list[tuple[str, str]], body: bytes
) -> None:
    lines = [f"{name}: {value}" for name, value in headers]
    request = Request("MESSAGE", "sip:a@b", lines, body)
    try:
        wire = request.to_bytes()
    except UnicodeEncodeError:
        return
    message = parse_message(wire)
    assert (message.lines, message.body) == (request.lines, body)
    assert message.to_bytes() == wire
