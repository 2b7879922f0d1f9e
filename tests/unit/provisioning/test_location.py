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
from tandem.bus.location import Binding, BindingStored
from tandem.bus.ports import Envelope
from tandem.rpc.directory import DirectoryUnavailable
from tests.support.location import a_binding

NOW = 1_800_000_000.0


class FakeStore:
    """Notes what is written, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.written: list[Binding] = []
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
        assert list(bindings) == []


def _copy(store: FakeStore) -> LocationCopy:
    return LocationCopy(cast(Store, store), lambda: NOW)


def _envelopes(*bindings: Binding) -> list[Envelope]:
    return [Envelope("1", NOW, "n", BindingStored(binding)) for binding in bindings]


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
