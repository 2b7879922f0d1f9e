"""What waits to be written when the database is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.provisioning.domain.scope import Scope
from services.provisioning.handlers import location
from services.provisioning.handlers.location import LocationCopy
from services.provisioning.ports import Store
from tandem.bus.location import Binding, BindingRemoved, BindingStored
from tandem.bus.ports import Envelope, Later
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.location import a_binding

NOW = 1_800_000_000.0


class FakeStore:
    """Notes what is written, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.written: list[Binding] = []
        self.removed: list[Binding] = []
        self.transactions = 0

    @asynccontextmanager
    async def write(self, _scope: Scope) -> AsyncIterator[Any]:
        if self.away:
            raise DirectoryUnavailable("away")
        self.transactions += 1
        yield SimpleNamespace(bindings=self)

    async def store(self, bindings: Iterable[Binding]) -> None:
        self.written += bindings

    async def remove(self, bindings: Iterable[Binding], _now: float) -> None:
        self.removed += bindings


def _copy(store: FakeStore, *, kept: bool = False) -> LocationCopy:
    return LocationCopy(cast(Store, store), lambda: NOW, kept=kept)


def _envelopes(*bindings: Binding, renewed: bool = False) -> list[Envelope]:
    return [Envelope("1", NOW, "n", BindingStored(binding, renewed)) for binding in bindings]


async def test_refreshes_of_one_binding_are_one_row() -> None:
    store = FakeStore()
    copy = _copy(store)
    refreshes = [a_binding(NOW + n) for n in range(10)]
    await copy.take(_envelopes(*refreshes))
    await copy.flush()
    assert store.written == [refreshes[-1]]


async def test_what_could_not_be_written_waits_and_newer_words_win() -> None:
    store = FakeStore()
    copy = _copy(store)
    store.away = True
    await copy.take(_envelopes(a_binding(NOW), a_binding(NOW, aor="hall@local")))
    with pytest.raises(DirectoryUnavailable):
        await copy.flush()
    await copy.flush_or_log()
    newer = a_binding(NOW + 1)
    await copy.take(_envelopes(newer))
    store.away = False
    await copy.flush()
    assert sorted(b.aor for b in store.written) == ["desk@local", "hall@local"]
    assert newer in store.written


async def test_what_waits_is_bounded_and_written_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(location, "MAX_PENDING", 25)
    monkeypatch.setattr(location, "BATCH", 10)
    store = FakeStore()
    copy = _copy(store)
    await copy.take(_envelopes(*(a_binding(NOW, aor=f"u{n:02}@local") for n in range(30))))
    await copy.flush()
    assert copy.dropped == 5
    assert [b.aor for b in store.written] == [f"u{n:02}@local" for n in range(5, 30)]
    assert store.transactions == 3


async def test_what_a_broker_keeps_is_taken_only_when_it_is_written() -> None:
    store = FakeStore()
    copy = _copy(store, kept=True)
    store.away = True
    for _ in range(2):  # as often as the broker gives it
        with pytest.raises(Later):
            await copy.take(_envelopes(a_binding(NOW)))
    store.away = False
    await copy.take(_envelopes(a_binding(NOW)))
    assert store.written == [a_binding(NOW)]
    assert len(copy) == 0


async def test_refreshes_are_not_taken_either_while_others_can_not_be_written() -> None:
    store = FakeStore()
    copy = _copy(store, kept=True)
    store.away = True
    for binding, renewed in ((a_binding(NOW), False), (a_binding(NOW, aor="hall@local"), True)):
        with pytest.raises(Later):
            await copy.take(_envelopes(binding, renewed=renewed))


async def test_a_refresh_is_taken_at_once_and_written_with_others() -> None:
    store = FakeStore()
    copy = _copy(store, kept=True)
    store.away = True
    await copy.take(_envelopes(a_binding(NOW), a_binding(NOW, aor="hall@local"), renewed=True))
    assert (len(copy), store.transactions) == (2, 0)
    store.away = False
    await copy.flush()
    assert (len(store.written), store.transactions) == (2, 1)


async def test_when_too_many_refreshes_wait_the_broker_keeps_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(location, "MAX_PENDING", 3)
    store = FakeStore()
    copy = _copy(store, kept=True)
    store.away = True
    some = [a_binding(NOW, aor=f"u{n}@local") for n in range(5)]
    await copy.take(_envelopes(*some, renewed=True))
    with pytest.raises(Later):
        await copy.take(_envelopes(a_binding(NOW), renewed=True))
    assert (len(copy), copy.dropped) == (5, 0)
    store.away = False
    await copy.take(_envelopes(a_binding(NOW), renewed=True))
    assert store.written == some


async def test_a_removal_beats_the_registration_that_it_removes_and_no_later_one() -> None:
    store = FakeStore()
    copy = _copy(store)
    first = a_binding(NOW)
    await copy.take([Envelope("1", NOW, "n", BindingRemoved(first, "unregistered"))])
    await copy.take(_envelopes(first))
    await copy.flush()
    assert store.written == []
    later = a_binding(NOW + 1, cseq=2)
    await copy.take([Envelope("1", NOW, "n", BindingRemoved(first, "unregistered"))])
    await copy.take(_envelopes(later))
    await copy.flush()
    assert store.written == [later]


async def test_the_beginning_and_the_end_of_an_absence_are_told_and_no_try(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = FakeStore()
    copy = _copy(store, kept=True)
    store.away = True
    for _ in range(3):
        with pytest.raises(Later):
            await copy.take(_envelopes(a_binding(NOW)))
        assert not await copy.flush_or_log()
    store.away = False
    assert await copy.flush_or_log()
    assert await copy.flush_or_log()
    assert [record.message for record in caplog.records] == [
        "bindings wait to be written: away",
        "bindings are written again",
    ]
