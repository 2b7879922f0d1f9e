"""The Directory service over gRPC (protos/tandem/directory/v1): for services alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import islice
from typing import Final

from tandem.bus.location import Binding
from tandem.rpc.caller import Context, require_service
from tandem.rpc.directory import Directory
from tandem.rpc.messages import account_out, bindings_out, domains_out, principal_out
from tandem.rpc.sessions import Sessions
from tandem.stubs.directory.v1 import directory_pb2 as pb
from tandem.stubs.directory.v1.directory_pb2_grpc import DirectoryServicer

NAME: Final = "tandem.directory.v1.Directory"
PIECE: Final = 200
"""Bindings in one message: a millisecond or two of work, so that no look-up waits for long behind
a snapshot."""


class GrpcDirectory(DirectoryServicer):
    """Answers from `directory` and `sessions`; `pieces` gives all live bindings, some at a time.
    What they raise is a matter of the server's."""

    def __init__(
        self,
        directory: Directory,
        pieces: Callable[[], AsyncIterator[Sequence[Binding]]],
        sessions: Sessions,
    ) -> None:
        self._directory = directory
        self._pieces = pieces
        self._sessions = sessions

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
