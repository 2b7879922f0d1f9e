"""Provisioning in a cluster: two instances at once, and what it needs away at the start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import httpx
import pytest

from tandem.rpc.channel import open_channel
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.remote import RemoteDirectory
from tandem.rpc.security import Security
from tests.support.databases import PostgreSQL
from tests.support.provisioning import ADMIN_PASSWORD
from tests.support.rabbit import Rabbit
from tests.support.waiting import eventually

KEY = "a secret of all nodes"
PATIENCE = 60.0


class Instance:
    """`tandem provisioning` in a process of its own."""

    def __init__(self, name: str, database: str, broker: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.client = httpx.AsyncClient()
        self._database = database
        self._broker = broker
        self._process: Process | None = None

    def shown(self, word: str) -> str:
        """What follows this word at the start of a line."""
        return next(line.split()[1] for line in self.lines if line.startswith(word))

    async def start(self) -> None:
        """Start and wait until it says that it is ready."""
        settings = {
            "NODE_ID": self.name,
            "DATABASE_URL": self._database,
            "BROKER_URL": self._broker,
            "CLUSTER_KEY": KEY,
            "HTTP_LISTEN": "127.0.0.1:0",
            "GRPC_LISTEN": "127.0.0.1:0",
            "DOMAINS": "office.example",
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "ARGON2_TIME_COST": "1",
            "ARGON2_MEMORY_KIB": "64",
            "ARGON2_PARALLELISM": "1",
            "DATABASE_WAIT_SECONDS": "2",
        }
        environ = os.environ | {f"TANDEM_{name}": value for name, value in settings.items()}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.provisioning", env=environ, stdout=PIPE, stderr=PIPE
        )
        assert self._process.stdout is not None
        while not any(line.startswith("ready") for line in self.lines):
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
            assert line, "it ended"
            self.lines.append(line.decode().strip())
        self.client = httpx.AsyncClient(base_url=self.shown("http"), trust_env=False, timeout=20)

    async def ready(self) -> bool:
        """What its health says."""
        return (await self.client.get("/health/ready")).status_code == 200

    async def log_in(self) -> None:
        """All further requests of the client are the administrator's."""
        values = {"username": "admin", "password": ADMIN_PASSWORD}
        answer = await self.client.post("/api/v1/login", json=values)
        assert answer.status_code == 200, answer.text
        self.client.headers["authorization"] = f"Bearer {answer.json()['token']}"

    async def stop(self) -> str:
        """SIGTERM; what it wrote on standard error."""
        await self.client.aclose()
        if self._process is None:
            return ""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        return errors.decode()

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def instances(*wanted: Instance) -> AsyncIterator[tuple[Instance, ...]]:
    try:
        await asyncio.gather(*(instance.start() for instance in wanted))
        yield wanted
    finally:
        for instance in wanted:
            await instance.stop()


@contextlib.asynccontextmanager
async def directory_of(*wanted: Instance) -> AsyncIterator[RemoteDirectory]:
    targets = ",".join(instance.shown("grpc") for instance in wanted)
    channel = open_channel(targets, Security(cluster_key=KEY))
    try:
        yield RemoteDirectory(channel)
    finally:
        await channel.close()


async def test_two_instances_that_start_at_once_know_each_other_and_the_same(
    postgresql: PostgreSQL, rabbit: Rabbit
) -> None:
    url = postgresql.fresh_database()
    pair = [Instance(f"two-{number}", url, rabbit.url) for number in (1, 2)]
    async with instances(*pair) as (one, two), directory_of(one, two) as directory:
        await one.log_in()
        two.client.headers["authorization"] = one.client.headers["authorization"]
        body = {"username": "desk", "password": "secret1"}
        made = await one.client.post("/api/v1/sip-accounts", json=body)
        assert made.status_code == 201
        listed = (await two.client.get("/api/v1/sip-accounts")).json()
        assert [account["username"] for account in listed["items"]] == ["desk"]

        async def both() -> bool:
            for each in (one, two):
                nodes = (await each.client.get("/api/v1/nodes")).json()["items"]
                active = {node["id"] for node in nodes if node["state"] == "active"}
                if not active >= {"two-1", "two-2"}:
                    return False
            return True

        await eventually(both, "two nodes that know each other")
        drained = await one.client.post("/api/v1/nodes/two-2/drain")
        assert drained.json()["state"] == "draining"

        async def unready() -> bool:
            return not await two.ready()

        await eventually(unready, "a draining instance that is not ready")
        await two.client.post("/api/v1/nodes/two-2/undrain")
        assert await directory.account("desk", "office.example")
        await one.kill()
        for _ in range(10):
            assert await directory.account("desk", "office.example"), "the other one answers"

        async def lost() -> bool:
            nodes = (await two.client.get("/api/v1/nodes")).json()["items"]
            return ("two-1", "lost") in {(n["id"], n["state"]) for n in nodes}

        await eventually(lost, "the killed instance to be lost")


async def test_a_customer_suspended_at_one_instance_is_locked_out_at_the_other(
    postgresql: PostgreSQL, rabbit: Rabbit
) -> None:
    url = postgresql.fresh_database()
    pair = [Instance(f"lock-{number}", url, rabbit.url) for number in (1, 2)]
    async with instances(*pair) as (one, two):
        await one.log_in()
        body = {"username": "alice", "password": "sesame of alice"}
        assert (await one.client.post("/api/v1/customers", json=body)).status_code == 201
        answer = await two.client.post("/api/v1/login", json=body)
        two.client.headers["authorization"] = f"Bearer {answer.json()['token']}"
        assert (await two.client.get("/api/v1/me")).status_code == 200
        changed = await one.client.patch("/api/v1/customers/alice", json={"suspended": True})
        assert changed.status_code == 200

        async def locked_out() -> bool:
            return (await two.client.get("/api/v1/me")).status_code == 401

        await eventually(locked_out, "the other instance to hear of it")


async def test_it_starts_without_database_and_broker_and_catches_up(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.fresh_database()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        broker = f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}/"
        instance = Instance("early", url, broker)
        postgresql.stop()
        stopped = True
        try:
            async with instances(instance):
                assert not await instance.ready()
                answer = await instance.client.get("/api/v1/me", headers={"X-API-Key": "k"})
                assert answer.status_code == 503
                async with directory_of(instance) as directory:
                    with pytest.raises(DirectoryUnavailable, match="UNAVAILABLE"):
                        await directory.domains()
                    postgresql.start()
                    stopped = False
                    await eventually(instance.ready, "the database", PATIENCE)

                    async def logged_in() -> bool:
                        with contextlib.suppress(AssertionError):
                            await instance.log_in()
                            return True
                        return False

                    await eventually(logged_in, "the administrator")
                    domains = await directory.domains()
                    assert [domain.name for domain in domains] == ["office.example"]
                errors = await instance.stop()
                assert "WARNING" in errors
                assert "Traceback" not in errors
        finally:
            if stopped:
                postgresql.start()
