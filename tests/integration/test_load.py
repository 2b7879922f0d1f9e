"""Fifty calls a second for a minute: none fails, and nothing stays behind."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.support.counts import counts
from tests.support.load import answering, call_sink
from tests.support.switch import Switch
from tests.support.waiting import eventually

logger = logging.getLogger(__name__)

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE: Final = 50
CALLS: Final = RATE * 60
AGAIN: Final = RATE * 40
"""The second time is shorter, but long enough for as many transactions at once as the first."""
TRIES: Final = 2
"""Of the second time: what piles up while the machine has no time for us grows the memory once, and
what is lost in it each time."""
HOLD_MS: Final = 500
"""About 25 calls are up at any time."""
LINGER_SECONDS: Final = 90.0
"""Transactions stay for 32 s (64*T1, RFC 3261 §17) after their last message; the rest is room."""
GROWTH_BYTES: Final = 3 * 1024 * 1024
"""What the second load may add to the memory of the process. The first has made all that is kept
for reuse (it grows by 40 MB); half a megabyte is seen, for the ids of ended calls that are
remembered (20,000 at most) and for fragments. A call that stayed would cost 6 kB and more, so
12 MB in all."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def busy(switch: Switch) -> AsyncIterator[Switch]:
    async with answering(switch):
        yield switch


async def load(switch: Switch, calls: int) -> int:
    """Place the calls; check that nothing is left of them but a record of each. Returns the
    memory of the process, in bytes."""
    records = await recorded(switch)
    await call_sink(switch, calls=calls, rate=RATE, hold_ms=HOLD_MS)
    await switch.api.no_calls()
    await quiet(switch)
    assert await recorded(switch) == records + calls
    return own_memory(switch)


async def quiet(switch: Switch) -> None:
    """Wait until no call, dialog or transaction is left."""

    async def look() -> bool:
        now = await counts(switch)
        return not any(now[f"tandem_{what}"] for what in ("calls", "dialogs", "transactions"))

    await eventually(look, "an end of all transactions", LINGER_SECONDS)


def own_memory(switch: Switch) -> int:
    """Resident bytes that are the process's own: page cache and mapped files don't count."""
    status = Path(f"/proc/{switch.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


async def recorded(switch: Switch) -> int:
    """How many call records there are."""
    return int((await switch.api.get("/cdrs", count=1))["total"])


async def test_a_minute_of_load_fails_no_call_and_leaves_nothing_behind(busy: Switch) -> None:
    sizes = [await load(busy, CALLS)]
    for _ in range(TRIES):
        sizes.append(await load(busy, AGAIN))
        if sizes[-1] - sizes[-2] < GROWTH_BYTES:
            break
    logger.info("bytes after each load: %s", sizes)
    assert sizes[-1] - sizes[-2] < GROWTH_BYTES, sizes
