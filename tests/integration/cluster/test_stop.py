"""What is left when all nodes were told to stop: nothing but what waits for them."""

from __future__ import annotations

from tests.integration.cluster.test_cluster import phone
from tests.support.cluster import Cluster
from tests.support.waiting import eventually


async def test_no_queue_is_left_that_nobody_will_ever_read(own_cluster: Cluster) -> None:
    one = await phone(own_cluster, "proxy1")
    before = own_cluster.queues()
    names = set(own_cluster.nodes)
    assert any(name in queue for name in names for queue in before)  # queues of single nodes
    await own_cluster.stop_nodes()

    async def look() -> dict[str, int]:
        found = own_cluster.queues()  # counted a moment late for quorum queues
        return found if not any(found.values()) else {}

    after = await eventually(look, "queues without readers")
    assert set(after) <= set(before)
    assert [queue for queue in after if any(name in queue for name in names)] == []
    await one.close(abruptly=True)
