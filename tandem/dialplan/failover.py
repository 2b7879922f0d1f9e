"""After which failures of an attempt the next one, behind `|`, is tried.

    failover = item *( "," item )
    item     = [ "-" ] ( word / class / status ) / "all" / "none"
    word     = "busy" / "declined" / "no-answer"
    class    = ( "3" / "4" / "5" / "6" ) "xx"
    status   = 3DIGIT                                   ; 300 to 699

It begins with what holds where nothing is said: all but 486 and 6xx, for these are the answer of a
person, or one for all of his phones. Items are applied from left to right; `-` takes away.
`busy` also fails over when somebody is busy, `-404,-5xx` no longer does for these, `none,408,5xx`
does for these alone.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from tandem.dialplan.scan import Scanner

TIMED_OUT: Final = 0
"""In place of a status: nobody answered while it rang."""

WORDS: Final[dict[str, Container[int]]] = {
    "busy": frozenset({486, 600}),
    "declined": frozenset({603, 607, 608}),
    "no-answer": frozenset({TIMED_OUT, 408}),
}
_ITEM_RE: Final = re.compile(r"[^,}\s]*")


@dataclass(frozen=True, slots=True)
class Item:
    """One word of a policy."""

    text: str
    """In lower case, without `-`."""
    allows: bool

    def __contains__(self, status: int) -> bool:
        if self.text in ("all", "none"):
            return True
        if self.text[1:] == "xx":
            return status // 100 == int(self.text[0])
        return status in WORDS[self.text] if self.text in WORDS else status == int(self.text)

    def __str__(self) -> str:
        return self.text if self.allows or self.text == "none" else f"-{self.text}"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which failures are followed by another attempt."""

    items: tuple[Item, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read one; "" is what holds where nothing is said. Raises DialStringError."""
        scanner = Scanner(text)
        scanner.refuse_controls()
        if not text.strip():
            return cls()
        made = read_policy(scanner)
        if scanner.char:
            scanner.fail("here a comma or the end is expected")
        return made

    def allows(self, status: int) -> bool:
        """Whether the next attempt is tried after this final status, or TIMED_OUT."""
        allowed = status != 486 and status < 600
        for item in self.items:
            if status in item:
                allowed = item.allows
        return allowed

    def __str__(self) -> str:
        return ",".join(str(item) for item in self.items)


def read_policy(scanner: Scanner) -> Policy:
    """Read items up to what is none of theirs."""
    items = []
    while True:
        scanner.blanks()
        items.append(_item(scanner))
        scanner.blanks()
        if not scanner.skip(","):
            return Policy(tuple(items))


def _item(scanner: Scanner) -> Item:
    at = scanner.at
    match = scanner.take(_ITEM_RE)
    assert match is not None  # it matches nothing, too
    minus, text = match[0][:1] == "-", match[0].lower().lstrip("-")
    if text in ("all", "none") and not minus:
        return Item(text, text == "all")
    number = text[:1] if text[1:] == "xx" else text
    limits = range(3, 7) if text[1:] == "xx" else range(300, 700)
    known = number.isascii() and number.isdecimal() and len(number) <= 3 and int(number) in limits
    if match[0].lower() != "-" * minus + text or not (text in WORDS or known):
        scanner.fail(
            "here a status (404), a class (5xx), busy, declined or no-answer is expected, or one "
            "of these with - before it, or all or none",
            at,
        )
    return Item(text, not minus)
