"""Provisioning as other services see it: `Directory`, `Programs` and `Sessions` over gRPC.

Every call ends within its deadline, and everything that goes wrong is DirectoryUnavailable: that
provisioning is away is for the caller to bear, however it shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc

from tandem.bus.location import Binding
from tandem.dialplan.script import Dialplan
from tandem.rpc.directory import Account, DirectoryUnavailable, Domain, OutcomeUnknown
from tandem.rpc.messages import account_in, bindings_in, domains_in, principal_in
from tandem.rpc.programmessages import (
    customer_in,
    dialplan_in,
    leases_in,
    providers_in,
    reports_out,
)
from tandem.rpc.programs import Customer, Holding, Provider, RegistrationReport
from tandem.rpc.sessions import Principal
from tandem.stubs.directory.v1 import directory_pb2 as pb
from tandem.stubs.directory.v1.directory_pb2_grpc import DirectoryStub

ATTEMPT_SECONDS: Final = 1.0
ATTEMPTS: Final = 2
"""What only reads, or does the same when it is done twice, is asked of another server when one
fails: together they take at most 2 s, four retransmissions of a phone's request."""
WRITE_SECONDS: Final = 3.0
"""How long a write may take; it is sent once."""
LEASE_SECONDS: Final = 1.5
"""How long one attempt to renew leases may take: both together less than a lease lasts."""
PIECE_SECONDS: Final = 10.0
"""How long the next piece of a snapshot may take."""
SNAPSHOT_SECONDS: Final = 120.0
"""How long all of it may take."""
FRESH_SECONDS: Final = 5.0
"""How long a verified token is believed without asking again."""
STALE_SECONDS: Final = 60.0
"""And how long when provisioning does not answer: a console must outlive its restart."""
UNKNOWN_SECONDS: Final = 2.0
"""How long an unknown token stays unknown without asking again."""
PAUSE_SECONDS: Final = 1.0
"""Between two attempts to verify one token while provisioning is away and we know it."""
MAX_TOKENS: Final = 10_000
"""Tokens that are remembered, about 300 bytes each; as many that are unknown."""

_log = logging.getLogger(__name__)
T = TypeVar("T")


class RemoteDirectory:
    """Implements `tandem.rpc.directory.Directory`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = DirectoryStub(channel)

    async def account(self, username: str, domain: str) -> Account | None:
        """The account of this user name, whatever its case, in this canonical domain."""
        request = _account_request(username, domain)
        if request is None:
            return None
        answer = await _asked(
            "GetAccount", lambda: self._stub.GetAccount(request, timeout=ATTEMPT_SECONDS)
        )
        return account_in(answer.account) if answer.HasField("account") else None

    async def domains(self) -> list[Domain]:
        """All domains, the default one first."""
        request = pb.ListDomainsRequest()
        answer = await _asked(
            "ListDomains", lambda: self._stub.ListDomains(request, timeout=ATTEMPT_SECONDS)
        )
        return domains_in(answer.domains)

    async def bindings(self) -> list[Binding]:
        """All bindings that have not expired."""
        return await _asked("ListBindings", self._snapshot)

    async def _snapshot(self) -> list[Binding]:
        found: list[Binding] = []
        call = self._stub.ListBindings(pb.ListBindingsRequest(), timeout=SNAPSHOT_SECONDS)
        try:
            pieces = aiter(call)
            while (piece := await _next_piece(pieces)) is not None:
                found += bindings_in(piece.bindings)
        finally:
            call.cancel()
        return found


class RemotePrograms:
    """Implements `tandem.rpc.programs.Programs`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = DirectoryStub(channel)

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """A customer's dialplan, in the version that is published."""
        if not _is_unicode(owner, name):
            return None
        request = pb.GetDialplanRequest(owner=owner, name=name)
        answer = await _asked(
            "GetDialplan", lambda: self._stub.GetDialplan(request, timeout=ATTEMPT_SECONDS)
        )
        return dialplan_in(answer.dialplan) if answer.HasField("dialplan") else None

    async def customer(self, username: str) -> Customer | None:
        """What a customer may."""
        if not _is_unicode(username):
            return None
        answer = await _asked("GetCustomer", lambda: self._customer(username))
        return customer_in(answer.customer) if answer.HasField("customer") else None

    async def providers(self, owner: str) -> list[Provider]:
        """A customer's providers."""
        request = pb.ListProvidersRequest(owner=owner)
        answer = await _asked(
            "ListProviders", lambda: self._stub.ListProviders(request, timeout=ATTEMPT_SECONDS)
        )
        return providers_in(answer.providers)

    async def _customer(self, username: str) -> pb.GetCustomerResponse:
        request = pb.GetCustomerRequest(username=username)
        try:
            answer: pb.GetCustomerResponse = await self._stub.GetCustomer(
                request, timeout=ATTEMPT_SECONDS
            )
        except grpc.aio.AioRpcError as fault:
            if fault.code() is grpc.StatusCode.UNIMPLEMENTED:  # not yet updated
                return pb.GetCustomerResponse()
            raise
        return answer

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        """Renew leases, tell how registrations stand. Done twice it does the same."""
        request = pb.LeaseRequest(
            node=node, reports=reports_out(reports), leaving=leaving, known=known
        )
        answer = await _asked("Lease", lambda: self._stub.Lease(request, timeout=LEASE_SECONDS))
        return Holding(
            leases=tuple(leases_in(answer.leases)),
            version=answer.version,
            unchanged=answer.unchanged,
        )

    async def read_value(self, owner: str, key: str) -> str | None:
        """A value of the customer's store."""
        if not _is_unicode(key):
            return None
        request = pb.ReadValueRequest(owner=owner, key=key)
        answer = await _asked(
            "ReadValue", lambda: self._stub.ReadValue(request, timeout=ATTEMPT_SECONDS)
        )
        return answer.value if answer.HasField("value") else None

    async def write_value(self, owner: str, key: str, value: str | None) -> bool:
        """Set or remove a value, in one attempt."""
        if not _is_unicode(key, value or ""):
            raise ValueError("the key or the value is no Unicode text")
        request = pb.WriteValueRequest(owner=owner, key=key, value=value)
        try:
            answer = await self._stub.WriteValue(request, timeout=WRITE_SECONDS)
        except grpc.aio.AioRpcError as fault:
            if fault.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise ValueError(fault.details()) from None
            raise OutcomeUnknown(f"WriteValue: {fault.code().name} {fault.details()}") from fault
        except grpc.aio.UsageError as fault:
            raise DirectoryUnavailable(f"WriteValue: {fault}") from fault
        return bool(answer.done)

    async def value_keys(self, owner: str) -> list[str]:
        """The keys in use."""
        request = pb.ListValueKeysRequest(owner=owner)
        answer = await _asked(
            "ListValueKeys", lambda: self._stub.ListValueKeys(request, timeout=ATTEMPT_SECONDS)
        )
        return list(answer.keys)


