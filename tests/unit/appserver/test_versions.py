"""Which version of a binding holds: all replicas agree, whatever they heard in whatever order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.appserver.domain.location import LocationTable
from services.appserver.domain.versions import MAX_VERSIONS
from tandem.bus.location import Binding, BindingRemoved, BindingStored

NOW = 1000.0
AOR = "alice@example.com"
FIRST = Binding(
    AOR, "o", "sip:a@h", "udp:203.0.113.7:5060", ("<sip:tok@p1;lr>",), 1.0, "", 0, "c", 1, "ua",
    NOW, NOW + 600, "as2", "p1",
)  # fmt: skip

News = BindingStored | BindingRemoved


def version(call_id: str, cseq: int, at: float, node: str = "as2", ends: float = 600) -> Binding:
    return replace(
        FIRST, call_id=call_id, cseq=cseq, registered_at=NOW + at, node=node, expires_at=NOW + ends
    )


def replica(*news: News, wall: float = NOW) -> tuple[Binding, ...]:
    """What a table holds that heard this."""
    table = LocationTable("as1")
    for item in news:
        if isinstance(item, BindingStored):
            table.learn(item, wall)
        else:
            table.forget(item, wall)
    assert table.count == len(table.bindings(AOR))
    return table.bindings(AOR)


versions = st.builds(
    version,
    st.sampled_from(["c", "d", "e"]),
    st.integers(1, 4),
    st.integers(-3, 3),
    st.sampled_from(["as1", "as2", "as3"]),
    st.sampled_from([-5, 600]),
)
changes = st.one_of(
    versions.map(BindingStored), versions.map(lambda b: BindingRemoved(b, "unregistered"))
)


def unambiguous(news: list[News]) -> bool:
    """One REGISTER that one node took at one time makes one version, which ends at one time."""
    ends: dict[tuple[object, ...], float] = {}
    return all(
        ends.setdefault((b.call_id, b.cseq, b.registered_at, b.node), b.expires_at) == b.expires_at
        for b in (item.binding for item in news)
    )


@given(st.lists(changes, min_size=2, max_size=6).filter(unambiguous), st.randoms())
def test_any_order_of_the_same_news_leads_to_the_same_table(
    news: list[News], random: object
) -> None:
    shuffled = list(news)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis gives a random.Random
    assert replica(*news) == replica(*shuffled) == replica(*news, *shuffled)


def test_of_one_call_id_the_higher_cseq_holds_though_a_clock_is_behind() -> None:
    old, new = version("c", 5, at=4), version("c", 6, at=0, node="as3")
    for order in permutations([BindingStored(old), BindingStored(new)]):
        assert replica(*order) == (new,)


def test_of_two_call_ids_the_later_registration_holds() -> None:
    old, new = version("c", 9, at=0), version("d", 1, at=1)
    for order in permutations([BindingStored(old), BindingStored(new)]):
        assert replica(*order) == (new,)


def test_three_versions_that_beat_each_other_in_turn_end_alike_everywhere() -> None:
    a, b, c = version("c", 5, at=0), version("d", 1, at=1), version("c", 4, at=2)
    for order in permutations([BindingStored(a), BindingStored(b), BindingStored(c)]):
        assert replica(*order) == (b,)


def test_an_unregistration_holds_against_a_late_registration_of_a_fast_clock() -> None:
    taken = version("c", 5, at=4, node="as3")
    gone = BindingRemoved(version("c", 6, at=0), "unregistered")
    news: list[News] = [BindingStored(taken), gone]
    for order in permutations(news):
        assert replica(*order) == ()


def test_a_version_that_has_expired_still_ends_the_older_one() -> None:
    old, brief = version("c", 1, at=0), version("d", 1, at=1, ends=-1)
    for order in permutations([BindingStored(old), BindingStored(brief)]):
        assert replica(*order) == ()


def test_what_lost_stays_dead_after_the_winner_expired() -> None:
    table = LocationTable("as1")
    old, brief = version("c", 1, at=0), version("d", 1, at=1, ends=60)
    table.learn(BindingStored(old), NOW)
    table.learn(BindingStored(brief), NOW)
    assert table.expire(NOW + 62) == [brief]
    table.learn(BindingStored(old), NOW + 62)
    assert table.count == 0


def test_a_phone_that_starts_again_and_again_is_remembered_within_bounds() -> None:
    news = [BindingStored(version(f"c{n}", 1, at=n)) for n in range(3 * MAX_VERSIONS)]
    assert replica(*news, *news) == (news[-1].binding,)


# -- what this node decides ----------------------------------------------------------------------


def test_a_decision_is_dated_after_what_is_known_though_the_clock_is_behind() -> None:
    table = LocationTable("as1")
    table.learn(BindingStored(version("c", 5, at=4)), NOW)
    ours = table.dated(version("d", 1, at=0, node="as1"), NOW)
    assert ours is not None
    assert ours.registered_at > NOW + 4
    assert ours.expires_at == NOW + 600
    table.put(ours)
    assert replica(BindingStored(ours), BindingStored(version("c", 5, at=4))) == (ours,)


def test_a_decision_is_dated_after_a_removal_too() -> None:
    table = LocationTable("as1")
    table.forget(BindingRemoved(version("c", 5, at=4), "unregistered"), NOW)
    ours = table.dated(version("d", 1, at=0, node="as1"), NOW)
    assert ours is not None
    assert ours.registered_at > NOW + 4


@pytest.mark.parametrize("cseq", [4, 5])
def test_what_a_phone_took_away_is_not_put_back_by_an_older_register(cseq: int) -> None:
    table = LocationTable("as1")
    table.forget(BindingRemoved(version("c", 5, at=0), "unregistered"), NOW)
    assert table.dated(version("c", cseq, at=1), NOW) is None
    assert table.dated(version("c", 6, at=1), NOW) is not None


def test_own_bindings_are_counted() -> None:
    table = LocationTable("as1")
    mine = replace(FIRST, node="as1")
    table.put(mine)
    assert (table.count, table.own) == (1, 1)
    table.learn(BindingStored(version("c", 2, at=1)), NOW)
    assert (table.count, table.own) == (1, 0)
    table.put(version("c", 3, at=2, node="as1"))
    table.expire(NOW + 602)
    assert (table.count, table.own) == (0, 0)
