"""Who calls a gRPC method.

    async def GetAccount(self, request, context):
        await require_service(context)

The identity is set by the server before a method of a servicer runs; see `tandem.rpc.server`.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from tandem.rpc.sessions import Principal

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: a service, or a customer with a token or an API key."""

    service: bool = False
    principal: Principal | None = None
    token: str = field(default="", repr=False)
    """What a customer showed, for who asks again after a while; "" for a service."""


NOBODY: Final = Caller()
SERVICE: Final = Caller(service=True)
# Each call runs in a task, and so in a context, of its own.
_current: Final[ContextVar[Caller]] = ContextVar("caller", default=NOBODY)


def enter(caller: Caller) -> None:
    """For the server: what follows in this task is done for `caller`."""
    _current.set(caller)


def caller_of(_context: Context) -> Caller:
    """Who calls the method that is running."""
    return _current.get()


async def require_service(context: Context) -> None:
    """Refuse everybody but services."""
    caller = caller_of(context)
    if not caller.service:
        await _refuse(context, caller, "This is for services alone.")


async def require_admin(context: Context) -> Caller:
    """Refuse everybody but administrators; a service counts as one."""
    caller = caller_of(context)
    if not caller.service and not (caller.principal and caller.principal.admin):
        await _refuse(context, caller, "This is for administrators.")
    return caller


async def require_principal(context: Context) -> Principal:
    """The customer who calls; a service counts as an administrator without a name."""
    caller = caller_of(context)
    if caller.principal is not None:
        return caller.principal
    if not caller.service:
        await _refuse(context, caller, "Log in first.")
    return Principal("", admin=True)


async def _refuse(context: Context, caller: Caller, text: str) -> None:
    code = grpc.StatusCode.PERMISSION_DENIED if caller.principal else None
    await context.abort(code or grpc.StatusCode.UNAUTHENTICATED, text)
