"""Times: Unix seconds inside, RFC 3339 in UTC in the API."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(unix: float | None) -> str | None:
    """`2026-01-31T12:00:00.123Z`; None stays None."""
    if unix is None:
        return None
    text = datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Unix seconds from RFC 3339 or from a plain number of them. Raises ValueError."""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    # A plus sign in a query that was not escaped arrives as a space.
    found = datetime.fromisoformat(text.strip().replace(" ", "+"))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
