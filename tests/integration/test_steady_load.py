"""50 calls a second for a minute: none fails, and nothing piles up."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.support.sipp import SippPhone
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATE: Final = 50
SETTLING_CALLS: Final = 40 * RATE
"""Longer than the 32 s that transactions linger: from then on memory must not grow."""
FURTHER_CALLS: Final = 20 * RATE
GROWTH_BYTES: Final = 6_000_000
"""What SQLite's cache and the allocator may take; 1,000 calls that stayed would be 12 MB."""


def memory_of(pid: int) -> int:
    """Resident memory of a process in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_a_minute_of_calls_leaves_nothing_behind(switch: Switch, tmp_path: Path) -> None:
    for name in ("busy-caller", "busy-callee"):
        await switch.api.add_account(name, "secret1")
    server = switch.address("udp")
    caller = SippPhone(tmp_path, "busy-caller", "secret1", server)
    callee = SippPhone(tmp_path, "busy-callee", "secret1", server)
    await callee.run("register")
    before = (await switch.api.get("/cdrs", count=1))["total"]
    sizes = []
    for calls in (SETTLING_CALLS, FURTHER_CALLS):
        answering = await callee.start("answer", calls=calls)
        try:
            result = await caller.run("call", callee="busy-callee", calls=calls, rate=RATE)
            answered = await answering.succeeded()
        finally:
            await answering.stop()
        assert (result.successful, answered.successful) == (calls, calls)
        await switch.api.no_calls()
        sizes.append(memory_of(switch.pid))
    assert sizes[1] - sizes[0] < GROWTH_BYTES, sizes
    page = await switch.api.get("/cdrs", count=1)
    assert page["total"] - before == SETTLING_CALLS + FURTHER_CALLS
