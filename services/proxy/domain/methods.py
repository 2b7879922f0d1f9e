"""Counting by method and response class, at the least cost that there is: one subscript each."""

from __future__ import annotations

from typing import Final

METHODS: Final = (
    b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER", b"SUBSCRIBE", b"NOTIFY",
    b"MESSAGE", b"REFER", b"INFO", b"UPDATE", b"PRACK", b"PUBLISH",
)  # fmt: skip
OTHER: Final = b"other"
"""All methods that have no place of their own: their names are anybody's choice."""
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "6xx")


def method_counts() -> dict[bytes, int]:
    """A count for each method, and for OTHER; a KeyError tells that it is OTHER's."""
    return dict.fromkeys((*METHODS, OTHER), 0)


def count_method(counts: dict[bytes, int], method: bytes) -> None:
    """One more of this method."""
    counts[method if method in counts else OTHER] += 1


def class_counts() -> list[int]:
    """A count for each byte that the place of a status' first digit may hold: `counts[data[8]]`."""
    return [0] * 256


def by_class(counts: list[int], number: int) -> int:
    """The count of the responses `number` hundred."""
    return counts[ord("0") + number]
