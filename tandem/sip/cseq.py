"""CSeq: RFC 3261 §20.16."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tandem.sip.errors import BadMessage
from tandem.sip.grammar import TOKEN

# CSeq = "CSeq" HCOLON 1*DIGIT LWS Method
_CSEQ_RE: Final = re.compile(rf"(?P<number>[0-9]+)[ \t]+(?P<method>{TOKEN})")

MAX_CSEQ: Final = 2**32 - 1
"""RFC 3261 §8.1.1.5 lets clients start below 2**31; §20.16 makes 32 bits the bound for all."""


@dataclass(frozen=True, slots=True)
class CSeq:
    """A sequence number and the method it counts."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Parse a value; raises BadMessage. Results are cached and shared."""
        return _parse(text)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@lru_cache(maxsize=1024)
def _parse(text: str) -> CSeq:
    match = _CSEQ_RE.fullmatch(text)
    if match is None or len(match["number"]) > 20 or int(match["number"]) > MAX_CSEQ:
        raise BadMessage("Malformed CSeq")
    return CSeq(int(match["number"]), match["method"])
