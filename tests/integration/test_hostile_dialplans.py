"""What one customer's hostile dialplans do to the calls of another: nothing that can be heard."""

from __future__ import annotations

import pytest

from tests.support.siege import Siege
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = "if sys.is_available('desk'):\n    sys.log(req.from_user)\n    sys.dial('desk@local')"
HOSTILE = {
    "loop": "while True: pass",
    "bomb": "x = []\nwhile True: x.append('a' * 1000)",
    "deep": "def f(n): return f(n + 1)\nwhile True:\n    try: f(0)\n    except BaseException: pass",
    "chatty": "while True: sys.log('x')",
    "sleepy": "import time\ntime.sleep(60)",
    "wide": "sys.log(str([0] * 900000)[:10])\nwhile True: sys.log('y' * 200000)",
}


async def test_calls_of_others_keep_their_post_dial_delay(switch: Switch) -> None:
    async with Siege.laid(switch, "python", GOOD, HOSTILE) as siege:
        await siege.measure()
