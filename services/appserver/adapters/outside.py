"""The resolver as the appserver sees it: what can't be resolved leads nowhere."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.appserver.ports import OutsideHop
from tandem.sip.uri import Uri
from tandem.siptransport.resolver import Hop, ResolveError, Resolver

logger = logging.getLogger(__name__)


class OutsideResolver:
    """`services.appserver.ports.Resolver` on RFC 3263."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def resolve_now(self, uri: Uri) -> Sequence[OutsideHop] | None:
        """See the port."""
        try:
            return self._resolver.resolve_now(uri)
        except ResolveError:
            return ()

    async def resolve(self, uri: Uri) -> Sequence[OutsideHop]:
        """See the port."""
        try:
            return await self._resolver.resolve(uri)
        except ResolveError as error:
            logger.info("%s", error)
            return ()

    async def enum(self, number: str, zone: str) -> str:
        """See the port."""
        try:
            return await self._resolver.enum(number, zone)
        except TimeoutError:
            return ""

    def judge(self, hop: str, good: bool, now: float) -> None:
        """See the port."""
        transport, _, address = hop.partition(":")
        host, _, port = address.rpartition(":")
        found = Hop(transport, host.strip("[]"), int(port))
        if good:
            self._resolver.health.mark_ok(found)
        else:
            self._resolver.health.mark_failed(found, now)
