"""Steered calls over real sockets: a telephone company with digest, redirections, legs that come
back to ourselves, calls that begin with us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.appserver.domain.plan import Credentials, Fork
from tandem.rpc.programs import Customer
from tandem.sip.digest import ALGORITHMS, Challenge, ha1, verify
from tandem.sip.digest import Credentials as Sent
from tests.support.kamailio import Kamailio
from tests.support.steeredswitch import LINE, SteeredSwitch
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

OURS = Credentials("me", "secret")


@pytest_asyncio.fixture
async def switch() -> AsyncIterator[SteeredSwitch]:
    async with SteeredSwitch("bob", "carol") as made:
        yield made


async def _dial(switch: SteeredSwitch, *forks: Fork) -> UdpCall:
    """Somebody calls the line, and these are rung."""
    switch.forks = list(forks)
    caller = await switch.agent("caller")
    return caller.invite(switch.address, switch.uri(LINE))


async def _over(switch: SteeredSwitch, calls: int = 1) -> None:
    """Nothing is left of so many calls."""

    async def ended() -> bool:
        return len(switch.records) == calls and not len(switch.app.calls)

    await eventually(ended, "the end of the calls")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_telephone_company_that_asks_for_credentials(
    switch: SteeredSwitch, tmp_path: Path, algorithm: str
) -> None:
    network = await switch.agent("network")
    network.on_invite = UdpCall.accept
    port = int(network.address.rpartition(":")[2])
    company = Kamailio(tmp_path, {"me": "secret"}, port, algorithm=algorithm)
    await company.start()
    try:
        there = f"127.0.0.1:{company.port}"
        one = switch.outside(f"sip:+4930@{there}", there, credentials=OURS, provider="company")
        call = await _dial(switch, Fork((one,)))
        await call.until(call.answered)
        (far,) = network.calls
        await far.until(far.answered)
        assert far.heard == call.offer
        assert call.heard == far.offer
        assert far.invite.to.uri.user == "+4930"
        assert far.invite.first("proxy-authorization") is None  # the company has taken it off
        far.request("INVITE", far.offer)
        await call.until(call.reinvited)
        await far.until(far.answered)
        await call.hang_up()
        await far.until(far.over)
        await _over(switch)
    finally:
        company.stop()
    assert switch.told == ["answered"]
    assert switch.records[0].legs == 1


async def test_a_company_that_does_not_know_the_password_is_a_failed_leg(
    switch: SteeredSwitch, tmp_path: Path
) -> None:
    network = await switch.agent("network")
    port = int(network.address.rpartition(":")[2])
    company = Kamailio(tmp_path, {"me": "another"}, port)
    await company.start()
    try:
        there = f"127.0.0.1:{company.port}"
        call = await _dial(
            switch, Fork((switch.outside(f"sip:1@{there}", there, credentials=OURS),))
        )
        await call.until(call.over)
    finally:
        company.stop()
    assert [leg.status for leg in switch.failures] == [407]
    assert call.status == 480
    assert network.calls == []


class Gateway:
    """An agent that offers all algorithms and wants an answer to the strongest."""

    def __init__(self, agent: UdpAgent) -> None:
        self.agent = agent
        self.sent: list[Sent] = []
        agent.on_invite = self._judge

    def _judge(self, call: UdpCall) -> None:
        tx = call.server
        assert tx is not None
        value = call.invite.first("authorization")
        if value is None:
            self.agent.calls.remove(call)
            challenges = [Challenge("gateway", f"nonce{a}", a) for a in reversed(ALGORITHMS)]
            lines = tuple(f"WWW-Authenticate: {challenge}" for challenge in challenges)
            self.agent.act(lambda now: self.agent.layer.reply(tx, 401, now, headers=lines))
            return
        sent = Sent.parse(value)
        secret = ha1(sent.algorithm, "me", "gateway", "secret")
        assert verify(sent, secret, "INVITE")
        self.sent.append(sent)
        call.accept()


async def test_the_strongest_algorithm_is_used(switch: SteeredSwitch) -> None:
    gateway = Gateway(await switch.agent("gateway"))
    there = gateway.agent.address
    call = await _dial(switch, Fork((switch.outside(f"sip:1@{there}", there, credentials=OURS),)))
    await call.until(call.answered)
    assert [sent.algorithm for sent in gateway.sent] == ["SHA-512-256"]
    (far,) = gateway.agent.calls
    await far.hang_up()
    await call.until(call.over)
    await _over(switch)


async def test_the_next_fork_rings_when_the_first_is_busy(switch: SteeredSwitch) -> None:
    busy, free = await switch.agent("busy"), await switch.agent("free")
    busy.on_invite = lambda call: _refuse(busy, call, 486)
    free.on_invite = UdpCall.accept
    forks = [Fork((switch.outside(f"sip:x@{a.address}", a.address),)) for a in (busy, free)]
    call = await _dial(switch, *forks)
    await call.until(call.answered)
    assert [leg.status for leg in switch.failures] == [486]
    await call.hang_up()
    await _over(switch)
    assert switch.records[0].legs == 2


def _refuse(agent: UdpAgent, call: UdpCall, status: int, *lines: str) -> None:
    tx = call.server
    assert tx is not None
    agent.act(lambda now: agent.layer.reply(tx, status, now, headers=lines))


async def test_a_redirection_is_followed(switch: SteeredSwitch) -> None:
    first, second = await switch.agent("first"), await switch.agent("second")
    contact = f"Contact: <sip:second@{second.address}>"
    first.on_invite = lambda call: _refuse(first, call, 302, contact)
    second.on_invite = UdpCall.accept
    target = switch.outside(f"sip:x@{first.address}", first.address, follow_redirects=True)
    call = await _dial(switch, Fork((target,)))
    await call.until(call.answered)
    (far,) = second.calls
    assert far.heard == call.offer
    await far.hang_up()
    await call.until(call.over)
    await _over(switch)


async def test_a_redirection_to_an_account_rings_its_phone(switch: SteeredSwitch) -> None:
    first, bob = await switch.agent("first"), await switch.phone("bob")
    contact = f"Contact: <{switch.uri('bob')}>"
    first.on_invite = lambda call: _refuse(first, call, 302, contact)
    bob.on_invite = UdpCall.accept
    target = switch.outside(f"sip:x@{first.address}", first.address, follow_redirects=True)
    call = await _dial(switch, Fork((target,)))
    await call.until(call.answered)
    await call.hang_up()
    (far,) = bob.calls
    await far.until(far.over)
    await _over(switch, calls=2)


async def test_a_leg_that_comes_back_to_us_is_an_ordinary_call(switch: SteeredSwitch) -> None:
    bob = await switch.phone("bob")
    bob.on_invite = UdpCall.accept
    call = await _dial(switch, Fork((switch.back("bob"),)))
    await call.until(call.answered)
    (far,) = bob.calls
    await far.until(far.answered)
    assert (far.heard, call.heard) == (call.offer, far.offer)
    call.request("INVITE", call.offer + b"a=sendonly\r\n")
    await far.until(far.reinvited)
    await call.until(call.answered)
    assert far.heard.endswith(b"a=sendonly\r\n")
    await far.hang_up()
    await call.until(call.over)
    await _over(switch, calls=2)
    assert {record.direction for record in switch.records} == {"in"}


async def test_who_gives_up_is_heard_behind_the_loop(switch: SteeredSwitch) -> None:
    bob = await switch.phone("bob")
    call = await _dial(switch, Fork((switch.back("bob"),)))
    await call.until(call.ringing)
    call.cancel()
    await call.until(call.over)
    (far,) = bob.calls
    await far.until(far.over)
    await _over(switch, calls=2)
    assert switch.told == ["cancelled"]


async def test_a_call_that_begins_with_us_joins_two(switch: SteeredSwitch) -> None:
    one, two = await switch.phone("bob"), await switch.agent("two")
    one.on_invite = two.on_invite = UdpCall.accept
    clock = asyncio.get_running_loop().time
    second = Fork((switch.outside(f"sip:two@{two.address}", two.address),))
    joined = asyncio.Event()

    class Joiner:
        def failed(self, legs: object, timed_out: bool, now: float) -> None: ...
        def gone(self, reason: str, now: float) -> None: ...

        def answered(self, now: float) -> None:
            joined.set()

    begun: list[str | None] = []

    def ring_second(now: float) -> None:
        assert begun[0] is not None
        assert switch.calls.ring(begun[0], second, now)

    first = Fork((switch.back("bob"),))
    begun.append(switch.calls.connect(Customer("acme"), first, ring_second, Joiner(), clock()))
    async with asyncio.timeout(20):
        await joined.wait()
    (a,), (b,) = one.calls, two.calls
    await a.until(a.answered)
    assert (a.heard, b.heard) == (b.offer, a.offer)
    await b.hang_up()
    await a.until(a.over)
    await _over(switch, calls=2)
