"""Registrations at providers: REGISTERs, renewals, failures, reports, events."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest

from services.appserver.handlers.registrations.pace import PER_SECOND
from tandem.bus.provider_events import (
    ProviderRegistered,
    ProviderRegistrationFailed,
    ProviderUnregistered,
)
from tandem.sip.digest import Credentials
from tests.support.appserver import Address, Site
from tests.support.registrar import (
    COMPANY,
    FIRST,
    REALM,
    Bench,
    Registrar,
    expires_of,
    provider,
    says,
)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(provider())
    async with bench:
        yield bench


async def started(bench: Bench) -> Bench:
    """Registered and reported."""
    await bench.run(3)
    assert bench.report().registered
    bench.take()
    return bench


# -- the request -----------------------------------------------------------------------------------


async def test_a_provider_that_is_leased_is_registered_with_its_password(bench: Bench) -> None:
    await bench.run(3)
    first, second = bench.sent
    assert first.uri == f"sip:{COMPANY}"
    assert first.first("to") == f"<sip:me@{COMPANY}>"
    assert re.fullmatch(rf"<sip:me@{COMPANY}>;tag=\w+", first.first("from") or "")
    contact = "<sip:alice@example.com;rinstance=[0-9a-f]{6}>;expires=600"
    assert re.fullmatch(contact, first.first("contact") or "")
    assert first.first("expires") == "600"
    assert not first.values("path")
    assert not first.values("authorization")
    assert second.call_id == first.call_id
    assert second.cseq.number == first.cseq.number + 1
    sent = Credentials.parse(second.first("authorization") or "")
    assert (sent.username, sent.realm) == ("me", REALM)


async def test_it_is_reported_and_told_to_its_owner(bench: Bench) -> None:
    await bench.run(3)
    report = bench.report()
    assert report.registered
    assert report.contact == bench.contact()
    assert report.expires_at == pytest.approx(bench.site.wall - 3 + 600)
    assert report.tried_at < report.next_at < report.expires_at
    assert (report.status, report.reason) == (200, "")
    (event,) = bench.site.bus.take(ProviderRegistered)
    assert event.owners == ("alice",)
    assert (event.provider, event.expires) == ("company", 600)


async def test_what_did_not_change_is_not_reported_again(bench: Bench) -> None:
    await bench.run(20)
    assert len(bench.programs.reports) == 1


async def test_an_outbound_proxy_and_headers_are_used() -> None:
    edge = provider(
        outbound_proxy=f"sip:{COMPANY}:5060",
        server="sip:realm.example",
        auth_username="login",
        custom_headers=("X-Line: 7", "Expires: 1", "Via: x", "nonsense"),
    )
    bench = Bench(edge)
    async with bench:
        await bench.run(3)
        request = bench.sent[-1]
        assert request.uri == "sip:realm.example"
        assert request.values("route")[1:] == [f"<sip:{COMPANY}:5060;lr>"]
        assert request.values("x-line") == ["7"]
        assert request.values("expires") == ["600"]
        assert len(request.vias) == 1
        assert Credentials.parse(request.first("authorization") or "").username == "login"


async def test_the_register_server_takes_the_place_of_the_server() -> None:
    bench = Bench(provider(register_server=f"sip:{COMPANY};transport=tcp", server="sip:a.example"))
    async with bench:
        await bench.run(3)
        assert bench.sent[0].uri == f"sip:{COMPANY};transport=tcp"
        assert bench.sent[0].first("to") == f"<sip:me@{COMPANY}>"


async def test_the_strongest_of_several_challenges_is_answered() -> None:
    bench = Bench(provider())
    bench.company.algorithms = ("SHA-512-256", "SHA-256", "MD5")
    async with bench:
        await started(bench)
    assert bench.contact()


async def test_another_realm_than_the_providers_gets_no_password() -> None:
    bench = Bench(provider(realm="other.example"))
    async with bench:
        await bench.run(3)
        assert len(bench.sent) == 1
        assert "realm" in bench.report().reason


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"server": "sip:example.com"}, "this switch itself"),
        ({"server": "sip:Alias.Example"}, "this switch itself"),
        ({"server": "mailto:x@y"}, "no SIP URI"),
        ({"server": "sip:b@d@x"}, "no SIP URI"),
        ({"register_contact": ""}, "no contact"),
        ({"username": ""}, "no user name"),
    ],
)
async def test_what_makes_no_sense_is_not_tried(more: dict[str, str], word: str) -> None:
    bench = Bench(provider(**more))
    async with bench:
        await bench.run(10)
        assert bench.sent == []
        assert word in bench.report().reason
        bench.programs.put(provider())
        await bench.run(5)
        assert bench.report().registered


# -- renewals --------------------------------------------------------------------------------------


async def test_it_is_renewed_before_it_ends_without_being_asked_for_the_password(
    bench: Bench,
) -> None:
    await bench.run(3)
    first = bench.take()[-1]
    await bench.run(600 * 0.7)
    assert bench.take() == []
    await bench.run(600 * 0.1)
    (request,) = bench.take()
    assert request.call_id == first.call_id
    assert request.cseq.number == first.cseq.number + 1
    assert request.first("contact") == first.first("contact")
    assert request.values("authorization")
    assert len(bench.site.bus.take(ProviderRegistered)) == 1
    await bench.run(3)
    assert bench.report().registered


async def test_the_contact_in_the_answer_says_how_long_it_lasts() -> None:
    bench = Bench(provider())
    bench.company.most = 40
    bench.company.contacts["sip:someone@else.example"] = 9999
    async with bench:
        await bench.run(3)
        assert bench.report().expires_at == pytest.approx(bench.site.wall - 3 + 40)
        bench.take()
        await bench.run(18)
        assert len(bench.take()) == 1


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], 600),
        (["Expires: 300"], 300),
        (["Contact: <sip:x@y>;expires=5", "Expires: 300"], 300),
        (["Contact: <<<garbage", "Expires: 300"], 300),
        (["Contact: *"], 600),
        (["Contact: <sip:a@b;rinstance=INSTANCE>;expires=90"], 90),
        (["Contact: <sip:alice@example.com;rinstance=INSTANCE>;expires=soon"], 600),
        (["Expires: 99999999999999999999999"], 86_400),
        (["Expires: -5"], 600),
        (["Expires: \udcff"], 600),
    ],
)
async def test_answers_of_all_kinds_are_understood(lines: list[str], seconds: int) -> None:
    bench = Bench(provider())

    async with bench:
        await bench.run(3)
        instance = bench.contact().partition("rinstance=")[2]
        answer = says(200, *(line.replace("INSTANCE", instance) for line in lines))
        bench.company.answers = [answer]
        renewed = bench.site.wall
        while bench.company.answers:
            await bench.run(1)
            renewed = bench.site.wall
        await bench.run(3)
        assert bench.report().registered
        assert bench.report().expires_at == pytest.approx(renewed + seconds, abs=2)


async def test_too_short_an_interval_is_lengthened_at_once() -> None:
    bench = Bench(provider(register_expires=60))
    bench.company.answers = [says(423, "Min-Expires: 1800")]
    async with bench:
        await bench.run(3)
        assert [expires_of(request) for request in bench.sent] == [60, 1800, 1800]
        assert bench.report().registered


@pytest.mark.parametrize("header", ["Min-Expires: 0", "Min-Expires: 10", "Min-Expires: x", "X: y"])
async def test_a_423_without_sense_is_a_failure(header: str) -> None:
    bench = Bench(provider())
    bench.company.answers = [says(423, header)] * 9
    async with bench:
        await bench.run(3)
        assert len(bench.sent) == 1
        assert bench.report().status == 423


async def test_a_registrar_that_always_wants_more_is_asked_twice() -> None:
    bench = Bench(provider(register_expires=60))
    bench.company.answers = [says(423, f"Min-Expires: {n}") for n in (100, 200, 300)]
    async with bench:
        await bench.run(3)
        assert len(bench.sent) == 2


# -- failures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404])
async def test_a_refusal_for_good_gives_it_up(status: int) -> None:
    bench = Bench(provider())
    bench.company.answers = [says(status, reason="Not you")]
    async with bench:
        await bench.run(3)
        report = bench.report()
        assert (report.disable, report.released, report.registered) == (True, True, False)
        assert report.reason == f"{status} Not you"
        (event,) = bench.site.bus.take(ProviderRegistrationFailed)
        assert event.retry == 0
        await bench.run(900)
        assert len(bench.sent) == 1
        assert len(bench.programs.reports) == 1
        bench.programs.put(provider())  # its owner wants to try again
        await bench.run(3)
        assert bench.report().registered


async def test_a_wrong_password_is_told_and_tried_seldom(bench: Bench) -> None:
    bench.company.password = "another"
    await bench.run(3)
    assert len(bench.take()) == 2
    report = bench.report()
    assert report.status == 401
    assert "password" in report.reason
    assert report.next_at >= bench.site.wall + 890
    assert len(bench.site.bus.take(ProviderRegistrationFailed)) == 1
    await bench.run(880)
    assert bench.take() == []
    await bench.run(220)
    assert len(bench.take()) == 1
    assert bench.site.bus.take(ProviderRegistrationFailed) == []


async def test_a_password_that_was_mended_is_tried_at_once(bench: Bench) -> None:
    bench.company.password = "another"
    await bench.run(3)
    bench.programs.put(provider(password="another"))
    await bench.run(4)
    assert bench.report().registered
    assert bench.report().reason == ""
    assert len(bench.site.bus.take(ProviderRegistered)) == 1


async def test_a_stale_nonce_costs_one_more_request(bench: Bench) -> None:
    await started(bench)
    line = f'WWW-Authenticate: Digest realm="{REALM}", nonce="new", stale=true, algorithm=MD5'
    bench.company.answers = [says(401, line)]
    await bench.run(480)
    assert len(bench.take()) == 2
    await bench.run(3)
    assert bench.report().registered


async def test_silence_leads_to_the_next_hop(bench: Bench) -> None:
    other = bench.add_hop()
    bench.company.away = True
    await bench.run(40)
    assert list(other.contacts)
    assert bench.report().registered
    assert (FIRST, False) in bench.site.resolver.judged


async def test_a_503_leads_to_the_next_hop_at_once(bench: Bench) -> None:
    other = bench.add_hop()
    bench.company.answers = [says(503)]
    await bench.run(3)
    assert list(other.contacts)


async def test_a_500_does_not() -> None:
    bench = Bench(provider())
    other = bench.add_hop()
    bench.company.answers = [says(500)]
    async with bench:
        await bench.run(3)
        assert not other.contacts
        assert bench.report().status == 500


async def test_pauses_grow_while_nobody_answers(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(1500)
    starts = [t for t, r in zip(bench.sent_at, bench.sent, strict=True) if _is_first(bench, r)]
    gaps = [b - a - 32 for a, b in pairwise(starts)]
    for gap, least in zip(gaps, [50, 100, 200, 300, 300], strict=False):
        assert least <= gap <= least * 1.2 + 1
    assert bench.report().reason == "udp:198.51.100.4:5060 does not answer"
    assert len(bench.site.bus.take(ProviderRegistrationFailed)) == 1
    bench.company.away = False
    await bench.run(400)
    assert bench.report().registered
    assert len(bench.site.bus.take(ProviderRegistered)) == 1


def _is_first(bench: Bench, request: object) -> bool:
    """Whether it is no retransmission."""
    branches = [r.top[0] for r in bench.sent]
    at = next(n for n, r in enumerate(bench.sent) if r is request)
    return branches[at] not in branches[:at]


async def test_a_registration_that_cannot_be_renewed_ends_at_its_time(bench: Bench) -> None:
    await started(bench)
    bench.company.away = True
    await bench.run(520)
    assert bench.report().registered
    assert bench.report().reason
    await bench.run(82)
    assert not bench.report().registered


async def test_retry_after_is_honoured() -> None:
    bench = Bench(provider())
    bench.company.answers = [says(503, "Retry-After: 400 (busy);duration=10")]
    async with bench:
        await bench.run(3)
        bench.take()
        await bench.run(396)
        assert bench.take() == []
        await bench.run(90)
        assert bench.report().registered


async def test_a_name_that_leads_nowhere_is_looked_up_again_soon(bench: Bench) -> None:
    del bench.site.resolver.known[COMPANY]
    await bench.run(4)
    assert bench.report().reason == f"{COMPANY} cannot be resolved"
    bench.site.resolver.slow[COMPANY] = [Address("udp", "198.51.100.4", 5060)]
    await bench.run(8)
    assert bench.report().registered


async def test_without_a_proxy_it_waits_for_one_and_bothers_nobody(bench: Bench) -> None:
    bench.site.app.tools.proxies.said("10.0.0.1:5070", "stopped")
    await bench.run(10)
    assert bench.sent == []
    assert bench.site.bus.take(ProviderRegistrationFailed) == []
    assert "proxy" in bench.report().reason
    bench.site.app.tools.proxies.said("10.0.0.1:5070", "active")
    await bench.run(5)
    assert bench.report().registered


async def test_a_proxy_that_dies_meanwhile_is_not_the_registrars_fault(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(3)
    proxies = bench.site.app.tools.proxies
    proxies.said("10.0.0.1:5070", "lost")
    proxies.said("10.0.0.2:5070", "active")
    bench.company.away = False
    bench.company.answers = [lambda request: None] * 9  # what comes back by the dead one is lost
    await bench.run(29)
    bench.company.answers = []
    assert (FIRST, False) not in bench.site.resolver.judged
    await bench.run(6)
    assert bench.report().registered
    assert bench.site.bus.take(ProviderRegistrationFailed) == []
    assert "10.0.0.2:5070" in bench.sent[-1].values("route")[0]


async def test_what_a_registrar_says_is_shown_safely() -> None:
    bench = Bench(provider())
    bench.company.answers = [says(500, reason="\x1b[31m" + "x" * 1000)]
    async with bench:
        await bench.run(3)
        assert bench.report().reason.isprintable()
        assert len(bench.report().reason) < 130


# -- the end ---------------------------------------------------------------------------------------


async def test_a_provider_that_is_disabled_is_unregistered(bench: Bench) -> None:
    await started(bench)
    contact = bench.contact()
    bench.programs.give_up("p1")
    await bench.run(5)
    (request,) = bench.take()
    assert expires_of(request) == 0
    assert request.first("contact") == f"<{contact}>;expires=0"
    assert bench.company.contacts == {}
    assert bench.report().released
    assert not bench.report().registered
    assert not bench.programs.giving_up
    (event,) = bench.site.bus.take(ProviderUnregistered)
    assert event.status == 200
    await bench.run(900)
    assert bench.take() == []


async def test_who_was_never_registered_is_given_up_without_a_word() -> None:
    bench = Bench(provider())
    bench.company.answers = [says(500)]
    async with bench:
        await bench.run(3)
        bench.programs.give_up("p1")
        await bench.run(5)
        assert len(bench.sent) == 1
        assert bench.report().released


async def test_a_registrar_that_is_away_is_asked_once(bench: Bench) -> None:
    await started(bench)
    bench.company.away = True
    bench.programs.give_up("p1")
    await bench.run(40)
    assert len({request.top[0] for request in bench.take()}) == 1
    assert bench.report().released


async def test_what_is_disabled_during_an_attempt_is_unregistered_after_it(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(3)
    bench.programs.give_up("p1")
    await bench.run(3)
    bench.company.away = False  # the next retransmission is heard
    await bench.run(10)
    assert [expires_of(r) for r in bench.sent][-2:] == [600, 0]
    assert bench.company.contacts == {}
    assert bench.report().released


async def test_what_is_enabled_again_in_time_stays(bench: Bench) -> None:
    await started(bench)
    bench.company.away = True
    bench.programs.give_up("p1")
    await bench.run(3)
    bench.programs.giving_up.clear()
    bench.programs.put(provider())
    bench.company.away = False
    await bench.run(10)
    assert bench.report().registered
    assert not bench.report().released
    assert bench.contact() == bench.report().contact


async def test_other_contact_or_server_takes_the_former_one_away(bench: Bench) -> None:
    await started(bench)
    bench.programs.put(provider(register_contact="bob@example.com"))
    await bench.run(5)
    assert [expires_of(request) for request in bench.take()] == [0, 600, 600]
    assert bench.contact().startswith("sip:bob@example.com;rinstance=")


async def test_two_changes_before_its_turn_leave_nothing_behind(bench: Bench) -> None:
    await started(bench)
    for number in range(4 * PER_SECOND):  # which have their turns first
        bench.programs.put(provider(f"q{number}", register_contact=f"q{number}@example.com"))
    bench.programs.put(provider(register_contact="bob@example.com"))
    await bench.run(2)
    bench.programs.put(provider(register_contact="carol@example.com"))
    await bench.run(9)
    ours = [contact for contact in bench.company.contacts if not contact.startswith("sip:q")]
    assert [contact.partition("@")[0] for contact in ours] == ["sip:carol"]


async def test_settings_that_become_useless_take_the_registration_away(bench: Bench) -> None:
    await started(bench)
    bench.programs.put(provider(register_contact=""))
    await bench.run(5)
    assert bench.company.contacts == {}
    assert not bench.report().registered
    assert "no contact" in bench.report().reason


async def test_a_change_that_does_not_matter_sends_nothing(bench: Bench) -> None:
    await started(bench)
    bench.programs.put(provider(in_dialplan="x", from_header="<sip:x@y>", name="other"))
    await bench.run(10)
    assert bench.take() == []


async def test_a_change_during_an_attempt_is_used_after_it(bench: Bench) -> None:
    bench.company.away = True
    await bench.run(3)
    bench.programs.put(provider(register_contact="bob@example.com"))
    await bench.run(3)
    bench.company.away = False
    await bench.run(10)
    assert bench.contact().startswith("sip:bob@")
    assert bench.report().registered


async def test_a_change_while_the_former_is_taken_away_costs_no_register_more(
    bench: Bench,
) -> None:
    await started(bench)
    bench.company.away = True
    bench.programs.put(provider(register_contact="bob@example.com"))
    await bench.run(4)
    bench.programs.put(provider(register_contact="carol@example.com"))
    await bench.run(4)
    bench.take()
    bench.company.away = False
    await bench.run(40)
    assert [expires_of(request) for request in bench.take()] == [0, 600, 600]
    assert bench.contact().startswith("sip:carol@")


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "secret" not in repr(provider())


async def test_metrics_count_by_state() -> None:
    others = [provider(f"p{n}", server=f"sip:{COMPANY}") for n in (2, 3)]
    bench = Bench(provider(), *others, replace(provider("p4"), register_contact=""))
    async with bench:
        await bench.run(3)
        agent = bench.site.app.registrations
        assert agent.states() == {"registered": 3, "failing": 1}
        assert agent.counters.granted == 3
        assert agent.counters.taken == 4


async def test_nobody_registers_without_programs() -> None:
    site = Site()
    async with site:
        site.advance(10)
        await site.settle()
        assert site.link.take() == []


def test_the_registrar_of_these_tests_keeps_what_it_says() -> None:
    assert Registrar().challenges()
