"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

POLL_SECONDS: Final = 0.02
"""Between two looks at a condition that nobody announces."""
PATIENCE_SECONDS: Final = 15.0
"""Long enough for a busy machine; a test that waits this long has failed."""


async def eventually(
    look: Callable[[], Awaitable[T]], what: str, seconds: float = PATIENCE_SECONDS
) -> T:
    """Look until there is something true, and return it. Raises AssertionError in the end."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := await look()):
        if loop.time() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}; last seen: {found!r}")
        await asyncio.sleep(POLL_SECONDS)
    return found
