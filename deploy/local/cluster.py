"""All processes of a local cluster: their start, their watch and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.local.child import Child, StartFailed
from deploy.local.folder import Folder
from deploy.local.plan import DATABASES, KINDS, Plan, Shared, command
from deploy.local.servers import Postgres, Rabbit

STOP_ORDER: Final = ("appserver", "proxy", "events", "provisioning")
"""Appservers first: what they end is told by the others."""
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
WATCH_SECONDS: Final = 0.2
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
GOOD_SECONDS: Final = 60.0
"""A process that ran this long has started well; its next restart is quick again."""


class LocalCluster:
    """A cluster on this machine. Calls are made in the main thread: its end is the children's."""

    def __init__(
        self,
        data_dir: Path,
        plan: Plan,
        *,
        port_base: int | None = None,
        admin_password: str | None = None,
        broker_url: str = "",
        database_urls: dict[str, str] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`broker_url` and `database_urls` (by kind of node) name servers that run already."""
        self.plan = plan
        self.folder = Folder(data_dir)
        self.nodes: dict[str, Child] = {}
        self.broker: Rabbit | None = None
        self.database: Postgres | None = None
        self.shared: Shared
        self.admin_password_is_new = False
        self._port_base = port_base
        self._admin_password = admin_password
        self._broker_url = broker_url
        self._database_urls = database_urls
        self._tell = tell

    def prepare(self) -> None:
        """Lock the folder, read or make its secrets, choose ports. Raises FolderProblem and
        Missing."""
        self.folder.open()
        path, secret = self.folder.path, self.folder.secret
        ports = self.folder.ports(self.plan.ports(), self._port_base)
        admin, self.admin_password_is_new = secret("admin_password", self._admin_password)
        if not self._broker_url:
            self.broker = Rabbit(
                path / "rabbitmq",
                ports["broker"],
                ports["broker-dist"],
                ports["broker-names"],
                secret("broker_password")[0],
            )
        urls = dict(self._database_urls or {})
        if not urls:
            password = secret("database_password")[0]
            database = Postgres(path / "postgresql", ports["database"], password, DATABASES)
            urls = {name: database.url(name) for name in DATABASES}
            self.database = database
        self.shared = Shared(
            plan=self.plan,
            ports=ports,
            broker_url=self._broker_url or (self.broker.url if self.broker else ""),
            database_urls=urls,
            cluster_key=secret("cluster_key")[0],
            admin_password=admin,
        )
        for kind in KINDS:
            for name in self.plan.names(kind):
                self.nodes[name] = Child(
                    name,
                    command(kind),
                    self.shared.environment(kind, name),
                    path / "log" / f"{name}.log",
                )

    async def start(self) -> None:
        """Start everything and wait until all of it is ready. Raises StartFailed; call `stop`
        then too."""
        if self.database is not None:
            self.database.spawn()
        if self.broker is not None:
            self.broker.spawn()
        if self.database is not None:
            await self.database.ready()
        # Provisioning makes its tables while the broker is still on its way.
        first = self.plan.names("provisioning")
        self._spawn(first)
        if self.broker is not None:
            await self.broker.ready()
        await self._ready(first)
        others = [name for name in self.nodes if name not in first]
        self._spawn(others)
        await self._ready(others)

    async def stop(self) -> None:
        """Stop all in order, and give the folder back. Nothing is left running."""
        await self.stop_nodes()
        if self.broker is not None:
            await self.broker.stop()
        if self.database is not None:
            await self.database.stop()
        self.folder.remember({})
        self.folder.close()

    async def stop_nodes(self) -> None:
        """Stop the nodes in order; broker and database stay."""
        for kind in STOP_ORDER:
            names = [name for name in self.plan.names(kind) if name in self.nodes]
            clean = await asyncio.gather(
                *(self.nodes[name].terminate(STOP_SECONDS) for name in names)
            )
            for name, went in zip(names, clean, strict=True):
                if not went:
                    self._tell(f"{name} did not stop within {STOP_SECONDS:g} s and was killed")

    def kill_all(self) -> None:
        """End everything at once: for who has no patience."""
        for child in self.children():
            child.kill()

    def children(self) -> list[Child]:
        """All processes, servers first."""
        servers: list[Child] = []
        if self.broker is not None:
            servers += [self.broker.names, self.broker.child]
        if self.database is not None:
            servers.append(self.database.child)
        return servers + list(self.nodes.values())

    async def watch(self, stop: asyncio.Event, *, restart: bool) -> None:
        """Until `stop`: tell of each process that ends by itself, and start it again."""
        pauses: dict[str, float] = {}
        due: dict[str, float] = {}
        since = dict.fromkeys((child.name for child in self.children()), time.monotonic())
        while not stop.is_set():
            now = time.monotonic()
            for child in self.children():
                name = child.name
                if child.running or not child.wanted:
                    continue
                if name not in due:
                    if now - since[name] > GOOD_SECONDS:
                        pauses.pop(name, None)
                    pause = pauses.get(name, FIRST_PAUSE)
                    pauses[name] = min(pause * 2, LONGEST_PAUSE)
                    due[name] = now + pause if restart else float("inf")
                    self._report(child, pause if restart else None)
                elif now >= due[name]:
                    del due[name]
                    child.spawn()
                    since[name] = now
                    self._remember()
                    self._tell(f"{name} was started again, pid {child.pid}")
            try:
                await asyncio.wait_for(stop.wait(), WATCH_SECONDS)
            except TimeoutError:
                continue

    def _report(self, child: Child, pause: float | None) -> None:
        status = child.status or 0
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        then = "is not started again" if pause is None else f"starts again in {pause:g} s"
        self._tell(f"{child.name} {how} and {then}; its last lines ({child.log}):")
        for line in child.last_words().splitlines():
            self._tell(f"  {line}")

    def _spawn(self, names: list[str]) -> None:
        for name in names:
            self.nodes[name].spawn()
        self._remember()

    async def _ready(self, names: list[str]) -> None:
        waits = (self.nodes[name].ready(START_SECONDS) for name in names)
        results = await asyncio.gather(*waits, return_exceptions=True)
        faults = [result for result in results if isinstance(result, BaseException)]
        for fault in faults:
            if not isinstance(fault, StartFailed):
                raise fault
        if faults:
            raise StartFailed("\n".join(map(str, faults)))

    def _remember(self) -> None:
        self.folder.remember({c.name: c.pid for c in self.children() if c.running})
