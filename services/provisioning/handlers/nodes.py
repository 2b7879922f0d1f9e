"""What operators do with nodes and with what runs on them: list, drain, hang up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from services.provisioning.domain.errors import NotFound, Unanswered
from services.provisioning.ports import Appservers, AppserverSilent
from tandem.bus.hints import Hint
from tandem.bus.nodes import DrainRequested, NodeAnnounced, Nodes, NodeState
from tandem.bus.ports import Publisher, Topic

OBEY_SECONDS: Final = 3.0
"""How long a node may take to say that it drains: three of its announcements."""
_GONE: Final = (NodeState.STOPPED, NodeState.LOST)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node, and how long it has been silent."""

    said: NodeAnnounced
    silent_seconds: float


class Operations:
    """The use cases; who may call them is decided where they are called."""

    def __init__(
        self,
        nodes: Nodes,
        bus: Publisher,
        appservers: Appservers,
        clock: Callable[[], float],
        *,
        obey_seconds: float = OBEY_SECONDS,
    ) -> None:
        """`clock` is that of `nodes`."""
        self._nodes = nodes
        self._bus = bus
        self._appservers = appservers
        self._clock = clock
        self._obey_seconds = obey_seconds

    def nodes(self) -> list[SeenNode]:
        """All that are known, by kind and id."""
        seen = [self._seen(node) for node in self._nodes.known]
        return sorted(seen, key=lambda node: (node.said.kind, node.said.node))

    async def drain(self, node: str, drain: bool) -> SeenNode:
        """Ask a node to drain, or to take part again, and wait until it says so. Raises NotFound
        and Unanswered."""
        known = self._nodes.known.get(node)
        if known is None:
            raise NotFound("There is no such node.")
        if known.state in _GONE:
            raise NotFound(f"This node is {known.state}.")
        obeyed = asyncio.Event()

        def look(said: NodeAnnounced, _before: NodeAnnounced | None) -> None:
            # a node that has drained may already have stopped
            if said.node == node and (said.state in _GONE or _drains(said) is drain):
                obeyed.set()

        self._nodes.listeners.append(look)
        try:
            look(known.said, None)
            self._bus.publish(Topic.NODES, DrainRequested(node, drain))
            async with asyncio.timeout(self._obey_seconds):
                await obeyed.wait()
        except TimeoutError:
            raise Unanswered(f"The node has not answered in {self._obey_seconds:g} s.") from None
        finally:
            self._nodes.listeners.remove(look)
        return self._seen(node)

    async def hints(self) -> tuple[list[Hint], list[str]]:
        """The live hints of all appservers by expiry, and the appservers that did not answer."""
        answers = await self._all(self._appservers.hints)
        found = [hint for _, hints in answers if hints is not None for hint in hints]
        silent = [node for node, hints in answers if hints is None]
        return sorted(found, key=lambda hint: hint.expires_at), silent

    async def hang_up(self, call_id: str) -> str:
        """End a call; the id of the node that had it. Raises NotFound and Unanswered."""
        answers = await self._all(lambda address: self._appservers.hang_up(address, call_id))
        for node, had_it in answers:
            if had_it:
                return node
        silent = [node for node, had_it in answers if had_it is None]
        if silent:
            raise Unanswered(f"These appservers do not answer: {', '.join(silent)}.")
        raise NotFound("There is no such call.")

    async def _all(self, ask: Callable[[str], Awaitable[T]]) -> Sequence[tuple[str, T | None]]:
        return await ask_all(self._nodes, ask)

    def _seen(self, node: str) -> SeenNode:
        known = self._nodes.known[node]
        return SeenNode(known.said, max(0.0, self._clock() - known.heard))


async def ask_all(
    nodes: Nodes, ask: Callable[[str], Awaitable[T]]
) -> Sequence[tuple[str, T | None]]:
    """What each live appserver answers, by node; None for one that does not."""

    async def one(said: NodeAnnounced) -> tuple[str, T | None]:
        if not said.grpc:
            return said.node, None
        try:
            return said.node, await ask(said.grpc)
        except AppserverSilent:
            return said.node, None

    return await asyncio.gather(*(one(said) for said in nodes.alive("appserver")))


def _drains(said: NodeAnnounced) -> bool:
    return said.state == NodeState.DRAINING
