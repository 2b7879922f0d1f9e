"""Which appserver gets a Call-ID: the same for all who know the same, in proportion to weights."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from services.proxy.domain.appservers import BUCKETS, Appservers

NAMES = [f"10.0.{n // 250}.{n % 250 + 1}:7000" for n in range(6)]
some = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
weighted = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 1000), min_size=1)
few = settings(max_examples=40, deadline=None)


def table(weights: dict[str, int]) -> list[str]:
    appservers = Appservers()
    appservers.set(weights)
    return appservers.table


@few
@given(weighted, st.randoms(use_true_random=False), st.binary(min_size=1, max_size=40))
def test_who_knows_the_same_chooses_alike(weights: dict[str, int], random, call_id: bytes) -> None:  # type: ignore[no-untyped-def]
    items = list(weights.items())
    random.shuffle(items)
    one, two = Appservers(), Appservers(["10.9.9.9:7000"])
    one.set(weights)
    two.set(dict(items))
    assert one.table == two.table
    assert one.pick(call_id) == two.pick(call_id)


@few
@given(some, st.sampled_from(NAMES))
def test_one_that_joins_takes_its_share_and_moves_nothing_else(
    names: list[str], joiner: str
) -> None:
    others = {name: 100 for name in names if name != joiner}
    if not others:
        return
    before, after = table(others), table(others | {joiner: 100})
    assert all(new in (old, joiner) for old, new in zip(before, after, strict=True))
    share = after.count(joiner) / BUCKETS
    assert abs(share - 1 / (len(others) + 1)) < 0.05


@few
@given(weighted, st.sampled_from(NAMES))
def test_one_that_goes_moves_its_own_calls_alone(weights: dict[str, int], leaver: str) -> None:
    rest = {name: weight for name, weight in weights.items() if name != leaver}
    before, after = table(weights), table(rest)
    if before and after:
        assert all(old in (new, leaver) for old, new in zip(before, after, strict=True))


@few
@given(st.lists(st.integers(50, 400), min_size=2, max_size=6))
def test_shares_follow_weights(weights: list[int]) -> None:
    by_name = dict(zip(NAMES, weights, strict=False))
    shares = Counter(table(by_name))
    for name, weight in by_name.items():
        assert abs(shares[name] / BUCKETS - weight / sum(weights)) < 0.05


def test_a_weight_of_zero_gets_nothing_new_and_keeps_what_it_has() -> None:
    appservers = Appservers()
    appservers.set({NAMES[0]: 0, NAMES[1]: 1}, draining=[NAMES[2]])
    assert set(appservers.table) == {NAMES[1]}
    assert appservers.alive == set(NAMES[:3])
    assert appservers.prefer(NAMES[0], b"x") == NAMES[0]
    assert appservers.prefer(NAMES[2], b"x") == NAMES[2]
    assert appservers.prefer(NAMES[3], b"x") == NAMES[1]
    appservers.set({}, draining=[NAMES[2]])
    assert appservers.pick(b"x") is None
    assert appservers.prefer(NAMES[2], b"x") == NAMES[2]


def test_listeners_hear_of_changes_alone() -> None:
    appservers, heard = Appservers(["a:1"]), []
    appservers.listeners.append(lambda: heard.append(appservers.active))
    assert not appservers.set({"a:1": 100})
    assert appservers.set({"a:1": 100, "b:1": 100})
    assert appservers.set({"b:1": 100}, draining=["a:1"])
    assert heard == [{"a:1", "b:1"}, {"b:1"}]
