"""Which proxies are there: what they announce, and what is heard of them over the link.

A proxy probes every appserver twice a second over the link, so that link tells first when one is
gone, and also tells that one is there while the broker is away. Announcements alone count for a
proxy that never probed.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from tandem.bus.nodes import NodeState

SILENT_SECONDS: Final = 2.0
"""Silence on the link after which a proxy that probes counts as gone: four probes."""
MAX_PROXIES: Final = 4096
"""Proxies heard of, more than a cloud has; those of former times go first."""

_GONE: Final = frozenset({NodeState.STOPPED, NodeState.LOST})


class Proxies:
    """Proxies by their link addresses. `now` is the steady clock."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def heard(self, proxy: str, now: float) -> None:
        """It probed us."""
        if proxy not in self._heard and len(self._heard) >= MAX_PROXIES:
            del self._heard[min(self._heard, key=lambda name: self._heard[name])]
        self._heard[proxy] = now

    def spoke(self, proxy: str, now: float) -> None:
        """It brought a message: if it was silent, it is back before its next probe."""
        if proxy in self._heard:
            self._heard[proxy] = now

    def said(self, proxy: str, state: str) -> None:
        """It announced this state, or was found lost."""
        self._said.pop(proxy, None)
        self._said[proxy] = state
        if len(self._said) > MAX_PROXIES:
            del self._said[next(iter(self._said))]
        if state == NodeState.STOPPED:
            self._heard.pop(proxy, None)

    def gone(self, now: float) -> set[str]:
        """Those that are away."""
        return {name for name in self._known() if self.away(name, now)}

    def away(self, proxy: str, now: float) -> bool:
        """Whether nothing sent to it would arrive. When all are silent it is us: then none is."""
        return self._silent(proxy, now) and bool(self._there(now))

    def through(self, proxy: str, now: float, key: str) -> str:
        """The proxy to send through where any will do: this one, unless it is away or wants no
        more; then the first of the others for this key."""
        if self._said.get(proxy) != NodeState.DRAINING and not self._silent(proxy, now):
            return proxy
        others = self.others(proxy, now, key)
        return others[0] if others else proxy

    def others(self, proxy: str, now: float, key: str) -> list[str]:
        """The rest of those that are there, those that drain last. Each key (a phone's address, a
        Call-ID, a URI) has its own order of them: what one proxy leaves is spread over all, and
        a phone hears from one."""
        there = [name for name in self._there(now) if name != proxy]
        return sorted(there, key=lambda name: self._rank(name, key))

    def _rank(self, proxy: str, key: str) -> tuple[bool, bytes]:
        weight = blake2b(f"{proxy} {key}".encode("utf-8", "replace"), digest_size=8).digest()
        return self._said.get(proxy) == NodeState.DRAINING, weight

    def _silent(self, proxy: str, now: float) -> bool:
        heard = self._heard.get(proxy)
        if heard is not None:
            return now - heard > SILENT_SECONDS
        return self._said.get(proxy) in _GONE

    def _there(self, now: float) -> list[str]:
        return [name for name in self._known() if not self._silent(name, now)]

    def _known(self) -> set[str]:
        return self._heard.keys() | self._said.keys()
