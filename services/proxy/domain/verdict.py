"""What is to be done with a message: what the pure part of the proxy says to the rest."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.siptransport.flowtoken import FlowName


@dataclass(frozen=True, slots=True)
class ToAppserver:
    """Send it over the link."""

    data: bytes
    appserver: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the request without state. `headers` are whole lines."""

    status: int
    reason: str | None = None
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Say nothing, count it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Address:
    """A destination that a connection may have to be made to. `host` is numeric."""

    transport: str
    host: str
    port: int
    server_name: str | None = None


@dataclass(frozen=True, slots=True)
class Back:
    """Send a response to the peer that the reference in our branch names, or when that is gone
    to `fallback` (RFC 3261 §18.2.2)."""

    data: bytes
    ref: bytes
    fallback: Address | None


Destination = FlowName | Address
