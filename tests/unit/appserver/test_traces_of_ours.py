"""SIP traces of what the switch itself begins, or says to ends that are accounts of nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tandem.bus.call_events import SipTrace
from tandem.bus.interest import Interest
from tandem.bus.ports import Topic
from tandem.sip.build import response_to
from tests.support.appserver import Phone, Site, account
from tests.support.flights import JOE, Tower, dialplan
from tests.support.registrar import FIRST, Bench, provider, says
from tests.support.subscriber import Subscriber
from tests.unit.appserver.dialplans.test_transfers import OUTSIDE, PROV, Referring, Tall

PROVIDER = "198.51.100.4"


async def watch(site: Site, customer: str) -> None:
    """Somebody looks at all messages of this customer."""
    await site.bus.deliver(Topic.INTEREST, Interest(customer, site.wall + 900), node="events1")
    site.bus.take(SipTrace)


def shown(traces: Sequence[SipTrace]) -> list[str]:
    """Direction and method, or status and method."""
    found = []
    for trace in traces:
        first, *lines = trace.message.split("\r\n")
        (cseq,) = [line for line in lines if line.startswith("CSeq: ")]
        what = first.split()[1] + " " if first.startswith("SIP/2.0") else ""
        found.append(f"{trace.direction} {what}{cseq.split()[2]}")
    return found


# -- registrations at providers --------------------------------------------------------------------


async def test_who_watches_sees_the_registers_at_a_provider_without_their_proofs() -> None:
    async with Bench(provider()) as bench:
        bench.site.app.subscribe()
        await watch(bench.site, "alice")
        await bench.run(3)
        traces = bench.site.bus.take(SipTrace)
        assert shown(traces) == [
            "out REGISTER", "in 401 REGISTER", "out REGISTER", "in 200 REGISTER",
        ]  # fmt: skip
        assert {(trace.owners, trace.call_id, trace.remote) for trace in traces} == {
            (("alice",), None, FIRST)
        }
        assert 'username="me"' in traces[2].message
        assert "response=***" in traces[2].message


@pytest.mark.parametrize("customer", ["bob", None])
async def test_others_see_none_of_them(customer: str | None) -> None:
    async with Bench(provider()) as bench:
        bench.site.app.subscribe()
        if customer:
            await watch(bench.site, customer)
        await bench.run(3)
        assert bench.sent
        assert bench.site.bus.take(SipTrace) == []


async def test_one_that_was_under_way_already_is_seen_from_then_on() -> None:
    async with Bench(provider()) as bench:
        bench.company.away = True
        await bench.run(3)
        await watch(bench.site, "alice")
        await bench.run(3)
        traces = bench.site.bus.take(SipTrace)
        assert traces
        assert set(shown(traces)) == {"out REGISTER"}


async def test_nothing_is_kept_of_registrations_that_are_not_under_way() -> None:
    async with Bench(provider()) as bench:
        bench.company.answers.append(says(500))
        await bench.run(3)
        assert len(bench.sent) == 1
        assert not bench.site.app.traces._talks
        bench.company.away = True
        await bench.run(60)
        assert len(bench.site.app.traces._talks) == 1
        bench.programs.known.clear()
        await bench.run(3)
        assert not bench.site.app.traces._talks


# -- subscriptions ---------------------------------------------------------------------------------


async def test_who_watches_sees_subscribes_and_the_notifies_that_answer_them() -> None:
    async with Site(account("alice", owner="joe"), account("bob", owner="joe")) as site:
        await watch(site, "joe")
        phone = Phone(site, "alice")
        await Subscriber(phone).subscribed()
        seen = shown(site.bus.take(SipTrace))
        assert seen[-4:] == ["in SUBSCRIBE", "out 200 SUBSCRIBE", "out NOTIFY", "in 200 NOTIFY"]


# -- calls that begin with us, and how calls end ---------------------------------------------------


async def test_who_watches_sees_both_legs_of_a_call_that_begins_with_us() -> None:
    async with Tall(PROV) as tower:
        await watch(tower.site, JOE)
        await tower.transfers.connect(JOE, "999@prov", "bob@local")
        first = await tower.rung()
        await tower.answer(first, 200)
        second = await tower.rung()
        traces = tower.site.bus.take(SipTrace)
        assert {first.call_id, second.call_id} == {trace.sip_call_id for trace in traces}
        assert all(trace.owners == (JOE,) for trace in traces)
        assert sorted(set(shown(traces))) == ["in 200 INVITE", "out ACK", "out INVITE"]


async def test_who_watches_sees_how_the_leg_to_a_provider_ends() -> None:
    async with Referring(PROV, main=OUTSIDE) as tower:
        await tower.pick_up()
        (call,) = tower.site.app.calls.live()
        await watch(tower.site, JOE)
        tower.sent.clear()
        tower.site.app.hang_up(call.id, "enough")
        byes = await tower.requests("BYE")
        (outside,) = [bye for bye in byes if bye.call_id == tower.invite.call_id]
        await tower.site.send(response_to(outside, 200).to_bytes())
        traces = [
            trace for trace in tower.site.bus.take(SipTrace) if trace.sip_call_id == outside.call_id
        ]
        assert shown(traces) == ["out BYE", "in 200 BYE"]
        assert {(trace.owners, trace.call_id) for trace in traces} == {((JOE,), call.id)}
        assert all(PROVIDER in trace.remote for trace in traces)


async def test_nothing_is_kept_of_ended_calls_that_nobody_watches() -> None:
    async with Tower(dialplan(OUTSIDE), PROV) as tower:
        await tower.call()
        await tower.answer(await tower.rung(), 404)
        await tower.final()
        assert not tower.site.app.traces._talks
