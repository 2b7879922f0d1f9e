"""Around each method of a server: who calls, how long it may take, what its failure looks like."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final

import grpc

from tandem.rpc.caller import SERVICE, Caller, Context, enter
from tandem.rpc.directory import DirectoryUnavailable, OutcomeUnknown
from tandem.rpc.security import Security
from tandem.rpc.sessions import MAX_TOKEN_LENGTH, Sessions, bearer

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

MAX_UNARY_SECONDS: Final = 30.0
"""How long a method with one answer may take, whatever the client's patience."""
TELL_SECONDS: Final = 10.0
"""Between two lines on what is away: in an outage each of many calls fails."""
OPEN: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""What anybody may call who can connect."""

_log = logging.getLogger(__name__)
_Method = Callable[[Any, Context], Any]


class Counters:
    """Calls by how they ended."""

    def __init__(self) -> None:
        self.started = 0
        self.refused = 0
        """Callers that did not prove who they are."""
        self.crashed = 0
        """Faults of ours."""
        self.late = 0
        """Took longer than MAX_UNARY_SECONDS."""
        self.unavailable = 0
        """What is behind the service was away."""


class Guard(grpc.aio.ServerInterceptor):
    """The interceptor of `GrpcServer`."""

    def __init__(
        self, security: Security, sessions: Sessions | None, tracing: Tracing | None = None
    ) -> None:
        self._tracing = tracing
        self._security = security
        self._sessions = sessions
        self.counters = Counters()
        self._told_at = -TELL_SECONDS

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap the method that is going to be called."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or method.startswith(OPEN):
            return handler
        token, trace = _shown(handler_call_details.invocation_metadata)
        if handler.response_streaming:
            name = "stream_stream" if handler.request_streaming else "unary_stream"
            wrapped = self._streaming(getattr(handler, name), token, method, trace)
        else:
            name = "stream_unary" if handler.request_streaming else "unary_unary"
            wrapped = self._single(getattr(handler, name), token, method, trace)
        return handler._replace(**{name: wrapped})

    def _single(self, call: _Method, token: str, method: str, trace: str) -> _Method:
        async def guarded(request: Any, context: Context) -> Any:
            # two scopes: the guard's own limit must not look like the method's failure
            try:
                async with asyncio.timeout(MAX_UNARY_SECONDS) as limit:
                    await self._enter(token, context)
                    with self._span(method, trace):
                        return await call(request, context)
            except Exception as fault:
                late = isinstance(fault, TimeoutError) and limit.expired()
                return await self._failed(fault, method, context, late=late)

        return guarded

    def _streaming(self, call: _Method, token: str, method: str, trace: str) -> _Method:
        if inspect.isasyncgenfunction(call):

            async def generated(request: Any, context: Context) -> AsyncIterator[Any]:
                try:
                    await self._enter(token, context)
                    with self._span(method, trace):
                        async for message in call(request, context):
                            yield message
                except Exception as fault:
                    await self._failed(fault, method, context)

            return generated

        async def written(request: Any, context: Context) -> None:
            try:
                await self._enter(token, context)
                with self._span(method, trace):
                    await call(request, context)
            except Exception as fault:
                await self._failed(fault, method, context)

        return written

    def _span(self, method: str, trace: str) -> AbstractContextManager[None]:
        if self._tracing is None:
            return nullcontext()
        from tandem.rpc import traced  # whoever traces has loaded what it needs

        return traced.served(self._tracing, method, trace)

    async def _enter(self, token: str, context: Context) -> None:
        self.counters.started += 1
        caller = await self._caller(token)
        if caller is None:
            self.counters.refused += 1
            text = "This token is unknown or has expired." if token else "Log in first."
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, text)
        else:
            enter(caller)

    async def _caller(self, token: str) -> Caller | None:
        if not token or len(token) > MAX_TOKEN_LENGTH:
            return None
        if self._security.is_service(token):
            return SERVICE
        principal = await self._sessions.verify(token) if self._sessions else None
        return Caller(principal=principal, token=token) if principal else None

    async def _failed(
        self, fault: Exception, method: str, context: Context, *, late: bool = False
    ) -> None:
        if isinstance(fault, grpc.aio.AbortError):
            raise fault
        if late:
            self.counters.late += 1
            _log.error("%s was given up after %g s", method, MAX_UNARY_SECONDS)
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "This took too long.")
        if isinstance(fault, DirectoryUnavailable):
            self.counters.unavailable += 1
            if time.monotonic() - self._told_at >= TELL_SECONDS:
                self._told_at = time.monotonic()
                _log.warning("%s: %s", method, fault)
            text = "The directory does not answer; nothing was changed. Try again."
            if isinstance(fault, OutcomeUnknown):
                text = "The directory went away at the very end; look whether the change was made."
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        self.counters.crashed += 1
        _log.error("%s crashed", method, exc_info=fault)
        await context.abort(grpc.StatusCode.INTERNAL, "A fault of ours; the log tells more.")


def _shown(metadata: Any) -> tuple[str, str]:
    """The bearer token and the traceparent, each "" if there is none."""
    token = trace = ""
    for name, value in metadata or ():
        if name == "authorization" and isinstance(value, str):
            token = bearer(value)
        elif name == "traceparent" and isinstance(value, str):
            trace = value
    return token, trace
