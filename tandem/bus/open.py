"""The bus that a setting names."""

from __future__ import annotations

from tandem.bus.memory import MemoryBus
from tandem.bus.ports import CountedBus


def open_bus(url: str, node: str) -> CountedBus:
    """The bus for TANDEM_BROKER_URL: `memory:`, or the URLs of a broker's nodes, separated by
    commas, to be tried in turn: `amqp://user:password@host:port/vhost` (amqps: over TLS). Raises
    ValueError for anything else, without its password."""
    if url == "memory:":
        return MemoryBus(node)
    # who needs no broker needs no library for it
    from tandem.bus.amqp import AmqpBus

    return AmqpBus(url, node)
