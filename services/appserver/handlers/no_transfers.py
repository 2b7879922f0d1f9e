"""What stands in the place of transfers on an appserver that can't do them."""

from __future__ import annotations

from typing import NoReturn

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refusal, Refused


class NoTransfers:
    """Implements `ports.Transfers`: refuses everything."""

    async def run_dialplan(self, customer: str, dialplan: str, destination: str) -> str:
        """Refused."""
        _refuse()

    async def connect(self, customer: str, first: str, second: str) -> str:
        """Refused."""
        _refuse()

    async def blind(self, customer: str, leg: LegRef, destination: str, dialplan: str) -> str:
        """Refused."""
        _refuse()

    async def direct(self, customer: str, leg: LegRef, dial: str) -> str:
        """Refused."""
        _refuse()

    async def dual(self, customer: str, first: LegRef, second: LegRef) -> None:
        """Refused."""
        _refuse()


def _refuse() -> NoReturn:
    raise Refused(Refusal.UNSUPPORTED, "this appserver has no dialplans and no transfers")