@dataclass(slots=True)
class _Known:
    principal: Principal
    until: float
    """When to ask again."""
    dies: float
    """When it is no longer believed, answer or not."""


class RemoteSessions:
    """Implements `tandem.rpc.sessions.Sessions`."""

    def __init__(
        self, channel: grpc.aio.Channel, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stub = DirectoryStub(channel)
        self._clock = clock
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        # apart, so that whoever tries tokens pushes out nobody's who has one
        self._unknown: OrderedDict[bytes, float] = OrderedDict()

    async def verify(self, token: str) -> Principal | None:
        """The holder, or None. Raises DirectoryUnavailable for a token that nothing is known
        about."""
        raw = token.encode("utf-8", "replace")
        key = hashlib.sha256(raw).digest()
        known = self._known.get(key)
        if known is not None and self._clock() < known.until:
            return known.principal
        if self._clock() < self._unknown.get(key, 0.0):
            return None
        request = pb.VerifyTokenRequest(token=raw.decode())
        try:
            answer = await _asked(
                "VerifyToken", lambda: self._stub.VerifyToken(request, timeout=ATTEMPT_SECONDS)
            )
        except DirectoryUnavailable:
            return self._stale(key)
        principal = principal_in(answer.principal) if answer.HasField("principal") else None
        self._remember(key, principal)
        return principal

    def _stale(self, key: bytes) -> Principal | None:
        known, now = self._known.get(key), self._clock()
        if known is None or now >= known.dies:
            raise DirectoryUnavailable("nobody can tell whose token this is")
        known.until = min(now + PAUSE_SECONDS, known.dies)
        return known.principal

    def _remember(self, key: bytes, principal: Principal | None) -> None:
        now = self._clock()
        if principal is None:
            self._known.pop(key, None)
            _put(self._unknown, key, now + UNKNOWN_SECONDS)
        else:
            _put(self._known, key, _Known(principal, now + FRESH_SECONDS, now + STALE_SECONDS))


def _put(cache: OrderedDict[bytes, T], key: bytes, value: T) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > MAX_TOKENS:
        cache.popitem(last=False)


async def _asked(method: str, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of the first server that has one. Raises DirectoryUnavailable."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await ask()
        except grpc.aio.AioRpcError as fault:
            reason = f"{fault.code().name} {fault.details() or ''}".strip()
            if fault.code() is grpc.StatusCode.UNAUTHENTICATED:
                _log.error("provisioning does not know us: the cluster keys differ")
                attempt = ATTEMPTS
        except TimeoutError:
            reason = "nothing came for too long"
        except grpc.aio.UsageError as fault:
            raise DirectoryUnavailable(f"{method}: {fault}") from fault
        if attempt == ATTEMPTS:
            break
    raise DirectoryUnavailable(f"provisioning does not answer {method}: {reason}")


async def _next_piece(
    pieces: AsyncIterator[pb.ListBindingsResponse],
) -> pb.ListBindingsResponse | None:
    async with asyncio.timeout(PIECE_SECONDS):
        return await anext(pieces, None)


def _is_unicode(*texts: str) -> bool:
    """Whether protobuf takes these: half a surrogate pair names nothing that is stored."""
    return not any(0xD800 <= ord(c) <= 0xDFFF for text in texts for c in text)


def _account_request(username: str, domain: str) -> pb.GetAccountRequest | None:
    try:
        return pb.GetAccountRequest(username=username, domain=domain)
    except UnicodeEncodeError:
        return None  # what is no Unicode is the name of no account
