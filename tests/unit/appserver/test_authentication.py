"""Who may send: challenges, wrong passwords, bans, ACLs, and what is told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.appserver.domain.authentication import admits
from tandem.bus.phone_events import AuthenticationFailed, RegistrationFailed
from tandem.bus.ports import Topic
from tandem.rpc.directory import DirectoryChanged
from tandem.sip.digest import Challenge, ha1
from tandem.sip.message import Response
from tests.support.appserver import DOMAIN, Phone, Site, account


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice"), account("bob")) as made:
        yield made


async def attempt(phone: Phone) -> int:
    """One REGISTER with credentials, waiting for an answer that is delayed."""
    if phone.challenge is None:
        phone.learn(await phone.send(phone.register(f"<{phone.contact}>")))
    sent = await phone.site.send(phone.register(f"<{phone.contact}>"))
    if not sent:
        phone.site.advance(9)
        sent = phone.site.link.take()
    (response,) = sent
    status = int(response.start_line.split()[1])
    if status == 401:
        phone.learn(response)
    return status


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_every_algorithm_works(site: Site, algorithm: str) -> None:
    phone = Phone(site)
    first = await phone.send(phone.register(f"<{phone.contact}>"))
    for value in first.values("www-authenticate"):
        challenge = Challenge.parse(value)
        assert challenge.realm == DOMAIN
        if challenge.algorithm == algorithm:
            phone.challenge = challenge
    assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 200


async def test_the_algorithms_and_their_order_are_configured() -> None:
    async with Site(account(), digest_algorithms=("SHA-256", "MD5")) as site:
        phone = Phone(site)
        first = await phone.send(phone.register(f"<{phone.contact}>"))
        algorithms = [Challenge.parse(v).algorithm for v in first.values("www-authenticate")]
        assert algorithms == ["SHA-256", "MD5"]


async def test_only_algorithms_that_accounts_have_hashes_for_are_offered() -> None:
    hashes = {"MD5": ha1("MD5", "alice", DOMAIN, "secret")}
    async with Site(account("alice", ha1=hashes)) as site:
        for phone in (Phone(site), Phone(site, "nobody")):
            first = await phone.send(phone.register(f"<{phone.contact}>"))
            values = first.values("www-authenticate")
            assert [Challenge.parse(v).algorithm for v in values] == ["MD5"]


async def test_an_old_nonce_is_stale_if_the_password_is_right(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.advance(301)
    response = await phone.send(phone.register(f"<{phone.contact}>"))
    assert response.status == 401
    assert all(Challenge.parse(v).stale for v in response.values("www-authenticate"))
    assert site.bus.take(RegistrationFailed) == []
    phone.learn(response)
    assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 200


async def test_an_old_nonce_with_a_wrong_password_is_not_stale(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.advance(301)
    phone.password = "wrong"
    response = await phone.send(phone.register(f"<{phone.contact}>"))
    assert response.status == 401
    assert not Challenge.parse(response.values("www-authenticate")[0]).stale


async def test_a_replayed_nonce_count_is_stale(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    phone.nc -= 1
    response = await phone.send(phone.register("<sip:thief@h>"))
    assert response.status == 401
    assert Challenge.parse(response.values("www-authenticate")[0]).stale
    assert site.app.location.count == 1


async def test_a_nonce_of_somebody_else_is_challenged_anew(site: Site) -> None:
    phone = Phone(site)
    phone.challenge = Challenge(DOMAIN, "not-our-nonce")
    response = await phone.send(phone.register(f"<{phone.contact}>"))
    assert response.status == 401
    assert not Challenge.parse(response.values("www-authenticate")[0]).stale
    assert site.bus.take(RegistrationFailed) == []


async def test_credentials_for_another_realm_are_passed_over(site: Site) -> None:
    phone = Phone(site)
    other = 'Digest username="a", realm="other", nonce="n", uri="sip:x", response="r"'
    phone.learn(await phone.send(phone.register(f"<{phone.contact}>")))
    request = phone.register(f"<{phone.contact}>")
    request.add("Authorization", other, top=True)
    request.add("Authorization", "Basic Zm9v", top=True)
    assert (await phone.send(request)).status == 200


async def test_a_wrong_password_is_challenged_again_then_forbidden_then_banned(site: Site) -> None:
    phone = Phone(site, password="wrong")
    statuses = [await attempt(phone) for _ in range(10)]
    assert statuses == [401] * 3 + [403] * 7
    events = site.bus.take(RegistrationFailed)
    assert len(events) == 10
    assert events[0].reason == "wrong password, attempt 1"
    assert events[0].owners == ("owner-alice",)
    assert events[-1].reason == "wrong password, attempt 10, banned for 600 s"
    phone.password = "secret"
    banned = await phone.send(phone.register(f"<{phone.contact}>"))
    assert (banned.status, banned.reason) == (403, "Too many failed attempts")
    (event,) = site.bus.take(RegistrationFailed)
    assert event.reason.startswith("banned for another ")
    await phone.send(phone.register(f"<{phone.contact}>"))
    assert site.bus.take(RegistrationFailed) == []


async def test_the_answers_to_guesses_come_later_and_later(site: Site) -> None:
    phone = Phone(site, password="wrong")
    for _ in range(3):
        assert await attempt(phone) == 401
    assert await site.send(phone.register(f"<{phone.contact}>")) == []
    site.advance(1)
    assert len(site.link.take()) == 1
    assert await site.send(phone.register(f"<{phone.contact}>")) == []
    site.advance(1.5)
    assert site.link.take() == []
    site.advance(0.5)
    assert len(site.link.take()) == 1


async def test_a_ban_hits_the_pair_and_not_the_whole_office(site: Site) -> None:
    wrong = Phone(site, password="wrong")
    for _ in range(10):
        await attempt(wrong)
    assert (await Phone(site, "bob").registered()).status == 200
    assert (await Phone(site, host="203.0.113.99").registered()).status == 200


async def test_a_ban_ends_and_can_be_lifted(site: Site) -> None:
    phone = Phone(site, password="wrong")
    for _ in range(10):
        await attempt(phone)
    phone.password = "secret"
    site.app.tools.authenticator.guard.lift("203.0.113.7", "alice")
    assert (await phone.registered()).status == 200


async def test_an_address_that_tries_many_accounts_is_banned_as_such() -> None:
    async with Site(account("alice"), ban_address_after=5) as site:
        for n in range(5):
            await attempt(Phone(site, f"user{n}"))
        assert (await Phone(site).registered()).status == 403
        site.advance(601)
        assert (await Phone(site).registered()).status == 200


async def test_the_right_password_clears_earlier_failures(site: Site) -> None:
    phone = Phone(site, password="wrong")
    for _ in range(3):
        await attempt(phone)
    phone.password = "secret"
    assert await attempt(phone) == 200
    phone.password = "wrong"
    assert await attempt(phone) == 401


async def test_an_unknown_account_is_answered_like_a_wrong_password(site: Site) -> None:
    unknown = Phone(site, "nobody")
    wrong = Phone(site, password="wrong")
    assert [await attempt(unknown) for _ in range(12)] == [await attempt(wrong) for _ in range(12)]
    events = site.bus.take(RegistrationFailed)
    assert events[0].reason == "unknown account, attempt 1"
    assert events[0].owners == ()


async def test_the_acl_of_an_account_spares_the_challenge() -> None:
    async with Site(account("alice", ip_acl=("203.0.113.0/24", "2001:db8::/32"))) as site:
        phone = Phone(site)
        assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 200
        v6 = Phone(site, host="2001:db8::7")
        assert (await v6.send(v6.register(f"<{v6.contact}>"))).status == 200
        outside = Phone(site, host="198.51.100.1")
        assert (await outside.send(outside.register(f"<{outside.contact}>"))).status == 401


def test_an_acl_with_rubbish_admits_nobody_by_it() -> None:
    assert not admits(("rubbish", "10.0.0.0/99"), "10.0.0.1")
    assert not admits(("10.0.0.0/8",), "host.example")
    assert admits(("rubbish", "10.0.0.1/8"), "10.2.3.4")


async def test_a_call_is_challenged_with_407(site: Site) -> None:
    phone = Phone(site)
    trying, response = await site.send(phone.request("INVITE", "sip:bob@example.com"))
    assert trying.start_line == "SIP/2.0 100 Trying"
    assert response.start_line.startswith("SIP/2.0 407 ")
    assert len(response.values("proxy-authenticate")) == 3


async def test_a_wrong_password_on_a_call_is_told(site: Site) -> None:
    phone = Phone(site, password="wrong")
    (response,) = await phone.asked("INVITE", "sip:bob@example.com")
    assert response.status == 407
    (event,) = site.bus.take(AuthenticationFailed)
    assert event.owners == ("owner-alice",)
    assert event.text() == (
        "INVITE as alice@example.com from udp:203.0.113.7:5060 refused: wrong password, attempt 1"
    )


async def test_a_call_as_another_account_is_403(site: Site) -> None:
    phone = Phone(site)
    (response,) = await phone.asked(
        "INVITE", "sip:bob@example.com", from_="<sip:bob@example.com>;tag=x"
    )
    assert (response.status, response.reason) == (403, "Not the account in From")


@pytest.mark.parametrize(
    ("change", "status"), [({"enabled": False}, 403), ({"owner_enabled": False}, 604)]
)
async def test_a_disabled_account_does_not_call(change: dict[str, Any], status: int) -> None:
    async with Site(account("alice", **change)) as site:
        (response,) = await Phone(site).asked("INVITE", "sip:bob@example.com")
        assert response.status == status


async def test_guesses_by_calls_are_forbidden_and_banned_too(site: Site) -> None:
    phone = Phone(site, password="wrong", transport="tcp")
    await phone.asked("INVITE", "sip:bob@example.com")
    statuses = []
    for _ in range(12):
        sent = await site.send(phone.request("INVITE", "sip:bob@example.com"))
        site.advance(9)
        statuses += [m.status for m in (*sent, *site.link.take()[:1]) if isinstance(m, Response)]
    assert statuses == [407] * 2 + [403] * 10
    assert len(site.bus.take(AuthenticationFailed)) == 13


async def test_a_call_that_waits_for_its_refusal_can_be_cancelled(site: Site) -> None:
    phone = Phone(site, password="wrong", transport="tcp")
    for _ in range(2):
        await phone.asked("INVITE", "sip:bob@example.com")
    request = phone.request("INVITE", "sip:bob@example.com")
    assert await site.send(request) == []
    answers = await site.send(phone.cancel(request))
    assert [m.status for m in answers if isinstance(m, Response)] == [200, 487]


@pytest.fixture
async def with_contact() -> AsyncIterator[Site]:
    """A site where `office` is the contact that a provider calls, and no account."""
    office = account("office", ha1={}, contact_only=True, ip_acl=("0.0.0.0/1", "128.0.0.0/1"))
    async with Site(account("alice"), office) as made:
        yield made


async def test_nobody_registers_as_a_providers_contact(with_contact: Site) -> None:
    for password in ("", "secret"):
        office = Phone(with_contact, "office", password)
        stranger = Phone(with_contact, "nobody", password)
        answers = [await phone.registered() for phone in (office, stranger)]
        assert [answer.status for answer in answers] == [401, 401]
    assert with_contact.app.location.count == 0
    assert await attempt(Phone(with_contact)) == 200


async def test_nobody_calls_as_a_providers_contact(with_contact: Site) -> None:
    office = Phone(with_contact, "office", "")
    (answer,) = await office.asked("INVITE", f"sip:alice@{DOMAIN}")
    assert answer.status == 407
    assert with_contact.calls.started == []


async def test_the_algorithms_that_accounts_are_offered_do_not_tell_of_a_contact(
    with_contact: Site,
) -> None:
    def offered(answer: Response) -> list[str]:
        return [Challenge.parse(v).algorithm for v in answer.values("www-authenticate")]

    alice, office = Phone(with_contact), Phone(with_contact, "office")
    seen = [
        offered(await phone.send(phone.register(f"<{phone.contact}>")))
        for phone in (alice, office, alice)
    ]
    assert seen == [["MD5", "SHA-256", "SHA-512-256"]] * 3


async def test_calls_to_a_providers_contact_find_it(with_contact: Site) -> None:
    carrier = Phone(with_contact, "555", domain="carrier.example")
    for user in ("office", "x.OFFICE"):
        (answer,) = await carrier.asked("INVITE", f"sip:{user}@{DOMAIN}")
        # no phone can be registered there, and no dialplan is set
        assert answer.status == 480


async def test_the_bindings_of_an_account_of_which_a_contact_is_left_go(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.directory.accounts[phone.aor] = account("alice", ha1={}, contact_only=True)
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("sip-account", phone.aor))
    await site.settle()
    assert site.app.location.count == 0
    assert (await phone.send(phone.register(f"<{phone.contact}>"))).status == 401
