"""The Directory service over gRPC (protos/tandem/directory/v1): for services alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice
from typing import Final

import grpc

from tandem.bus.location import Binding
from tandem.rpc.caller import Context, require_service
from tandem.rpc.directory import Directory
from tandem.rpc.messages import account_out, bindings_out, domains_out, principal_out
from tandem.rpc.programmessages import (
    customer_out,
    dialplan_out,
    leases_out,
    providers_out,
    reports_in,
)
from tandem.rpc.programs import NoPrograms, Programs
from tandem.rpc.sessions import Sessions
from tandem.stubs.directory.v1 import directory_pb2 as pb
from tandem.stubs.directory.v1.directory_pb2_grpc import DirectoryServicer

NAME: Final = "tandem.directory.v1.Directory"
PIECE: Final = 200
"""Bindings in one message: a millisecond or two of work, so that no look-up waits for long behind
a snapshot."""


class GrpcDirectory(DirectoryServicer):
    """Answers from `directory`, `sessions` and `programs`; `pieces` gives all live bindings, some
    at a time. What they raise is a matter of the server's."""

    def __init__(
        self,
        directory: Directory,
        pieces: Callable[[], AsyncIterator[Sequence[Binding]]],
        sessions: Sessions,
        programs: Programs | None = None,
    ) -> None:
        self._directory = directory
        self._pieces = pieces
        self._sessions = sessions
        self._programs = programs or NoPrograms()

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Context
    ) -> pb.GetAccountResponse:
        """One account."""
        await require_service(context)
        found = await self._directory.account(request.username, request.domain)
        return pb.GetAccountResponse(account=account_out(found) if found else None)

    async def ListDomains(
        self, _request: pb.ListDomainsRequest, context: Context
    ) -> pb.ListDomainsResponse:
        """All serviced domains."""
        await require_service(context)
        return pb.ListDomainsResponse(domains=domains_out(await self._directory.domains()))

    async def ListBindings(
        self, _request: pb.ListBindingsRequest, context: Context
    ) -> AsyncIterator[pb.ListBindingsResponse]:
        """All live bindings, in pieces."""
        await require_service(context)
        async for found in self._pieces():
            rest = iter(found)
            while piece := list(islice(rest, PIECE)):
                yield pb.ListBindingsResponse(bindings=bindings_out(piece))

    async def VerifyToken(
        self, request: pb.VerifyTokenRequest, context: Context
    ) -> pb.VerifyTokenResponse:
        """Who holds a token."""
        await require_service(context)
        found = await self._sessions.verify(request.token)
        return pb.VerifyTokenResponse(principal=principal_out(found) if found else None)

    async def GetDialplan(
        self, request: pb.GetDialplanRequest, context: Context
    ) -> pb.GetDialplanResponse:
        """A dialplan in the version that is published."""
        await require_service(context)
        found = await self._programs.dialplan(request.owner, request.name)
        return pb.GetDialplanResponse(dialplan=dialplan_out(found) if found else None)

    async def GetCustomer(
        self, request: pb.GetCustomerRequest, context: Context
    ) -> pb.GetCustomerResponse:
        """What a customer may."""
        await require_service(context)
        found = await self._programs.customer(request.username)
        return pb.GetCustomerResponse(customer=customer_out(found) if found else None)

    async def ListProviders(
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        """A customer's providers."""
        await require_service(context)
        found = await self._programs.providers(request.owner)
        return pb.ListProvidersResponse(providers=providers_out(found))

    async def Lease(self, request: pb.LeaseRequest, context: Context) -> pb.LeaseResponse:
        """Renew leases, take reports."""
        await require_service(context)
        reports = reports_in(request.reports)
        held = await self._programs.lease(
            request.node, reports, leaving=request.leaving, known=request.known
        )
        return pb.LeaseResponse(
            leases=leases_out(held.leases), version=held.version, unchanged=held.unchanged
        )

    async def ReadValue(
        self, request: pb.ReadValueRequest, context: Context
    ) -> pb.ReadValueResponse:
        """A value."""
        await require_service(context)
        value = await self._programs.read_value(request.owner, request.key)
        return pb.ReadValueResponse(value=value)

    async def WriteValue(
        self, request: pb.WriteValueRequest, context: Context
    ) -> pb.WriteValueResponse:
        """Set or remove a value."""
        await require_service(context)
        value = request.value if request.HasField("value") else None
        try:
            done = await self._programs.write_value(request.owner, request.key, value)
        except ValueError as fault:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(fault))
        return pb.WriteValueResponse(done=done)

    async def ListValueKeys(
        self, request: pb.ListValueKeysRequest, context: Context
    ) -> pb.ListValueKeysResponse:
        """The keys in use."""
        await require_service(context)
        return pb.ListValueKeysResponse(keys=await self._programs.value_keys(request.owner))
