"""DNS answers by question, for as long as they hold and, while DNS is away, longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.siptransport.locate import Answer, Question

MIN_TTL: Final = 5.0
"""Seconds that an answer is kept at least: a TTL of 0 must not cost a query per call."""

MAX_TTL: Final = 3_600.0
"""Seconds that an answer is kept at most, so that a wrong one heals."""

NEGATIVE_TTL: Final = 60.0
"""Seconds that the absence of a record is kept (RFC 2308 allows up to 3 h; operators mend)."""

FAILURE_TTL: Final = 5.0
"""Seconds before DNS is asked again after it did not answer a question."""

STALE: Final = 86_400.0
"""Seconds that an expired answer may be served while DNS is away (RFC 8767 says 1 to 3 days)."""

MAX_ENTRIES: Final = 10_000
"""Questions that are remembered; the one stored longest ago gives way."""


@dataclass(slots=True)
class _Entry:
    answer: Answer
    expires: float
    useless: float  # when even DNS' absence is no reason to serve it


class DnsCache:
    """Answers with their time of expiry on one steady clock."""

    def __init__(self) -> None:
        self._entries: dict[Question, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, question: Question, now: float) -> Answer | None:
        """The answer that still holds."""
        entry = self._entries.get(question)
        return entry.answer if entry is not None and now < entry.expires else None

    def get_stale(self, question: Question, now: float) -> Answer | None:
        """What DNS said last, if it may still be served while DNS is away."""
        entry = self._entries.get(question)
        return entry.answer if entry is not None and now < entry.useless else None

    def put(self, question: Question, answer: Answer, ttl: float, now: float) -> Answer:
        """Keep what DNS said and return what to go on with: for a failure that is the expired
        answer, if there is one that is not too old."""
        if answer.failure:
            return self._put_failure(question, answer, now)
        bound = MAX_TTL if answer.records else NEGATIVE_TTL
        kept = min(max(ttl, MIN_TTL), bound)
        self._store(question, _Entry(answer, now + kept, now + kept + STALE))
        return answer

    def _put_failure(self, question: Question, failure: Answer, now: float) -> Answer:
        entry = self._entries.get(question)
        if entry is None or now >= entry.useless:
            entry = _Entry(failure, 0.0, 0.0)
        entry.expires = now + FAILURE_TTL
        self._store(question, entry)
        return entry.answer

    def _store(self, question: Question, entry: _Entry) -> None:
        self._entries.pop(question, None)
        self._entries[question] = entry
        if len(self._entries) > MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
