"""Failed logins slow down, then lock for a while: per user name and source address.

An attempt is charged before the password is looked at, and forgiven when it was right; so a hundred
attempts at once are not a hundred free guesses.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

FREE_ATTEMPTS: Final = 3
"""Failures that cost nothing: people mistype."""
FIRST_DELAY_SECONDS: Final = 1.0
"""The wait after the first failure that counts; each further one doubles it."""
LOCK_AFTER: Final = 10
"""Failures after which the pair is locked."""
LOCK_SECONDS: Final = 900.0
FORGET_SECONDS: Final = 3600.0
"""A pair that did nothing for so long starts afresh."""
MAX_PAIRS: Final = 10_000
"""Pairs that are remembered; beyond, the one that was quiet for longest is forgotten."""


@dataclass(slots=True)
class _Record:
    failures: int
    at: float
    until: float


class LoginThrottle:
    """Pure: `now` comes in, in seconds of any clock that only grows."""

    def __init__(self) -> None:
        self._records: OrderedDict[tuple[str, str], _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def charge(self, username: str, source: str, now: float) -> int:
        """0 if an attempt may be made now, and it counts as failed until forgiven; else the whole
        seconds to wait."""
        key = _key(username, source)
        record = self._records.get(key)
        if record is None or now - record.at > FORGET_SECONDS:
            record = self._records[key] = _Record(0, now, now)
        if now < record.until:
            return math.ceil(record.until - now)
        record.failures += 1
        record.at = now
        record.until = now + _delay(record.failures)
        self._records.move_to_end(key)
        if len(self._records) > MAX_PAIRS:
            self._records.popitem(last=False)
        return 0

    def forgive(self, username: str, source: str) -> None:
        """The password was right."""
        self._records.pop(_key(username, source), None)

    def refund(self, username: str, source: str, now: float) -> None:
        """The password could not be looked at: it was no guess."""
        record = self._records.get(_key(username, source))
        if record is not None:
            record.failures -= 1
            record.until = now


def _delay(failures: int) -> float:
    if failures >= LOCK_AFTER:
        return LOCK_SECONDS
    if failures <= FREE_ATTEMPTS:
        return 0.0
    return float(FIRST_DELAY_SECONDS * 2 ** (failures - FREE_ATTEMPTS - 1))


def _key(username: str, source: str) -> tuple[str, str]:
    """An IPv6 site has a whole /64 of addresses to come from."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return username.lower(), source
    if address.version == 6:
        source = str(ipaddress.ip_network((address, 64), strict=False))
    return username.lower(), source
