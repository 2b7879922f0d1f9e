"""Provisioning with two appservers, as the call manager sees them, and alice, who has a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from tandem.bus.nodes import NodeAnnounced
from tandem.bus.ports import Envelope
from tests.support.callcontrol import ControlledNode, controlled
from tests.support.provisioning import Rig

STRING: Final = '<string xmlns="http://schemas.microsoft.com/2003/10/Serialization/">{}</string>'


class Stage:
    """Provisioning, its two appservers, and a stranger's and alice's clients."""

    def __init__(
        self, rig: Rig, nodes: list[ControlledNode], key: str, anybody: httpx.AsyncClient
    ) -> None:
        self.rig = rig
        self.one, self.two = nodes
        self.key = key
        self.anybody = anybody

    async def hear(self, *said: NodeAnnounced) -> None:
        await self.rig.service.nodes.take([Envelope("1", 0.0, one.node, one) for one in said])

    async def ask(self, path: str, **params: str) -> str:
        """The text that the call manager answers alice's key with."""
        given = {"user": "alice", "key": self.key} | params
        answer = await self.anybody.get(path, params=given)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/xml; charset=utf-8"
        start, end = STRING.split("{}")
        assert answer.text.startswith(start)
        assert answer.text.endswith(end)
        return answer.text.removeprefix(start).removesuffix(end)

    async def silence(self) -> None:
        """Have the second appserver answer nothing."""
        await self.two.server.stop()


@asynccontextmanager
async def staged(rig: Rig, alice: httpx.AsyncClient) -> AsyncIterator[Stage]:
    """The first appserver has less to do than the second."""
    made = await alice.post("/api/v1/api-keys", json={"name": "tropo"})
    async with (
        controlled("as1", rig.security) as one,
        controlled("as2", rig.security) as two,
        rig.client() as anybody,
    ):
        stage = Stage(rig, [one, two], made.json()["secret"], anybody)
        await stage.hear(one.said(), two.said(calls=5))
        yield stage
