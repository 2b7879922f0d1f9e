"""What all customers share: who has his part waits, and keeps nobody else from theirs."""

from __future__ import annotations

import asyncio

import pytest

from services.appserver.handlers.shares import Shares


async def test_one_customers_own_wait_for_each_other_and_nobody_else() -> None:
    shares = Shares(2)
    for _ in range(2):
        await shares.take("a")
    third = asyncio.ensure_future(shares.take("a"))
    await shares.take("b")
    assert not third.done()
    shares.give_back("a")
    await third
    for customer in ("a", "a", "b"):
        shares.give_back(customer)
    assert len(shares) == 0


async def test_who_gives_up_leaves_nothing_behind() -> None:
    shares = Shares(1)
    await shares.take("a")
    waiting = asyncio.ensure_future(shares.take("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    shares.give_back("a")
    assert len(shares) == 0
    await shares.take("a")
