"""Route lines that were read before: what they say, found by their bytes.

All requests of a dialog carry the same Route lines, for they are the Record-Route that was
written here. So their tokens are opened and their URIs read once for a dialog and direction, by
the general way; the fast one finds the result in a dictionary. Only what held then and holds for
good is kept: a token that is ours stays ours, and so does an address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

from services.proxy.domain.verdict import Destination

_T = TypeVar("_T")

MAX_KNOWN: Final = 16_384
"""Entries of each kind, about 0.6 kB each; the oldest gives way, and is read anew when it comes."""
MAX_KEY: Final = 1024
"""Bytes of Route lines that are kept; ours have 200 to 400."""


@dataclass(frozen=True, slots=True)
class Inward:
    """Route lines from outside that are all ours."""

    owner: str
    """The appserver that has the dialog."""
    text: bytes
    """The values, for the loop hash."""


@dataclass(frozen=True, slots=True)
class Outward:
    """Route lines (or, where there are none, a Request-URI) of an appserver's request."""

    destination: Destination
    rest: bytes
    """The lines that stay."""
    text: bytes
    """Their values, for the loop hash."""
    in_dialog: bool
    """Whether our public Route was among them."""


class KnownRoutes:
    """What was learnt, by the bytes of the lines, each with its CRLF. `inward` and `outward` are
    to be looked at directly; `uris` are Request-URIs that say where to go by themselves."""

    def __init__(self) -> None:
        self.inward: dict[bytes, Inward] = {}
        self.outward: dict[bytes, Outward] = {}
        self.uris: dict[bytes, Outward] = {}

    def keep_inward(self, lines: bytes, inward: Inward) -> None:
        """Keep what Route lines from outside say."""
        _put(self.inward, lines, inward)

    def keep_outward(self, lines: bytes, outward: Outward) -> None:
        """Keep what Route lines of an appserver say."""
        _put(self.outward, lines, outward)

    def keep_uri(self, uri: bytes, outward: Outward) -> None:
        """Keep what a Request-URI says."""
        _put(self.uris, uri, outward)


def _put(table: dict[bytes, _T], key: bytes, value: _T) -> None:
    if len(key) > MAX_KEY:
        return
    if len(table) >= MAX_KNOWN:
        del table[next(iter(table))]
    table[key] = value
