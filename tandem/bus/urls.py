"""The URLs of a broker."""

from __future__ import annotations

from urllib.parse import urlsplit


def addresses(urls: str) -> dict[str, str]:
    """Each URL and what may be said of it. Raises ValueError."""
    found: dict[str, str] = {}
    for url in urls.split(","):
        try:
            parts = urlsplit(url.strip())
            port, host = parts.port, parts.hostname
        except ValueError:
            host = port = None
            parts = urlsplit("")
        if parts.scheme not in ("amqp", "amqps") or not host:
            # the URL itself is not told: it may hold a password
            raise ValueError("a broker's URL must be amqp://user:password@host:port/vhost")
        default = 5671 if parts.scheme == "amqps" else 5672
        found[url.strip()] = f"{f'[{host}]' if ':' in host else host}:{port or default}"
    return found
