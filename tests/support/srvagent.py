"""A user agent on UDP that finds its servers by SRV and turns to the next when one is silent."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Self

from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction
from tandem.sip.uri import Uri
from tandem.siptransport.resolver import Resolver
from tests.support.udpagent import OnInvite, UdpAgent, UdpCall

FAILOVER_SECONDS: Final = 1.0
"""Of silence until the next server is tried. Phones take from two to 32 (RFC 3263 §4.3)."""


class SrvAgent(UdpAgent):
    """What it sends to the domain goes to the first server that has not failed."""

    @classmethod
    async def find(
        cls, name: str, domain: str, dns: tuple[str, int], on_invite: OnInvite | None = None
    ) -> Self:
        """Bind a free port and look the domain up at this DNS server (RFC 3263 §4.2)."""
        agent = await cls.open(name, on_invite)
        assert isinstance(agent, cls)
        resolver = Resolver([dns])
        hops = await resolver.resolve(Uri.parse(f"sip:{domain};transport=udp"))
        await resolver.close()
        agent.servers = [f"{hop.host}:{hop.port}" for hop in hops]
        agent._domain = domain
        return agent

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.servers: list[str] = []
        """Best first; one that failed goes to the end."""
        self.finals: dict[tuple[str, str], int] = {}
        """The final answer to each request, by method and Call-ID."""
        self._domain = ""
        self._heard: set[ClientTransaction] = set()
        self._given_up: set[ClientTransaction] = set()

    def send(self, request: Request, target: str, context: Any) -> ClientTransaction:
        """Begin a transaction; in silence, another with the next server."""
        if not target.startswith(self._domain):
            return super().send(request, target, context)
        again = Request(request.method, request.uri, list(request.lines), request.body)
        server = self.servers[0]
        tx = super().send(request, server, context)
        asyncio.get_running_loop().call_later(
            FAILOVER_SECONDS, self._look, tx, again, server, context
        )
        return tx

    def _look(self, tx: ClientTransaction, again: Request, server: str, context: Any) -> None:
        if tx in self._heard or self._transport.is_closing():
            return
        self._given_up.add(tx)
        if self.servers[0] == server:
            self.servers.append(self.servers.pop(0))
        tx = self.send(again, self._domain, context)
        if isinstance(context, UdpCall) and again.method == "INVITE":
            context.client = tx

    def _put(self, data: bytes, peer: str) -> None:
        # an ACK has no transaction
        super()._put(data, self.servers[0] if peer.startswith(self._domain) else peer)

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """Note it, and go on; a server that came back late is not heard any more."""
        if tx in self._given_up:
            return
        self._heard.add(tx)
        if response.status >= 200:
            self.finals[tx.request.method, tx.request.call_id] = response.status
        super().on_response(tx, response, now)

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """Only those that were not sent to another server meanwhile."""
        if tx not in self._given_up:
            super().on_client_failure(tx, status, now)
