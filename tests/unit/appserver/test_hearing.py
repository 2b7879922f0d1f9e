"""Bindings of other nodes while nothing is heard of those."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.appserver.domain.hearing import CATCH_UP_SECONDS, HOLD_SECONDS
from services.appserver.domain.location import HELD_SECONDS
from services.appserver.handlers.calls import Calls
from tandem.bus.location import Binding, BindingStored
from tandem.bus.phone_events import RegistrationRemoved
from tandem.bus.ports import Topic
from tests.support.appserver import Phone, account
from tests.unit.appserver.test_membership import Member, appserver, invites, natted


@pytest.fixture
async def site() -> AsyncIterator[Member]:
    accounts = account("alice"), account("bob", owner="o")
    async with Member(*accounts, node_id="as1", b2bua=Calls, reliable=False) as member:
        assert isinstance(member, Member)
        yield member


async def with_phone_of_as2(site: Member, seconds: float) -> Binding:
    """Both are there, and bob is registered at as2 for so long."""
    await site.settle_among(appserver("as1"), appserver("as2"))
    here = Phone(site, "bob")
    await here.registered()
    await here.registered(f"<{here.contact}>;expires=0")
    site.bus.take(RegistrationRemoved)
    await site.hear(site.app.describe(), appserver("as2"))
    bob = natted(site, 1, "as2", aor="bob@example.com", expires_at=site.wall + seconds)
    await site.bus.deliver(Topic.LOCATION, BindingStored(bob))
    return bob


async def listen(site: Member, seconds: float) -> None:
    """Time passes in which announcements come."""
    for _ in range(int(seconds)):
        await site.hear(site.app.describe(), appserver("as2"))
        site.advance(1)


async def called(site: Member) -> list[str]:
    """Where a call to bob goes."""
    site.link.take()
    return [uri for uri, _ in await invites(site, Phone(site), "sip:bob@example.com")]


async def test_a_phone_that_may_have_renewed_unheard_is_called(site: Member) -> None:
    bob = await with_phone_of_as2(site, 60)
    site.advance(120)  # no word from anybody
    assert await called(site) == [bob.contact]
    assert site.bus.take(RegistrationRemoved) == []


async def test_a_phone_whose_registration_ended_while_all_was_heard_is_not_called(
    site: Member,
) -> None:
    await with_phone_of_as2(site, 60)
    await listen(site, 62)
    site.advance(60)
    assert await called(site) == []
    assert site.app.location.count == 0


async def test_what_was_not_renewed_goes_when_the_others_were_heard_again(site: Member) -> None:
    bob = await with_phone_of_as2(site, 60)
    site.advance(120)
    await listen(site, CATCH_UP_SECONDS - 1)
    assert await called(site) == [bob.contact]
    await listen(site, 3)
    assert await called(site) == []
    await listen(site, HELD_SECONDS + 2)
    assert site.app.location.count == 0


async def test_a_word_that_was_kept_for_us_takes_the_place_of_what_we_held(site: Member) -> None:
    await with_phone_of_as2(site, 60)
    site.advance(120)
    moved = natted(site, 2, "as2", aor="bob@example.com", call_id="c1", cseq=2)
    await listen(site, 1)
    await site.bus.deliver(Topic.LOCATION, BindingStored(moved))
    await listen(site, CATCH_UP_SECONDS + HELD_SECONDS + 2)
    assert await called(site) == [moved.contact]
    assert site.app.location.count == 1


async def test_what_this_node_took_itself_ends_in_time(site: Member) -> None:
    await site.settle_among(appserver("as1"))
    await Phone(site, "bob").registered(expires=60)
    site.advance(70)
    assert site.app.location.count == 0
    assert await called(site) == []


async def test_nothing_is_held_for_ever(site: Member) -> None:
    await with_phone_of_as2(site, 60)
    site.advance(60 + HOLD_SECONDS + HELD_SECONDS + 2)
    assert site.app.location.count == 0
