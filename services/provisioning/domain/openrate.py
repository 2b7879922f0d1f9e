"""How often a method may be called without a key: by one address, and by all of a customer's."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, then one more each `seconds`."""

    burst: int
    seconds: float


PER_ADDRESS: Final = Rate(5, 12.0)
"""Of one customer by one address: a voice application hands back a call now and then."""
PER_OWNER: Final = Rate(20, 3.0)
"""Of one customer by all addresses that he has listed."""
MAX_BUCKETS: Final = 10_000
"""Pairs that are remembered; beyond, the one that was quiet for longest is forgotten."""
TINY_SECONDS: Final = 0.001
"""Less than this is no wait: sums of fractions are not exact."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class OpenRate:
    """Token buckets. Pure: `now` comes in, in seconds of any steady clock. Each instance of
    provisioning counts for itself."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, owner: str, source: str, now: float) -> int:
        """0 if it may be done now, which is counted; else the whole seconds to wait."""
        pairs = (((owner, site(source)), PER_ADDRESS), ((owner, ""), PER_OWNER))
        wait = max(self._wait(key, rate, now) for key, rate in pairs)
        if wait > 0:
            return math.ceil(round(wait, 3))
        for key, _ in pairs:
            self._buckets[key].left -= 1
        return 0

    def _wait(self, key: tuple[str, str], rate: Rate, now: float) -> float:
        bucket = self._buckets.setdefault(key, _Bucket(rate.burst, now))
        bucket.left = min(rate.burst, bucket.left + (now - bucket.at) / rate.seconds)
        bucket.at = now
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        wait = (1 - bucket.left) * rate.seconds
        return wait if wait > TINY_SECONDS else 0.0


def site(source: str) -> str:
    """Who counts as one: an address, or a /64 of IPv6, for so much has a site."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return source
