"""The torture messages of RFC 4475 and RFC 5118, and what a running switch must make of them.

    MESSAGES["wsinv"]   the bytes of the datagram
    EXPECTED["wsinv"]   the status to answer with, OK or DROP
    acceptable("wsinv", 404)

tests/conformance/README.md tells why for each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

OK: Final = "ok"
"""Handled as well formed: whatever the answer, it is none that blames the message's syntax."""

DROP: Final = "drop"
"""No answer: a response that nobody waits for, or one that is malformed."""

SYNTAX_FAULTS: Final = frozenset({400, 414, 505, 513})
"""What no well-formed message may be answered with; nor with 500."""

_FOLDER: Final = Path(__file__).parent.parent / "conformance"
_HEX_RE: Final = re.compile(rb"<hex>([0-9A-F]*)</hex>")


def load(file: str) -> dict[str, bytes]:
    """Name to datagram. In the file a line feed stands for CR LF and, as in RFC 4475 §2.2,
    `<hex>` for octets that don't print."""
    blocks = re.split(rb"^--- ([\w-]+) [\d.]+\n", (_FOLDER / file).read_bytes(), flags=re.MULTILINE)
    return {
        name.decode(): b"\r\n".join(map(_unhex, text.removesuffix(b"\n").split(b"\n")))
        for name, text in zip(blocks[1::2], blocks[2::2], strict=True)
    }


def _unhex(line: bytes) -> bytes:
    return _HEX_RE.sub(lambda match: bytes.fromhex(match[1].decode()), line)


RFC_4475: Final = load("rfc4475.txt")
RFC_5118: Final = load("rfc5118.txt")
MESSAGES: Final = RFC_4475 | RFC_5118

EXPECTED: Final[dict[str, int | str]] = {
    # RFC 4475 §3.1.1, valid
    "wsinv": OK, "intmeth": OK, "esc01": OK, "escnull": OK, "esc02": OK, "lwsdisp": OK,
    "longreq": OK, "dblreq": OK, "semiuri": OK, "transports": OK, "mpart01": OK,
    "unreason": DROP, "noreason": DROP,
    # §3.1.2, invalid
    "badinv01": 400, "clerr": 400, "ncl": 400, "scalar02": 400, "scalarlg": DROP, "quotbal": 400,
    "ltgtruri": 400, "lwsruri": 400, "lwsstart": 400, "trws": 400, "escruri": 400, "baddate": OK,
    "regbadct": 400, "badaspec": OK, "baddn": 400, "badvers": 505, "mismatch01": 400,
    "mismatch02": 400, "bigcode": DROP,
    # §3.2, transaction layer
    "badbranch": OK,
    # §3.3, application layer
    "insuf": 400, "unkscm": 416, "novelsc": 416, "unksm2": 400, "bext01": 420, "invut": OK,
    "regaut01": 401, "multi01": 400, "mcl01": 400, "bcast": DROP, "zeromf": 483, "cparam01": OK,
    "cparam02": OK, "regescrt": OK, "sdp01": OK,
    # §3.4, backward compatibility
    "inv2543": OK,
    # RFC 5118
    "ipv6-good": OK, "ipv6-bad": 400, "port-ambiguous": OK, "port-unambiguous": OK,
    "via-received-param-with-delim": OK, "via-received-param-no-delim": OK, "ipv6-in-sdp": OK,
    "mult-ip-in-header": OK, "mult-ip-in-sdp": OK, "ipv4-mapped-ipv6": OK,
    "ipv6-bug-abnf-3-colons": OK, "ipv6-correct-abnf-2-colons": OK,
}  # fmt: skip
"""For a switch that serves `example.com` and challenges REGISTER, reached over UDP."""

ALSO: Final[dict[str, frozenset[int]]] = {
    "badbranch": frozenset({400}),
    "badaspec": frozenset({400}),
    "regbadct": frozenset({401}),  # RFC 3261 §10.3 asks for credentials before it reads Contact
    "mismatch02": frozenset({501}),
    "zeromf": frozenset({200}),
}
"""Statuses that the RFC allows beside the expected one."""


def acceptable(name: str, status: int | None) -> bool:
    """Whether this final status (None: no answer) is what the RFC asks for."""
    expected = EXPECTED[name]
    if status is not None and status in ALSO.get(name, ()):
        return True
    if expected == OK:
        return status is not None and status not in SYNTAX_FAULTS and status != 500
    return status is None if expected == DROP else status == expected
