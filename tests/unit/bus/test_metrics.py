from __future__ import annotations

from tandem.bus.counters import Lost
from tandem.bus.interest import EventsStored
from tandem.bus.memory import MemoryBus
from tandem.bus.metrics import register_bus
from tandem.bus.ports import Topic
from tandem.runtime.metrics import Metrics


async def test_a_service_shows_what_went_over_its_bus() -> None:
    async def take(batch: object) -> None: ...

    bus, metrics = MemoryBus("node-a", queue_limit=1), Metrics()
    register_bus(metrics, bus)
    bus.subscribe(Topic.FEED, take, name="feed")
    bus.publish(Topic.FEED, EventsStored(1))
    bus.publish(Topic.FEED, EventsStored(2))
    shown = metrics.render().decode()
    assert "tandem_bus_connected 1.0" in shown
    assert 'tandem_bus_published_total{topic="feed"} 2.0' in shown
    assert f'tandem_bus_dropped_total{{reason="{Lost.SLOW}",topic="feed"}} 1.0' in shown
    assert 'tandem_bus_outbox{topic="events"} 0.0' in shown
    await bus.close()
