"""Channels to gRPC servers, several of which may be as good as another.

    channel = open_channel("10.0.0.1:50051,10.0.0.2:50051", security)
    answer = await DirectoryStub(channel).GetAccount(request, timeout=2)

A call goes to one server that seems well: connected, and with no failure in the last seconds. It
isn't repeated here: who calls knows whether it may be. A name with several addresses (a service
without a head in Kubernetes) counts as one target; its addresses take turns.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from grpc import ChannelConnectivity as State
from grpc import StatusCode

from tandem.rpc.security import Security
from tandem.runtime.address import HostPort

if TYPE_CHECKING:
    from tandem.runtime.telemetry import Tracing

DEFAULT_SECONDS: Final = 10.0
"""The deadline of a call with one answer whose caller forgot to give one."""
SHUN_SECONDS: Final = 5.0
"""How long a server that failed a call comes last: until pings have found out."""
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.keepalive_time_ms", 3_000),  # a peer that vanished is noticed in 5 s
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # also how long a connection may take
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # the environment's proxy is for the web
    ("grpc.use_local_subchannel_pool", 1),  # nobody else's back-off
)
_FAILED: Final = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)


def open_channel(
    targets: str, security: Security, *, token: str = "", tracing: Tracing | None = None
) -> grpc.aio.Channel:
    """A channel to `HOST:PORT[,HOST:PORT…]`; connects when it is used. It shows the service token,
    or `token` as a customer's. With `tracing`, calls made within a trace are part of it. Raises
    ValueError for targets that can't be read."""
    parsed = [HostPort.parse(part) for part in targets.split(",") if part.strip()]
    if not parsed:
        raise ValueError(f"{targets!r} names no HOST:PORT")
    # All clients would otherwise ask the first.
    random.shuffle(parsed)
    channels = [_one(target, security) for target in parsed]
    return Channels(channels, token or security.service_token, tracing)


def _one(target: HostPort, security: Security) -> grpc.aio.Channel:
    if not security.tls:
        return grpc.aio.insecure_channel(str(target), OPTIONS)
    key, chain, authority = security.read()
    credentials = grpc.ssl_channel_credentials(authority, key, chain)
    name = security.server_name
    options = (*OPTIONS, ("grpc.ssl_target_name_override", name)) if name else OPTIONS
    return grpc.aio.secure_channel(str(target), credentials, options)


class Channels(grpc.aio.Channel):
    """Several channels to servers that know the same, as one."""

    def __init__(
        self,
        channels: Sequence[grpc.aio.Channel],
        token: str,
        tracing: Tracing | None = None,
    ) -> None:
        self._channels = channels
        self._tracing = tracing
        self._shunned = [0.0] * len(channels)
        self._authorization = ("authorization", f"Bearer {token}")

    def pick(self) -> int:
        """The place of the channel that the next call goes to."""
        now = asyncio.get_running_loop().time()
        # Asking has the others connect too, so that they are ready when they are needed.
        ranks = [
            (self._shunned[at] > now, _rank(channel.get_state(try_to_connect=True)), at)
            for at, channel in enumerate(self._channels)
        ]
        return min(ranks)[2]

    def call(self, method: str, methods: Sequence[Any], args: Any, given: dict[str, Any]) -> Any:
        """One call of a method that `methods` has for each channel."""
        at = self.pick()
        given["metadata"] = (*(given.get("metadata") or ()), self._authorization)
        if self._tracing is not None:
            return self._traced(self._tracing, method, methods[at], args, given, at)
        return self._started(methods[at](*args, **given), at)

    def _started(self, call: Any, at: int) -> Any:
        if len(self._channels) > 1:
            call.add_done_callback(lambda done: self._done(at, done))
        return call

    def _traced(
        self,
        tracing: Tracing,
        method: str,
        begin: Any,
        args: Any,
        given: dict[str, Any],
        at: int,
    ) -> Any:
        from tandem.rpc import traced  # whoever traces has loaded what it needs

        span = traced.departing(tracing, method)
        if span is None:
            return self._started(begin(*args, **given), at)
        given["metadata"] = (*given["metadata"], traced.header_of(span))
        call = self._started(begin(*args, **given), at)
        call.add_done_callback(lambda done: traced.finish(span, _now(done.code())))
        return call

    def _done(self, at: int, call: Any) -> None:
        # the code of a call that is done is there without waiting
        code = _now(call.code())
        failed = code in _FAILED
        self._shunned[at] = asyncio.get_running_loop().time() + SHUN_SECONDS if failed else 0.0

    def unary_unary(self, method: str, *args: Any, **given: Any) -> Any:
        """As of one channel."""
        methods = [channel.unary_unary(method, *args, **given) for channel in self._channels]

        def call(*args: Any, **given: Any) -> Any:
            given["timeout"] = given.get("timeout") or DEFAULT_SECONDS
            return self.call(method, methods, args, given)

        return call

    def unary_stream(self, method: str, *args: Any, **given: Any) -> Any:
        """As of one channel."""
        methods = [channel.unary_stream(method, *args, **given) for channel in self._channels]
        return lambda *args, **given: self.call(method, methods, args, given)

    def stream_unary(self, method: str, *args: Any, **given: Any) -> Any:
        """As of one channel."""
        methods = [channel.stream_unary(method, *args, **given) for channel in self._channels]
        return lambda *args, **given: self.call(method, methods, args, given)

    def stream_stream(self, method: str, *args: Any, **given: Any) -> Any:
        """As of one channel."""
        methods = [channel.stream_stream(method, *args, **given) for channel in self._channels]
        return lambda *args, **given: self.call(method, methods, args, given)

    def get_state(self, try_to_connect: bool = False) -> State:
        """The best of the states."""
        return min((channel.get_state(try_to_connect) for channel in self._channels), key=_rank)

    async def wait_for_state_change(self, last_observed_state: State) -> None:
        """Wait until the best of the states is another."""
        while self.get_state() is last_observed_state:
            waits = [
                asyncio.ensure_future(channel.wait_for_state_change(channel.get_state()))
                for channel in self._channels
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def channel_ready(self) -> None:
        """Wait until a server is connected."""
        while (state := self.get_state(try_to_connect=True)) is not State.READY:
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        """Close all; calls under way may end within `grace` seconds."""
        await asyncio.gather(*(channel.close(grace) for channel in self._channels))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        await self.close()
        return None


def _rank(state: State) -> int:
    order = (State.READY, State.CONNECTING, State.IDLE, State.TRANSIENT_FAILURE, State.SHUTDOWN)
    return order.index(state)


def _now(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    return None
