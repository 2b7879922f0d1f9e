"""The HTTP requests that ask providers to call back: their answer's status is all that counts."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.callbacks import Trigger
from services.appserver.ports import Asked, Web

TRIGGER_SECONDS: Final = 10.0
"""For everything: the name, the connection, the request and the answer."""


class HttpxTrigger:
    """`services.appserver.ports.HttpTrigger`."""

    def __init__(self, web: Web) -> None:
        self._web = web

    async def ask(self, trigger: Trigger, customer: str) -> Asked:
        """Send the request. Never raises."""
        page = await self._web.fetch(trigger, TRIGGER_SECONDS, customer)
        return Asked(page.status, page.problem)
