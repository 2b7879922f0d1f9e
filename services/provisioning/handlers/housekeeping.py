"""What provisioning does unasked: it writes bindings behind, deletes what expired, and seals by
the newest key what an older one sealed."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from services.provisioning.handlers.location import LocationCopy
from services.provisioning.handlers.providers import Providers
from tandem.rpc.directory import DirectoryUnavailable

RENEWAL_TURNS: Final = 15
"""Refreshes are written every so many times that new bindings are: a quarter of the shortest
registration."""

_log = logging.getLogger(__name__)


class Housekeeping:
    """Two loops without an end. Whatever goes wrong in one turn, the next one comes: who would find
    out that bindings are not written any more?"""

    def __init__(
        self,
        location: LocationCopy,
        providers: Providers | None = None,
        *,
        flush_seconds: float,
        purge_seconds: float,
    ) -> None:
        self._location = location
        self._providers = providers
        self._resealed = False
        self._flush_seconds = flush_seconds
        self._purge_seconds = purge_seconds

    async def flush(self) -> None:
        """Write what gathers."""
        turn = 0
        while True:
            await asyncio.sleep(self._flush_seconds)
            try:
                await self._location.flush_or_log(renewals=turn == 0)
            except Exception:
                _log.exception("bindings could not be written")
            turn = (turn + 1) % RENEWAL_TURNS

    async def purge(self) -> None:
        """Delete what expired."""
        while True:
            try:
                await self._location.purge()
                await self._see_to_providers()
            except DirectoryUnavailable as fault:
                _log.warning("nothing was purged: %s", fault)
            except Exception:
                _log.exception("nothing was purged")
            await asyncio.sleep(self._purge_seconds)

    async def _see_to_providers(self) -> None:
        if self._providers is None:
            return
        await self._providers.purge()
        if not self._resealed:
            if count := await self._providers.reseal():
                _log.info("the secrets of %d providers are sealed by the newest key", count)
            self._resealed = True
