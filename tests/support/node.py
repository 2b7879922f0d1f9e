"""One process of `tests.support.cluster`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.child import Child

START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Node:
    """One process of the cluster. Addresses are `host:port` and stay over restarts."""

    name: str
    kind: str
    child: Child
    ports: Mapping[str, int]

    def at(self, use: str) -> str:
        """The address of a use: sip, tls, ws, wss, internal, http or grpc."""
        return f"127.0.0.1:{self.ports[f'{self.name}.{use}']}"

    @property
    def sip(self) -> str:
        """A proxy's public UDP and TCP address."""
        return self.at("sip")

    @property
    def internal(self) -> str:
        """Its end of the internal link."""
        return self.at("internal")

    @property
    def http(self) -> str:
        """The base URL of its HTTP server."""
        return f"http://{self.at('http')}"

    @property
    def grpc(self) -> str:
        """The address of its gRPC server."""
        return self.at("grpc")

    @property
    def env(self) -> Mapping[str, str]:
        """Its TANDEM_* settings."""
        return {k: v for k, v in self.child.env.items() if k.startswith("TANDEM_")}

    @property
    def log(self) -> str:
        """All it wrote, earlier runs included."""
        return self.child.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self.child.running

    def kill(self) -> None:
        """kill -9."""
        self.child.kill()

    async def terminate(self, seconds: float = 30.0) -> int:
        """SIGTERM; it must end by itself. Returns the exit status."""
        went = await self.child.terminate(seconds)
        assert went, f"{self.name} did not stop: {self.child.last_words()}"
        status = self.child.status
        assert status is not None
        return status

    def spawn(self, **settings: str) -> None:
        """Start it again, with further settings for good, without waiting."""
        self.child.env = {**self.child.env, **settings}
        self.child.spawn()

    async def start(self, **settings: str) -> None:
        """Start it again on the same ports and wait until it says `ready`."""
        self.spawn(**settings)
        await self.child.ready(START_SECONDS)

    async def metrics(self) -> dict[str, float]:
        """What /metrics says: `name` or `name{label="value"}` to value."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.get(f"{self.http}/metrics")
        answer.raise_for_status()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    async def health(self) -> int:
        """The status of /health/ready; 0: no answer."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            try:
                return (await client.get(f"{self.http}/health/ready")).status_code
            except httpx.HTTPError:
                return 0
