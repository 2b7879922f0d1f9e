from __future__ import annotations

from tandem.bus.counters import Lost
from tandem.bus.interest import EventsStored
from tandem.bus.memory import MemoryBus
from tandem.bus.metrics import register_bus, register_nodes
from tandem.bus.nodes import NodeAnnounced, Nodes
from tandem.bus.ports import Envelope, Topic
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
    assert 'tandem_bus_queue_depth{topic="feed"} 1.0' in shown
    await bus.close()


def said(node: str, kind: str, state: str = "active") -> NodeAnnounced:
    return NodeAnnounced(node=node, kind=kind, incarnation=1, version="1", state=state)


async def test_a_service_shows_the_nodes_it_knows_by_kind_and_state() -> None:
    bus, metrics = MemoryBus("node-a"), Metrics()
    nodes = Nodes(bus, lambda: said("node-a", "proxy"), lambda: 0.0)
    register_nodes(metrics, nodes)
    envelopes = [
        Envelope(node, 0.0, node, said(node, kind, state))
        for node, kind, state in (
            ("node-a", "proxy", "active"),
            ("node-b", "proxy", "active"),
            ("node-c", "appserver", "draining"),
        )
    ]
    await nodes.take(envelopes)
    shown = metrics.render().decode()
    assert 'tandem_nodes{kind="proxy",state="active"} 2.0' in shown
    assert 'tandem_nodes{kind="appserver",state="draining"} 1.0' in shown
    assert 'tandem_nodes{kind="appserver",state="lost"} 0.0' in shown
    await bus.close()
