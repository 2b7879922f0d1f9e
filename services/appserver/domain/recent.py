"""A memory of what happened lately, bounded in time and size without a timer or a sweep."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Remembers each entry for at least `seconds` and less than twice that, unless more than
    `limit` come in that time: then the oldest generation goes early.

    Two generations: entries go into the young one; when its time is over or it is full, it
    becomes the old one and the old one is dropped at a stroke.
    """

    __slots__ = ("_limit", "_old", "_seconds", "_turn_at", "_young")

    def __init__(self, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._turn_at = float("-inf")

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K, now: float) -> V | None:
        """What was remembered under `key`, None for nothing."""
        if now >= self._turn_at:
            self._turn(now)
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def put(self, key: K, value: V, now: float) -> None:
        """Remember, in place of what was there."""
        if now >= self._turn_at or len(self._young) >= self._limit:
            self._turn(now)
        self._young[key] = value

    def drop(self, key: K) -> None:
        """Forget one."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def _turn(self, now: float) -> None:
        idle = now >= self._turn_at + self._seconds
        self._old = {} if idle else self._young
        self._young = {}
        self._turn_at = now + self._seconds
