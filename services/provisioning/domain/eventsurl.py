"""Where browsers find the events API."""

from __future__ import annotations

from urllib.parse import urlsplit


def events_base(url: str) -> str:
    """The URL without a slash at its end. Raises ValueError, one line."""
    parts = urlsplit(url)
    # What goes into a policy must not end it.
    clean = url.isascii() and url.isprintable() and not set(url) & set(" ;,'\"")
    if parts.scheme not in ("http", "https") or not parts.hostname or not clean:
        raise ValueError(f"TANDEM_EVENTS_URL: {url!r} is not http(s)://HOST[:PORT][/PATH]")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"TANDEM_EVENTS_URL: {url!r} has more than a host, port and path")
    return url.rstrip("/")
