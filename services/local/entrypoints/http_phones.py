"""/api/v1/phone-settings: where phones reach this switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from services.local.addresses import reachable
from tandem.rpc.http import PROBLEM_RESPONSES, principal
from tandem.rpc.sessions import Sessions
from tandem.runtime.address import HostPort

Listener = tuple[str, str, int]
"""Transport, host, port: as it listens."""


class ServerView(BaseModel):
    """One way to reach the switch."""

    transport: str = Field(examples=["udp"], description="udp, tcp, tls, ws or wss.")
    host: str = Field(examples=["192.168.1.20"])
    port: int = Field(examples=[5060])
    address: str = Field(examples=["192.168.1.20:5060"], description="Host and port.")


class PhoneSettings(BaseModel):
    """What phones are set up with."""

    servers: list[ServerView]
    unnamed_domain: str = Field(
        description="Phones of accounts in this domain are given a server's address in its place: "
        "it is in no DNS."
    )


def make_router(
    sessions: Sessions, listeners: Callable[[], Sequence[Listener]], unnamed_domain: str
) -> APIRouter:
    """`listeners` tells where the switch listens now."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["phones"],
        dependencies=[Depends(principal(sessions))],
        responses={401: PROBLEM_RESPONSES[401]},
    )

    @router.get("/phone-settings", summary="What to enter in phones")
    async def phone_settings() -> PhoneSettings:
        """Each address that the switch listens on, as a phone in the same network names it."""
        servers = [_view(listener) for listener in listeners()]
        return PhoneSettings(servers=servers, unnamed_domain=unnamed_domain)

    return router


def _view(listener: Listener) -> ServerView:
    transport, host, port = listener
    where = HostPort(reachable(host), port)
    return ServerView(transport=transport, host=where.host, port=port, address=str(where))
