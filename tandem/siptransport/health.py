"""Which destinations failed lately, so that they are tried last: RFC 3263 §4.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tandem.siptransport.locate import Hop

FIRST_PENALTY: Final = 8.0
"""Seconds that a destination is tried last after its first failure."""

MAX_PENALTY: Final = 300.0
"""Seconds at most; the penalty doubles with each failure until then."""

MAX_DESTINATIONS: Final = 10_000
"""Destinations that are remembered; the one that failed longest ago gives way."""

_Key = tuple[str, int, str]


@dataclass(slots=True)
class _Failure:
    count: int
    until: float


class Health:
    """Failures by destination: address, port and transport. Times are of one steady clock."""

    def __init__(self) -> None:
        self._failures: dict[_Key, _Failure] = {}

    def mark_failed(self, hop: Hop, now: float) -> None:
        """No answer in time, no connection, or 503 (§4.3). A failure that comes while the
        penalty of an earlier one runs is of the same outage and adds nothing."""
        key = (hop.host, hop.port, hop.transport)
        failure = self._failures.pop(key, None)
        if failure is None or now > failure.until + MAX_PENALTY:
            failure = _Failure(0, now)
        if now >= failure.until:
            failure.count += 1
            # the exponent is bounded: a float overflows after a thousand failures
            failure.until = now + min(
                FIRST_PENALTY * 2.0 ** min(failure.count - 1, 16), MAX_PENALTY
            )
        self._failures[key] = failure
        if len(self._failures) > MAX_DESTINATIONS:
            del self._failures[next(iter(self._failures))]

    def mark_ok(self, hop: Hop) -> None:
        """An answer came: all is forgiven."""
        self._failures.pop((hop.host, hop.port, hop.transport), None)

    def is_penalised(self, hop: Hop, now: float) -> bool:
        """Whether it is to be tried only after all others."""
        failure = self._failures.get((hop.host, hop.port, hop.transport))
        return failure is not None and now < failure.until

    def order(self, hops: Sequence[Hop], now: float) -> list[Hop]:
        """The hops as they came, the penalised ones last."""
        if not self._failures:
            return list(hops)
        return sorted(hops, key=lambda hop: self.is_penalised(hop, now))
