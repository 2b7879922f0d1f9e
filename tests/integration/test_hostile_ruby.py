"""What one customer's hostile Ruby dialplans do to the calls of another."""

from __future__ import annotations

import pytest

from tests.support.ruby import require_ruby
from tests.support.siege import Siege
from tests.support.switch import Switch

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = """
if sys.IsAvailable?("desk")
  sys.Log(req.Header.From.FromURI.User)
  sys.Dial("desk@local")
end
"""
HOSTILE = {
    "loop": "loop { }",
    "bomb": "a = []\nloop { a << 'x' * 100_000 }",
    "deep": "def f(n) = f(n + 1)\nloop { begin; f(0); rescue SystemStackError; end }",
    "chatty": "loop { sys.Log('x') }",
    "sleepy": "sleep 60",
    "wide": "loop { sys.Log('y' * 500_000) }",
}


async def test_calls_of_others_keep_their_post_dial_delay(switch: Switch) -> None:
    require_ruby()
    async with Siege.laid(switch, "ruby", GOOD, HOSTILE) as siege:
        await siege.measure()
