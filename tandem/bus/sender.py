"""Batches from an outbox to a broker, one at a time and in order."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tandem.bus.codec import Unencodable, encode, join
from tandem.bus.outbox import Outbox
from tandem.bus.ports import Topic
from tandem.bus.subscription import BATCH_LIMIT

logger = logging.getLogger(__name__)

LINGER: Final[Mapping[Topic, float]] = {Topic.EVENTS: 0.05, Topic.LOCATION: 0.02}
"""Seconds from one batch to the next; a message costs 0.3 ms of CPU. After a silence the first goes
at once: what a node that is killed had not sent yet is lost."""
BATCH_BYTES: Final = 512 * 1024
"""A message is not made longer than this: 500 SIP traces would be 30 MB."""

Send = Callable[[bytes, str], Awaitable[None]]
"""Hands a message over, for all or for the node that is named; returns when it is safe. Raises if
it is not."""


def _take(outbox: Outbox) -> bytes:
    """The next batch, b"" for none."""
    parts: list[bytes] = []
    size = 0
    while len(parts) < BATCH_LIMIT and size < BATCH_BYTES:
        envelope = outbox.next()
        if envelope is None:
            break
        try:
            parts.append(encode(envelope))
        except Unencodable as error:
            outbox.unsendable()
            logger.error("not sent: %s", error)
        else:
            size += len(parts[-1])
    return join(parts)


async def empty(
    outbox: Outbox, topic: Topic, send: Send, clock: Callable[[], float], hurry: asyncio.Event
) -> None:
    """Send what is published until cancelled. Raises what `send` raises, and then all that is not
    confirmed is in the outbox again. What takes too long is sent again: one queue that does not
    answer must not end what works. `hurry` ends the lingering."""
    linger = LINGER.get(topic, 0.0)
    time = asyncio.get_running_loop().time
    sent = -math.inf
    late = False
    while True:
        await outbox.filled.wait()
        pause = sent + linger - time()
        if pause > 0 and outbox.waiting < BATCH_LIMIT and not hurry.is_set():
            await asyncio.sleep(pause)
        outbox.expire(clock())
        message = _take(outbox)
        if not message:
            continue
        sent = time()
        try:
            await send(message, outbox.to)
        except TimeoutError:
            outbox.back()
            if not late:
                logger.error("the broker does not confirm what is sent on %s", topic)
            late = True
            continue
        except BaseException:
            outbox.back()
            raise
        late = False
        outbox.arrived()
