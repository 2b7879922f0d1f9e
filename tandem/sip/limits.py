"""What a message may hold at most. Every limit has its unit and its reason."""

from __future__ import annotations

from typing import Final

MAX_MESSAGE: Final = 65_536
"""Bytes of a whole message: no UDP datagram is larger, so no stream message may be either."""

MAX_HEADERS: Final = 256
"""Header lines. RFC 4475's largest torture message has about 30; real traffic stays under 60."""

MAX_LINE: Final = 8_192
"""Bytes of one header line, folds included. Identity and Authorization reach 2 kB."""

MAX_VIAS: Final = 70
"""Via values: as many as Max-Forwards' recommended start (RFC 3261 §8.1.1.6) lets accumulate."""
