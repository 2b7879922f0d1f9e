"""Provisioning on a database, reached through ASGI, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from services.provisioning.app import Provisioning
from services.provisioning.config import ProvisioningConfig
from services.provisioning.ports import Checker
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Topic
from tandem.rpc.http import install
from tandem.rpc.security import Security

ADMIN_PASSWORD = "sesame-of-the-admin"
CUSTOMER_PASSWORD = "sesame-of-a-customer"
SECRET_KEY = "what secrets are sealed by"


class Clock:
    """Unix time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A running service and clients of it."""

    def __init__(
        self, service: Provisioning, bus: MemoryBus, clock: Clock, security: Security
    ) -> None:
        self.service = service
        self.security = security
        """What its gRPC is protected by."""
        self.bus = bus
        self.clock = clock
        self.made_up_password: str | None = None
        self.published: list[Any] = []
        self.app = FastAPI()
        install(self.app)
        self.app.include_router(service.router())
        for topic in (Topic.DIRECTORY, Topic.EVENTS):
            bus.subscribe(topic, self._note, name="rig")

    async def _note(self, batch: Sequence[Envelope]) -> None:
        self.published += [envelope.payload for envelope in batch]

    async def delivered(self) -> None:
        """Wait until every subscriber has got what was published so far."""
        # The bus tells nobody when its queues are empty, and why should it: only tests ask.
        while any(len(subscription) for subscription in self.bus.subscriptions):  # noqa: ASYNC110
            await asyncio.sleep(0)

    def client(self, token: str | None = None, source: str = "192.0.2.1") -> httpx.AsyncClient:
        """A client, logged in or not."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=(source, 1234)),
            base_url="http://tandem.test",
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )

    async def login(self, username: str, password: str) -> httpx.AsyncClient:
        """A client with a fresh token."""
        async with self.client() as anybody:
            answer = await anybody.post(
                "/api/v1/login", json={"username": username, "password": password}
            )
        assert answer.status_code == 200, answer.text
        return self.client(answer.json()["token"])

    async def admin(self) -> httpx.AsyncClient:
        """A client of the administrator's."""
        return await self.login("admin", ADMIN_PASSWORD)

    async def customer(self, username: str) -> httpx.AsyncClient:
        """A new customer's client."""
        async with await self.admin() as admin:
            values = {"username": username, "password": CUSTOMER_PASSWORD}
            answer = await admin.post("/api/v1/customers", json=values)
        assert answer.status_code == 201, answer.text
        return await self.login(username, CUSTOMER_PASSWORD)


def sqlite_in(folder: Path) -> str:
    """The URL of a database in a file."""
    return f"sqlite:///{folder / 'tandem.db'}"


def quick_config(database: str, wait_seconds: float = 30.0) -> ProvisioningConfig:
    """A database by its URL, and password hashes that take no time."""
    return ProvisioningConfig(
        database_url=database,
        session_cache_seconds=5.0,
        location_flush_seconds=0.05,
        database_wait_seconds=wait_seconds,
        argon2_time_cost=1,
        argon2_memory_kib=64,
        argon2_parallelism=1,
    )


@asynccontextmanager
async def running(
    database: str,
    domains: Sequence[str] = ("local",),
    clock: Clock | None = None,
    password: str | None = ADMIN_PASSWORD,
    *,
    wait_seconds: float = 30.0,
    flush_seconds: float = 0.05,
    checker: Checker | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """The service between start and stop, with the database at a URL. `wait_seconds` is for tests
    of a database that does not answer; others wait as long as a busy machine takes.
    `flush_seconds`: how often bindings are written behind; `settings`: others of the config."""
    bus, clock = MemoryBus("test"), clock or Clock()
    security = Security.of_one_process()
    config = replace(
        quick_config(database, wait_seconds),
        location_flush_seconds=flush_seconds,
        **({"secret_key": SECRET_KEY} | settings),
    )
    service = Provisioning(config, bus, clock, security, checker)
    rig = Rig(service, bus, clock, security)
    try:
        await service.start()
        await bus.start()
        await service.ensure_domains(domains)
        rig.made_up_password = await service.ensure_administrator(password)
        yield rig
    finally:
        await bus.close()
        await service.stop()
