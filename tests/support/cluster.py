"""A whole cluster of real processes on loopback, whose parts tests may kill and start again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.local.cluster import LocalCluster
from deploy.local.plan import DATABASES, Plan
from deploy.local.programs import Missing
from deploy.local.servers import Postgres, Rabbit
from tests.support.api import Api
from tests.support.node import Node
from tests.support.ports import free_port
from tests.support.tandemctl import Tandemctl
from tests.support.waiting import eventually

__all__ = ["ADMIN_PASSWORD", "DOMAIN", "Cluster", "Node"]

ADMIN_PASSWORD: Final = "correct horse battery"
DOMAIN: Final = "example.test"
QUICK: Final[Mapping[str, Mapping[str, str]]] = {
    "proxy": {"TANDEM_RATE_LIMIT": "0"},
    "appserver": {"TANDEM_DRAIN_SECONDS": "0"},
    "provisioning": {
        "TANDEM_ARGON2_TIME_COST": "1",
        "TANDEM_ARGON2_MEMORY_KIB": "1024",
        "TANDEM_LOCATION_FLUSH_SECONDS": "0.2",
    },
}
"""Settings by kind of node: tests come from one address and are in a hurry."""
TRACES: Final = ("Traceback (most recent call last)", "never retrieved", "was never awaited")
"""What no log of a node may hold."""


class Cluster:
    """Two of everything, or as many as asked for; everything on loopback, free ports.

    Use it from any event loop; only the clients of `log_in` belong to the loop of their test.
    """

    def __init__(
        self,
        *,
        proxies: int = 2,
        appservers: int = 2,
        provisionings: int = 1,
        events: int = 2,
        domains: tuple[str, ...] = (DOMAIN,),
        env: Mapping[str, Mapping[str, str]] | None = None,
        tls: tuple[Path, Path] | None = None,
        broker_url: str = "",
        database_urls: dict[str, str] | None = None,
    ) -> None:
        """`env`: settings by kind of node or, stronger, by name. `tls`: certificate and key.
        `broker_url`, `database_urls` (`provisioning`, `events`): servers that run already."""
        extra = {kind: dict(settings) for kind, settings in QUICK.items()}
        for where, settings in (env or {}).items():
            extra[where] = {**extra.get(where, {}), **settings}
        plan = Plan(
            proxies=proxies,
            appservers=appservers,
            provisionings=provisionings,
            events=events,
            domains=domains,
            extra=extra,
        )
        if tls is not None:
            plan = replace(plan, tls_cert=tls[0], tls_key=tls[1])
        # Not pytest's folder: the servers run as users that may not enter it.
        self.path = Path(tempfile.mkdtemp(prefix="tandem-cluster-"))
        self.path.chmod(0o711)
        # as if it had them before: two clusters that draw at random may find the same, and take
        # that of a server that a test keeps down
        ports = {name: free_port() for name in plan.ports()}
        (self.path / "ports.json").write_text(json.dumps(ports))
        self.local = LocalCluster(
            self.path,
            plan,
            admin_password=ADMIN_PASSWORD,
            broker_url=broker_url,
            database_urls=database_urls,
        )
        self.nodes: dict[str, Node] = {}
        self.api = Api("http://invalid.invalid")
        """Provisioning's REST API as the administrator, after `log_in`."""
        self.events_apis: list[Api] = []
        """The same token at each events node."""

    def __getitem__(self, name: str) -> Node:
        """A node by name: `proxy1`, `appserver2`, `provisioning1`, `events2`."""
        return self.nodes[name]

    def of_kind(self, kind: str) -> list[Node]:
        """All nodes of a kind, by number."""
        return [self.nodes[name] for name in self.local.plan.names(kind)]

    @property
    def proxies(self) -> list[Node]:
        """All proxies, by number."""
        return self.of_kind("proxy")

    @property
    def appservers(self) -> list[Node]:
        """All appservers, by number."""
        return self.of_kind("appserver")

    @property
    def events(self) -> list[Node]:
        """All events nodes, by number."""
        return self.of_kind("events")

    @property
    def provisioning(self) -> Node:
        """The first provisioning node."""
        return self.nodes["provisioning1"]

    @property
    def broker(self) -> Rabbit:
        """The private broker: `.kill()`, `.spawn()`, `await .ready()`, `await .stop()`."""
        assert self.local.broker is not None
        return self.local.broker

    @property
    def database(self) -> Postgres:
        """The private PostgreSQL: as the broker, and `.run_sql(...)`, `.read_only(True)`."""
        assert self.local.database is not None
        return self.local.database

    async def start(self) -> None:
        """Start all and wait for it. A server that is not installed skips the test; under CI=true
        it fails."""
        try:
            self.local.prepare()
        except Missing as missing:
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        if self.local.database is not None:
            # no test cuts the power; to wait for the disk takes half of a start and of a stop
            server = self.database.child
            server.command = [*server.command, "-c", "fsync=off", "-c", "full_page_writes=off"]
        kinds = {
            name: k
            for k in ("proxy", "appserver", "provisioning", "events")
            for name in self.local.plan.names(k)
        }
        ports = self.local.shared.ports
        self.nodes = {n: Node(n, kinds[n], child, ports) for n, child in self.local.nodes.items()}
        await self.local.start()

    async def log_in(self) -> None:
        """Make `api` and `events_apis` for the running loop, logged in as the administrator, and
        wait until every node is ready."""
        for node in self.nodes.values():
            if node.running:
                await self.is_ready(node)
        self.api = Api(self.provisioning.http)
        await self.api.log_in("admin", ADMIN_PASSWORD)
        self.events_apis = [Api(node.http) for node in self.events]
        for api in self.events_apis:
            api.client.headers["Authorization"] = self.api.client.headers["Authorization"]

    async def log_out(self) -> None:
        """Close the clients of this loop."""
        for api in (self.api, *self.events_apis):
            await api.close()
        self.events_apis = []

    async def is_ready(self, node: Node, seconds: float = 30.0) -> None:
        """Wait until its /health/ready says so."""

        async def look() -> bool:
            return await node.health() == 200

        await eventually(look, f"{node.name} to be ready: {node.child.last_words()}", seconds)

    async def add_customer(self, username: str, password: str, **fields: object) -> dict[str, Any]:
        """A customer."""
        answer = await self.api.client.post(
            "/api/v1/customers", json={"username": username, "password": password, **fields}
        )
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    async def customer_api(self, username: str, password: str) -> Api:
        """Provisioning's API as this customer; the caller closes it."""
        api = Api(self.provisioning.http)
        await api.log_in(username, password)
        return api

    def queues(self) -> dict[str, int]:
        """The broker's queues, and how many consumers each has (takes a second or two)."""
        told = self.rabbitmqctl("--no-table-headers", "list_queues", "name", "consumers")
        rows = (line.split("\t") for line in told.splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2}

    def rabbitmqctl(self, *arguments: str) -> str:
        """What the broker's own tool prints (takes a second or two)."""
        child = self.broker.child
        tool = Path(child.command[0]).with_name("rabbitmqctl")
        done = subprocess.run(
            [str(tool), "-q", *arguments],
            env=dict(child.env),
            cwd=child.cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            user=child.user,
            group=child.user,
            extra_groups=[] if child.user else None,
        )
        return done.stdout

    def place(self, name: str) -> dict[str, Any]:
        """What another cluster is made with that is to use the servers of this one, and breaks
        neither: a virtual host and databases of its own. Servers take seconds to start."""
        self.rabbitmqctl("add_vhost", name)
        self.rabbitmqctl("set_permissions", "-p", name, "tandem", ".*", ".*", ".*")
        urls = {}
        for kind in DATABASES:
            self.database.run_sql(f"CREATE DATABASE {name}_{kind}")
            urls[kind] = self.database.url(f"{name}_{kind}")
        return {"broker_url": f"{self.broker.url}{name}", "database_urls": urls}

    def tandemctl(self) -> Tandemctl:
        """The operators' command, logged in as the administrator, after `log_in`."""
        return Tandemctl(
            TANDEM_GRPC_URL=self.local.shared.directory_url,
            TANDEM_TOKEN=self.api.client.headers["Authorization"].removeprefix("Bearer "),
        )

    async def stop_nodes(self) -> None:
        """SIGTERM to the nodes alone, with what `stop` demands of them."""
        ran = [node for node in self.nodes.values() if node.running]
        await self.local.stop_nodes()
        for node in ran:
            assert node.child.status == 0, f"{node.name} {node.child.status}: {node.log[-3000:]}"
        for node in self.nodes.values():
            assert not any(t in node.log for t in TRACES), f"{node.name}: {node.log[-6000:]}"

    async def stop(self) -> None:
        """SIGTERM to all in order. Every process that still ran must end by itself with status 0
        and without a traceback in its log; then nothing is left."""
        try:
            await self.stop_nodes()
        finally:
            try:
                await self.local.stop()
            finally:
                self.local.kill_all()
                if not os.environ.get("TANDEM_KEEP_CLUSTER"):  # to look at a failed test's logs
                    shutil.rmtree(self.path, ignore_errors=True)
