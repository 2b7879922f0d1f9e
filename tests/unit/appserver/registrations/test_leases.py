"""Who registers: leases that come, go, move, and that nobody can be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from services.appserver.domain.registrations.settings import Settings
from services.appserver.handlers.registrations.pace import PER_SECOND
from tandem.bus.provider_events import ProviderRegistered, ProviderUnregistered
from tandem.rpc.programs import Lease, Provider, RegistrationReport
from tests.support.registrar import Bench, expires_of, provider, says


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with Bench(provider()) as bench:
        yield bench


async def started(bench: Bench) -> Bench:
    """Registered and reported."""
    await bench.run(3)
    assert bench.report().registered
    bench.take()
    return bench


def stood(bench: Bench, seconds: float = 600, **more: object) -> RegistrationReport:
    """What another node told before: registered for some more seconds."""
    wall = bench.site.wall
    report = RegistrationReport(
        provider="p1", registered=True, contact="sip:alice@example.com;rinstance=abcdef",
        expires_at=wall + seconds, tried_at=wall - 10, next_at=wall + seconds - 100, status=200,
    )  # fmt: skip
    return replace(report, **more)  # type: ignore[arg-type]


# -- losing ----------------------------------------------------------------------------------------


async def test_a_lease_that_is_lost_ends_everything_in_silence(bench: Bench) -> None:
    await started(bench)
    bench.programs.known = []
    await bench.run(900)
    assert bench.take() == []
    assert bench.contact()
    assert len(bench.programs.reports) == 1
    assert bench.site.app.registrations.counters.lost == 1


async def test_a_lease_that_is_lost_during_an_attempt_sends_nothing_more(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(1)
    bench.programs.known = []
    await bench.run(2)
    bench.company.away = False
    bench.company.answers = [says(503)] * 9
    bench.add_hop()
    bench.take()
    await bench.run(900)
    assert len({request.top[0] for request in bench.take()}) <= 1
    assert bench.programs.reports == []


async def test_while_provisioning_is_away_registrations_are_kept(bench: Bench) -> None:
    await started(bench)
    bench.programs.away = True
    await bench.run(3600)
    assert len(bench.take()) >= 6
    assert bench.company.contacts
    before = len(bench.programs.reports)
    bench.programs.away = False
    await bench.run(4)
    assert len(bench.programs.reports) == before + 1
    assert bench.report().expires_at > bench.site.wall + 100


async def test_what_could_not_be_reported_is_reported_later(bench: Bench) -> None:
    await bench.run(0)
    bench.programs.away = True
    await bench.run(5)
    assert bench.company.contacts
    assert bench.programs.reports == []
    bench.programs.away = False
    await bench.run(3)
    assert bench.report().registered


async def test_an_answer_that_never_comes_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(bench)

    async def crash(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a fault of the other side")

    monkeypatch.setattr(bench.programs, "lease", crash)
    await bench.run(10)
    assert bench.site.app.registrations.counters.unanswered >= 4
    monkeypatch.undo()
    await bench.run(500)
    assert bench.take()


# -- what is known already -------------------------------------------------------------------------


async def test_while_nothing_changes_the_list_does_not_come_again(bench: Bench) -> None:
    await started(bench)
    asked = bench.programs.asked
    await bench.run(300)
    asked, unchanged = bench.programs.asked - asked, bench.programs.unchanged
    assert asked == 150
    assert 140 <= unchanged < asked  # all of it is asked for now and then
    bench.programs.put(provider(register_expires=900))
    await bench.run(3)
    assert [expires_of(request) for request in bench.take()[-1:]] == [900]


async def test_a_list_of_which_one_could_not_be_taken_comes_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = bench.site.app.registrations
    taken: list[str] = []
    take = agent._take_one

    def fails_once(lease: Lease, now: float) -> None:
        taken.append(lease.provider.id)
        if len(taken) == 1:
            raise RuntimeError("a fault of ours")
        take(lease, now)

    monkeypatch.setattr(agent, "_take_one", fails_once)
    await bench.run(9)
    assert taken == ["p1", "p1"]
    assert bench.report().registered


async def test_who_drained_and_takes_part_again_asks_for_all_of_it(bench: Bench) -> None:
    await started(bench)
    bench.site.app.drain(True)
    await bench.run(5)
    assert bench.programs.left
    assert len(bench.site.app.registrations) == 0
    bench.site.app.drain(False)
    await bench.run(5)
    assert len(bench.site.app.registrations) == 1


# -- moving ----------------------------------------------------------------------------------------


async def test_what_moves_is_left_as_it_is(bench: Bench) -> None:
    await started(bench)
    bench.programs.give_up("p1", moved=True)
    await bench.run(5)
    assert bench.take() == []
    report = bench.report()
    assert report.released
    assert report.registered
    assert report.contact == bench.contact()
    assert bench.site.bus.take(ProviderUnregistered) == []
    await bench.run(900)
    assert bench.take() == []


async def test_what_moves_during_an_attempt_is_released_after_it(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(1)
    bench.programs.give_up("p1", moved=True)
    await bench.run(4)
    assert bench.programs.reports == []
    bench.company.away = False
    await bench.run(6)
    assert bench.report().released
    assert bench.report().registered


async def test_a_registration_that_holds_is_taken_over_without_a_word() -> None:
    async with Bench(provider()) as bench:
        bench.programs.reports = [stood(bench)]
        await bench.run(300)
        assert bench.sent == []
        assert bench.site.app.registrations.states() == {"registered": 1}
        await bench.run(200)
        assert bench.contact() == "sip:alice@example.com;rinstance=abcdef"
        assert bench.site.bus.take(ProviderRegistered) == []


async def test_one_that_has_ended_is_made_with_the_same_contact() -> None:
    async with Bench(provider()) as bench:
        bench.programs.reports = [stood(bench, -5, next_at=0.0)]
        await bench.run(3)
        assert bench.contact() == "sip:alice@example.com;rinstance=abcdef"


async def test_one_with_another_contact_is_replaced() -> None:
    async with Bench(provider()) as bench:
        old = "sip:bob@example.com;rinstance=abcdef"
        bench.company.contacts[old] = 600
        bench.programs.reports = [stood(bench, contact=old)]
        await bench.run(3)
        assert [expires_of(request) for request in bench.sent] == [0, 0, 600, 600]
        assert bench.contact().startswith("sip:alice@example.com")


async def test_the_pause_of_one_that_fails_is_taken_over_too() -> None:
    async with Bench(provider()) as bench:
        wall = bench.site.wall
        failing = stood(bench, 0, registered=False, status=401, reason="no", next_at=wall + 400)
        bench.programs.reports = [failing]
        await bench.run(390)
        assert bench.sent == []
        await bench.run(20)
        assert bench.report().registered


@pytest.mark.parametrize("contact", ["", "garbage", "sip:<>", "tel:1"])
async def test_what_was_told_before_may_be_nonsense(contact: str) -> None:
    async with Bench(provider()) as bench:
        bench.programs.reports = [stood(bench, 1e12, contact=contact, next_at=1e15)]
        await bench.run(4000)
        assert bench.report().registered


async def test_what_is_to_be_unregistered_may_have_been_made_by_another() -> None:
    async with Bench(provider()) as bench:
        contact = "sip:alice@example.com;rinstance=abcdef"
        bench.company.contacts[contact] = 600
        bench.programs.reports = [stood(bench)]
        bench.programs.give_up("p1")
        await bench.run(5)
        assert bench.company.contacts == {}
        assert bench.report().released


async def test_what_moves_goes_on_here_while_nobody_hears_of_it(bench: Bench) -> None:
    await started(bench)
    bench.programs.give_up("p1", moved=True)
    await bench.run(2)  # it hears that it is to go
    bench.programs.away = True
    await bench.run(3600)
    assert len(bench.take()) >= 6
    assert bench.company.contacts
    assert len(bench.programs.reports) == 1
    bench.programs.away = False
    await bench.run(5)
    assert bench.report().released
    assert bench.report().registered
    await bench.run(900)
    assert bench.take() == []


async def test_what_moves_goes_on_here_while_the_next_node_cannot_hear_of_it(bench: Bench) -> None:
    await started(bench)
    bench.programs.give_up("p1", moved=True)
    await bench.run(4)
    assert bench.report().released
    bench.programs.away = True
    await bench.run(3600)
    assert len(bench.take()) >= 6
    bench.programs.known, bench.programs.away = [], False
    await bench.run(900)
    assert bench.take() == []
    assert bench.company.contacts


async def test_what_fails_and_moves_is_tried_on_while_nobody_hears_of_it(bench: Bench) -> None:
    bench.company.answers = [says(500)]
    await bench.run(3)
    bench.programs.give_up("p1", moved=True)
    await bench.run(2)
    bench.programs.away = True
    await bench.run(100)
    assert bench.company.contacts


async def test_what_moves_and_stays_after_all_during_a_drain_goes_on_too(bench: Bench) -> None:
    await started(bench)
    bench.programs.give_up("p1", moved=True)
    await bench.run(2)
    bench.programs.away = True
    await bench.run(2)
    bench.site.app.drain(True)
    await bench.run(2)
    bench.site.app.drain(False)
    await bench.run(600)
    assert bench.take()


async def test_what_nobody_ever_registered_is_released_at_once() -> None:
    async with Bench(provider()) as bench:
        bench.programs.give_up("p1")
        await bench.run(3)
        assert bench.sent == []
        assert bench.report().released


async def test_what_fails_and_moves_keeps_its_pause(bench: Bench) -> None:
    bench.company.password = "another"
    await bench.run(3)
    due = bench.report().next_at
    assert due > bench.site.wall + 800
    bench.programs.give_up("p1", moved=True)
    await bench.run(5)
    assert bench.report().released
    assert bench.report().next_at == due


async def test_a_provider_that_cannot_be_dealt_with_costs_the_others_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Settings.of

    def bad(given: Provider, *rest: Any) -> Settings:
        if given.id == "p1":
            raise RuntimeError("a fault of this program")
        return good(given, *rest)

    monkeypatch.setattr(Settings, "of", bad)
    bench.programs.put(provider("p2"))
    await bench.run(3)
    assert bench.report("p2").registered


# -- many ------------------------------------------------------------------------------------------


async def test_many_begin_one_after_the_other() -> None:
    count = 3 * PER_SECOND
    many = [provider(f"p{n}", username=f"u{n}") for n in range(count)]
    async with Bench(*many) as bench:
        await bench.run(0.99)
        assert len({request.call_id for request in bench.sent}) <= PER_SECOND
        await bench.run(3)
        assert len({request.call_id for request in bench.sent}) == count
        assert len(bench.company.contacts) == count


async def test_renewals_of_many_do_not_come_at_once() -> None:
    many = [provider(f"p{n}", username=f"u{n}", register_expires=3600) for n in range(100)]
    async with Bench(*many) as bench:
        await bench.run(5)
        bench.take()
        await bench.run(3595)
        times = sorted(bench.sent_at)
        assert len(times) >= 100
        assert times[99] - times[0] > 200


# -- leaving ---------------------------------------------------------------------------------------


async def test_a_node_that_drains_hands_over(bench: Bench) -> None:
    await started(bench)
    bench.site.app.drain(True)
    await bench.run(3)
    assert bench.programs.left
    asked = bench.programs.asked
    await bench.run(900)
    assert bench.take() == []
    assert bench.programs.asked == asked
    assert bench.contact()
    assert len(bench.site.app.registrations) == 0


async def test_a_node_that_drains_no_more_takes_part_again(bench: Bench) -> None:
    await started(bench)
    bench.site.app.drain(True)
    await bench.run(3)
    bench.site.app.drain(False)
    await bench.run(600)
    assert bench.take()
    assert not bench.programs.left
    assert bench.report().registered


async def test_a_node_that_changes_its_mind_goes_on(bench: Bench) -> None:
    await started(bench)
    bench.programs.away = True
    bench.site.app.drain(True)
    await bench.run(3)
    bench.programs.away = False
    bench.site.app.drain(False)
    await bench.run(3)
    assert not bench.programs.left
    assert bench.report().registered


async def test_a_drain_waits_for_the_attempts_under_way(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(1.6)
    bench.site.app.drain(True)
    bench.company.away = False
    await bench.run(1)
    assert bench.programs.reports == []
    await bench.run(3)
    assert bench.programs.left
    assert bench.report().registered


async def test_a_drain_does_not_wait_for_ever(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(0.1)
    bench.site.app.drain(True)
    await bench.run(4)
    assert bench.programs.left
    bench.take()
    await bench.run(100)
    assert len({request.top[0] for request in bench.take()}) <= 1


async def test_a_node_that_stops_hands_over(bench: Bench) -> None:
    await started(bench)
    await bench.site.app.stop()
    assert bench.programs.left
    assert bench.take() == []


async def test_a_node_that_stops_while_provisioning_is_away_stops(bench: Bench) -> None:
    await started(bench)
    bench.programs.away = True
    await bench.site.app.stop()
