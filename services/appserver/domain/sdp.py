"""The little that a switch without media knows of session descriptions (RFC 4566, RFC 3264): how
two offers answer each other, and what a phone is offered that has to wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "Content-Type: application/sdp"

HELD: Final = (
    b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=inactive\r\n"
)
"""An offer of sound that nobody sends yet (RFC 3725 §4.4 "black hole"). The port is not 0: that
would refuse the stream."""

HELD_WIDE: Final = (
    b"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 9 0 8 18 3 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\n"
    b"a=rtpmap:3 GSM/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    b"a=inactive\r\n"
)
"""The same with all codecs that two phones are likely to agree on, for a phone whose answer another
is to be offered, and with tones, which voice menus need."""

MAX_STREAMS: Final = 32
"""Streams of an offer that is matched with another: each is compared with each."""

_STATIC: Final = {
    "0": "pcmu/8000", "3": "gsm/8000", "4": "g723/8000", "8": "pcma/8000", "9": "g722/8000",
    "15": "g728/8000", "18": "g729/8000",
}  # fmt: skip
"""RFC 3551 table 4: what needs no rtpmap."""
_WAYS: Final = {
    b"a=sendrecv": (True, True), b"a=sendonly": (True, False),
    b"a=recvonly": (False, True), b"a=inactive": (False, False),
}  # fmt: skip
_NO_MEDIA: Final = frozenset({"telephone-event", "cn", "13"})
"""Formats that make no session by themselves."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """One m= line with what follows it."""

    kind: str
    port: str
    transport: str
    formats: tuple[str, ...]
    lines: tuple[bytes, ...]
    way: tuple[bool, bool]
    """Whether who wrote it sends, and receives."""
    codecs: frozenset[str]
    """Its formats by name, lower case; a format without one is its own name."""

    def fits(self, other: _Stream) -> bool:
        """Whether the two can make a session."""
        return (
            self.kind == other.kind
            and self.transport == other.transport
            and self.port != "0" != other.port
            and not self.codecs.isdisjoint(other.codecs)
        )


def crossed(one: bytes, two: bytes) -> tuple[bytes, bytes] | None:
    """Two offers as each other's answers: what answers `one`, and what answers `two`. None when
    they have nothing in common, make no sense, or have more than MAX_STREAMS streams.

    "For each "m=" line in the offer, there MUST be a corresponding "m=" line in the answer"
    (RFC 3264 §6): streams that the other does not have are refused with port 0.
    """
    head_one, streams_one = _split(one)
    head_two, streams_two = _split(two)
    if max(len(streams_one), len(streams_two)) > MAX_STREAMS:
        return None
    mates = _mates(streams_one, streams_two)
    if not mates:
        return None
    back = {theirs: ours for ours, theirs in mates.items()}
    return (
        _answer(head_two, streams_one, [_at(streams_two, mates.get(n)) for n in _all(streams_one)]),
        _answer(head_one, streams_two, [_at(streams_one, back.get(n)) for n in _all(streams_two)]),
    )


def held_answer(offer: bytes) -> bytes:
    """An answer that takes the first sound of an offer, and has it wait."""
    _, streams = _split(offer)
    lines = [*HELD.split(b"\r\n")[:5]]
    taken = False
    for stream in streams:
        take = stream.kind == "audio" and not taken and stream.port != "0"
        taken = taken or take
        lines.append(_media_line(stream, "9" if take else "0", stream.formats))
        if take:
            lines += [line for line in stream.lines if line.startswith(b"a=rtpmap:")]
            lines.append(b"a=inactive")
    return b"\r\n".join(lines) + b"\r\n"


def opened(answer: bytes) -> bytes | None:
    """What answered a held offer, as an offer to talk. None if it takes no sound, or names no
    address to send it to."""
    _, streams = _split(answer)
    if not any(stream.port != "0" for stream in streams):
        return None
    lines = [line for line in _lines(answer) if line not in _WAYS]
    if any(line in (b"c=IN IP4 0.0.0.0", b"c=IN IP6 ::") for line in lines):
        return None
    return b"\r\n".join(lines) + b"\r\n"


def places_of(body: bytes) -> list[bytes]:
    """Where sound is to be sent to: the c= and m= lines, without what may be sent."""
    lines = _lines(body)
    return [
        b" ".join(line.split(b" ")[:2]) if line[:2] == b"m=" else line
        for line in lines
        if line[:2] in (b"c=", b"m=")
    ]


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.replace(b"\r\n", b"\n").split(b"\n") if line]


def _mates(ones: Sequence[_Stream], twos: Sequence[_Stream]) -> dict[int, int]:
    mates: dict[int, int] = {}
    for number, one in enumerate(ones):
        for other, two in enumerate(twos):
            if other not in mates.values() and one.fits(two):
                mates[number] = other
                break
    return mates


def _answer(head: list[bytes], asked: Sequence[_Stream], given: list[_Stream | None]) -> bytes:
    lines = list(head)
    for stream, mate in zip(asked, given, strict=True):
        if mate is None:
            lines.append(_media_line(stream, "0", stream.formats))
        else:
            lines.append(_media_line(mate, mate.port, mate.formats))
            lines += _turned(mate, stream)
    return b"\r\n".join(lines) + b"\r\n"


def _turned(mate: _Stream, asked: _Stream) -> Sequence[bytes]:
    """The lines of `mate` as an answer to `asked`: who only sends must be listened to, and so on
    (RFC 3264 §6.1)."""
    sends = mate.way[0] and asked.way[1]
    receives = mate.way[1] and asked.way[0]
    if (sends, receives) == mate.way:
        return mate.lines
    kept = [line for line in mate.lines if line not in _WAYS]
    return [*kept, next(line for line, way in _WAYS.items() if way == (sends, receives))]


def _media_line(stream: _Stream, port: str, formats: Sequence[str]) -> bytes:
    return f"m={stream.kind} {port} {stream.transport} {' '.join(formats)}".encode()


def _split(body: bytes) -> tuple[list[bytes], list[_Stream]]:
    """The session part, and the streams."""
    head: list[bytes] = []
    parts: list[list[bytes]] = []
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"m="):
            parts.append([line])
        elif line:
            (parts[-1] if parts else head).append(line)
    way = _way(head, (True, True))
    return head, [stream for part in parts if (stream := _stream(part, way)) is not None]


def _way(lines: Sequence[bytes], default: tuple[bool, bool]) -> tuple[bool, bool]:
    return next((_WAYS[line] for line in lines if line in _WAYS), default)


def _stream(lines: list[bytes], way: tuple[bool, bool]) -> _Stream | None:
    words = lines[0][2:].decode("utf-8", "replace").split()
    if len(words) < 4:
        return None
    formats, rest = tuple(words[3:]), tuple(lines[1:])
    codecs = _codecs(formats, rest)
    return _Stream(words[0], words[1], words[2], formats, rest, _way(rest, way), codecs)


def _codecs(formats: Sequence[str], lines: Sequence[bytes]) -> frozenset[str]:
    names = {f: _STATIC.get(f, f) for f in formats}
    for line in lines:
        if line.startswith(b"a=rtpmap:"):
            number, _, name = line[9:].decode("utf-8", "replace").partition(" ")
            if number in names:
                names[number] = name.strip().lower().removesuffix("/1")
    return frozenset(n for n in names.values() if n.partition("/")[0] not in _NO_MEDIA)


def _at(streams: Sequence[_Stream], number: int | None) -> _Stream | None:
    return None if number is None else streams[number]


def _all(streams: Sequence[_Stream]) -> range:
    return range(len(streams))
