"""HOST:PORT as settings and logs write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host (name, IPv4 or IPv6 address, without brackets) and a port; port 0: any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, default_port: int | None = None) -> HostPort:
        """Read `HOST:PORT`, `[IPv6]:PORT`, and `HOST` or `[IPv6]` where there is a default port.

        Raises ValueError with a sentence that quotes the text.
        """
        host, colon, port = _split(text.strip())
        if not host or any(c.isspace() or c in "[]/@" for c in host):
            raise ValueError(f"{text!r} is not HOST:PORT")
        if not colon and default_port is not None:
            return cls(host, default_port)
        if not (port.isascii() and port.isdigit() and int(port[:6]) <= MAX_PORT):
            raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to {MAX_PORT}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not [IPv6]:PORT")
        return host, rest[:1], rest[1:]
    host, colon, port = text.rpartition(":") if ":" in text else (text, "", "")
    if ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, [::1]:5060")
    return host, colon, port
