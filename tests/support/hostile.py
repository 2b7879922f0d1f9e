"""Bad input for a SIP server, made by rule or by a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

METHODS: Final = (
    "INVITE", "OPTIONS", "REGISTER", "MESSAGE", "BYE", "CANCEL", "SUBSCRIBE", "NOTIFY", "REFER",
    "PRACK", "UPDATE", "INFO", "PUBLISH", "FOO",
)  # fmt: skip

PASSED_ON: Final = frozenset({"MESSAGE", "NOTIFY"})
"""What goes on to a phone outside of a call: sipp does not answer it."""

SDP: Final = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"

BAD_VALUES: Final = (
    "", " ", ",", ";", ";;;", "<", ">", "<>", '"', '"\\', "<sip:", "<sip:>", "<sip:@>", "sip:a@[::",
    "<sip:a@b:99999>", "<sip:a@b:-1>", "<sip:a@b;lr;lr=>;=", "*", "%", "%00", "<sip:%zz@b>", "-1",
    "0", "256", "4294967296", "1e9", "0x10", "９", "99999999999999999999999999", "\x00", "\x7f",
    "\xff\xfe", "\udcff", "a" * 4000, "(" * 500 + ")" * 500, "<sip:a@b>" * 200, "," * 3000,
    "(((((((((", "<tel:>", "<urn:x>", "Digest", "Digest =", 'Digest username="', "Digest a=1,a=2",
    "sip:a\tb", "UTC", "multipart/mixed", "text/", "a\r\n b", "\r\n ", "{}$(id)`id`%n%s",
)  # fmt: skip

HEADERS: Final = (
    "From", "To", "Contact", "Route", "Record-Route", "Path", "Max-Forwards", "Expires",
    "Content-Type", "Content-Length", "Authorization", "Proxy-Authorization", "Require",
    "Proxy-Require", "Supported", "Session-Expires", "Min-SE", "CSeq", "Event", "Refer-To",
    "Referred-By", "Replaces", "RAck", "RSeq", "Reason", "Subject", "User-Agent", "Date", "Accept",
    "Content-Encoding", "Max-Breadth", "P-Asserted-Identity", "Privacy", "Allow", "Timestamp",
)  # fmt: skip

_AT: Final = "@example.test"
URIS: Final = (
    "sip:", "sip:@", "sip:sink@", "sip:sink@[::", f"sip:sink{_AT}:", f"sips:sink{_AT}",
    f"sip:sink{_AT}:0", f"sip:sink{_AT}:99999", "tel:+49", "tel:", f"sip:%00{_AT}",
    f"sip:sink%0d%0aX-Injected:%201{_AT}", f"sip:s%zznk{_AT}", "*", "http://example.test/",
    f"sip:sink{_AT};maddr=", f"sip:sink{_AT};transport=", f"sip:sink{_AT};;;",
    "sip:" + "a" * 7000 + _AT, "sip:sink@" + "a." * 500 + "test", f"sip:sink:pw{_AT}",
    f"sip:sink{_AT}?Route=%3Csip:x%3E", f"sip:\xff{_AT}", f"sip:\udcff{_AT}", "sip:a@127.0.0.1@b",
)  # fmt: skip


def request(
    name: str,
    method: str = "OPTIONS",
    uri: str = "sip:sink@example.test",
    *,
    replace: tuple[str, str] | None = None,
    body: str = "",
) -> bytes:
    """A request whose Call-ID and branch are `name`, one of its headers replaced or added."""
    headers = {
        "Via": f"SIP/2.0/UDP stranger.invalid;branch=z9hG4bK-{name};rport",
        "Max-Forwards": "70",
        "From": "<sip:stranger@elsewhere.invalid>;tag=1",
        "To": "<sip:sink@example.test>",
        "Call-ID": name,
        "CSeq": f"1 {method}",
        "Contact": "<sip:stranger@127.0.0.1>",
        "Content-Length": str(len(body.encode())),
    }
    if body:
        headers["Content-Type"] = "application/sdp"
    if replace is not None:
        headers[replace[0]] = replace[1]
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"{method} {uri} SIP/2.0\r\n{lines}\r\n{body}".encode("utf-8", "surrogateescape")


def bad_headers() -> Iterator[tuple[str, bytes]]:
    """(Call-ID, request) with each of the bad values in each header, the methods in turn."""
    number = 0
    for header in HEADERS:
        for value in BAD_VALUES:
            method = METHODS[number % len(METHODS)]
            name = f"h{number}"
            user = "nobody" if method in PASSED_ON else "sink"
            uri = f"sip:{user}@example.test"
            yield name, request(name, method, uri, replace=(header, value))
            number += 1


def bad_uris() -> Iterator[tuple[str, bytes]]:
    """(Call-ID, request) with each odd Request-URI and method."""
    for number, uri in enumerate(URIS):
        for method in METHODS if "sink" not in uri else sorted(set(METHODS) - PASSED_ON):
            name = f"u{number}{method}"
            yield name, request(name, method, uri)


def truncations(message: bytes) -> list[bytes]:
    """The message cut after each of its bytes but the last."""
    return [message[:end] for end in range(1, len(message))]


_SPICE: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b"%00", b",", b";", b"<", b">", b'"', b"\\", b":",
    b"\xff", b"\xc3", b"@", b"SIP/2.0", b"Via: ", b"\r\n ", b"z9hG4bK", b"9" * 40,
)  # fmt: skip


class Mutator:
    """Makes bad messages of good ones. The same seed makes the same ones."""

    def __init__(self, seed: int, corpus: list[bytes]) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus

    def messages(self, count: int) -> list[bytes]:
        """So many messages, each with one to eight changes."""
        return [self._mutate() for _ in range(count)]

    def noise(self, count: int) -> list[bytes]:
        """So many datagrams of random bytes, some beginning like a message."""
        starts = (b"", b"", b"INVITE sip:a@b SIP/2.0\r\n", b"SIP/2.0 200 OK\r\n", b"\x01", b"\r\n")
        pick = self._random
        return [
            pick.choice(starts) + pick.randbytes(int(pick.triangular(1, 1400, 30)))
            for _ in range(count)
        ]

    def _mutate(self) -> bytes:
        pick = self._random
        data = pick.choice(self._corpus)
        for _ in range(pick.randint(1, 8)):
            data = pick.choice((self._flip, self._cut, self._double, self._spice, self._swap))(data)
        return data[:60_000] or b"\r\n"

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._random.randint(0, len(data))
        return start, min(len(data), start + int(self._random.expovariate(1 / 20)) + 1)

    def _flip(self, data: bytes) -> bytes:
        start, _ = self._span(data)
        return data[:start] + self._random.randbytes(1) + data[start + 1 :]

    def _cut(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _double(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] * self._random.choice((1, 1, 2, 50)) + data[end:]

    def _spice(self, data: bytes) -> bytes:
        start, _ = self._span(data)
        return data[:start] + self._random.choice(_SPICE) + data[start:]

    def _swap(self, data: bytes) -> bytes:
        lines = data.split(b"\r\n")
        one, other = self._random.randrange(len(lines)), self._random.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
        return b"\r\n".join(lines)
