"""Bindings on their way over the broker into the database, which is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from services.provisioning.app import Provisioning
from tandem.bus.amqp import AmqpBus
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Topic
from tests.support.databases import DatabaseServer
from tests.support.location import a_binding
from tests.support.provisioning import Clock, quick_config
from tests.support.rabbit import Rabbit
from tests.support.waiting import eventually

KEY = "a key that all nodes share"


@asynccontextmanager
async def _instance(
    node: str, database: str, broker: str, prefix: str
) -> AsyncIterator[Provisioning]:
    config = replace(quick_config(database, 2.0), node_id=node, broker_url=broker, cluster_key=KEY)
    bus = AmqpBus(broker, node, prefix=prefix)
    service = Provisioning(config, bus, Clock())
    try:
        await service.start()
        await bus.start()
        yield service
    finally:
        await bus.close()
        await service.stop()


async def test_what_two_instances_take_off_the_broker_is_written_when_the_database_is_back(
    server: DatabaseServer, database: str, rabbit: Rabbit
) -> None:
    now = Clock().now
    phones = [a_binding(now, aor=f"u{number:03}@local") for number in range(200)]
    prefix = f"location-{server.scheme}"
    appserver = AmqpBus(rabbit.url, "appserver-1", prefix=prefix)
    await appserver.start()
    async with (
        _instance("provisioning-1", database, rabbit.url, prefix) as one,
        _instance("provisioning-2", database, rabbit.url, prefix) as two,
    ):
        for phone in phones[:100]:
            appserver.publish(Topic.LOCATION, BindingStored(phone))
        await eventually(lambda: _are(one, phones[:100]), "the first bindings", seconds=60)
        await asyncio.to_thread(server.kill)
        for phone in phones[100:]:
            appserver.publish(Topic.LOCATION, BindingStored(phone))
            appserver.publish(Topic.LOCATION, BindingStored(phones[1], renewed=True))
        appserver.publish(Topic.LOCATION, BindingRemoved(phones[0], "unregistered"))
        await eventually(lambda: _waits(one, two), "news that can't be written", seconds=60)
        await asyncio.to_thread(server.start)
        await eventually(lambda: _are(two, phones[1:]), "all bindings", seconds=60)
    await appserver.close()


async def _are(service: Provisioning, expected: list[Binding]) -> bool:
    return await service.directory.bindings() == expected


async def _waits(*services: Provisioning) -> bool:
    return any(len(service._cases.location) for service in services)
