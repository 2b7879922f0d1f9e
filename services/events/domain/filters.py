"""The filter language of the event log: `type=call.* and text=busy`.

    filter  = term *( "and" term )
    term    = key ( "=" / SP ) value
    value   = quoted text, or text up to the next " and "

`type`, `service`, `node`, `owner` and `call_id` take patterns with `*` and `?`, several with commas
between (any of them matches); `text` is found anywhere in the message, whatever its case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from services.events.domain.event import StoredEvent
from tandem.rpc.sessions import Principal

MAX_LENGTH: Final = 1000
"""Characters of a filter."""
MAX_TERMS: Final = 20
"""Terms and patterns of a filter; each costs a comparison per event and console."""

KEYS: Final = ("type", "service", "node", "owner", "call_id", "text")
_ALIASES: Final[Mapping[str, str]] = {"event": "type", "user": "owner", "callid": "call_id"}
_TERM: Final = re.compile(
    r"""\s*(?P<key>[^\s="]+)(?:\s*=\s*|\s+)(?P<value>"[^"]*"|(?:(?!\s+and(?:\s|$))[^"])+?)\s*
    (?:\sand\s+(?=\S)|$)""",
    re.VERBOSE | re.IGNORECASE,
)


class FilterError(ValueError):
    """A filter that can't be read; the text says where and what would be right."""


@dataclass(frozen=True, slots=True)
class Term:
    """One condition: any of the patterns."""

    key: str
    patterns: tuple[str, ...]

    def matches(self, event: StoredEvent) -> bool:
        """Whether `event` fulfils it."""
        if self.key == "text":
            return self.patterns[0] in event.message.lower()
        values = event.owners if self.key == "owner" else (getattr(event, self.key) or "",)
        return any(fnmatchcase(value, p) for value in values for p in self.patterns)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What matching values surely begin with, any of them: the part that a database can look
        up; empty if it can't."""
        found = tuple(re.split(r"[*?\[]", p, maxsplit=1)[0] for p in self.patterns)
        return found if all(found) else ()


@dataclass(frozen=True, slots=True)
class Filter:
    """All terms must match; no terms: everything does."""

    terms: tuple[Term, ...] = ()

    def matches(self, event: StoredEvent) -> bool:
        """Whether `event` passes."""
        return all(term.matches(event) for term in self.terms)

    def names_type(self, type: str) -> bool:
        """Whether a type is asked for by its name, or by its area: `sip.*`."""
        area = type.partition(".")[0] + "."
        patterns = (p for term in self.terms if term.key == "type" for p in term.patterns)
        return any(p.startswith(area) and fnmatchcase(type, p) for p in patterns)

    def foreign_owner(self, viewer: Principal) -> str | None:
        """An owner that is asked for and that `viewer` may not ask for."""
        for term in self.terms:
            if term.key == "owner" and not viewer.admin:
                for pattern in term.patterns:
                    if not fnmatchcase(viewer.username, pattern):
                        return pattern
        return None


def parse_filter(text: str) -> Filter:
    """Read a filter; empty text passes everything. Raises FilterError."""
    if len(text) > MAX_LENGTH:
        raise FilterError(f"a filter may have {MAX_LENGTH} characters")
    terms: list[Term] = []
    at = 0
    while text[at:].strip():
        found = _TERM.match(text, at)
        if found is None:
            raise FilterError(f"cannot read {text[at : at + 40]!r}: write key=value and key=value")
        terms.append(_term(found["key"], found["value"]))
        at = found.end()
    if sum(len(term.patterns) for term in terms) > MAX_TERMS:
        raise FilterError(f"a filter may have {MAX_TERMS} conditions")
    return Filter(tuple(terms))


def _term(key: str, value: str) -> Term:
    name = _ALIASES.get(key.lower(), key.lower())
    if name not in KEYS:
        raise FilterError(f"there is no key {key!r}; the keys are {', '.join(KEYS)}")
    value = value.strip('"') if value.startswith('"') else value.strip()
    if name == "text":
        return Term(name, (value.lower(),))
    patterns = tuple(part.strip() for part in value.split(",") if part.strip())
    if not patterns:
        raise FilterError(f"{key!r} has no value")
    return Term(name, tuple(re.sub(r"\[", "[[]", pattern) for pattern in patterns))
