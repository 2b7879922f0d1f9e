"""What a proxy waits for before it takes traffic: to know all appservers, not merely the first.

One that is not known yet would lose what is its own: the callback that it waits for would go to
another as an ordinary call, and a request inside one of its calls would be answered with 481.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.hints import HintTable
from tandem.bus.nodes import ANNOUNCE_SECONDS

logger = logging.getLogger(__name__)

HEAR_SECONDS: Final = ANNOUNCE_SECONDS + 0.25
"""From the start of the bus: every appserver that lives has announced itself by then, and answered
the probe that follows."""
MEET_SECONDS: Final = 3.0
"""From there at most, for appservers that have published hints: they live, and are merely busy."""


async def meet(
    appservers: Appservers,
    hints: HintTable,
    since: float,
    *,
    hear: float = HEAR_SECONDS,
    more: float = MEET_SECONDS,
) -> None:
    """Wait until `hear` seconds after `since` (of the loop's clock), when the bus was started, and
    until all appservers that wait for calls are alive, `more` seconds at most."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, since + hear - loop.time()))
    changed = asyncio.Event()
    appservers.listeners.append(changed.set)
    try:
        async with asyncio.timeout(more):
            while not hints.appservers() <= appservers.alive:
                await changed.wait()
                changed.clear()
    except TimeoutError:
        logger.warning("not all appservers that wait for calls answer")
    finally:
        appservers.listeners.remove(changed.set)
