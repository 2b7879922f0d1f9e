"""Who is to have a provider, and what its holder tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from services.provisioning.adapters.secretbox import SecretBox
from services.provisioning.domain.leases import Held, Orphan, State, chosen, report_of
from services.provisioning.domain.programs import ProviderBinding, ShownBinding, StoredProvider
from services.provisioning.handlers.leases import Leases
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.sealing import Sealing
from services.provisioning.ports import Store
from tandem.rpc.programs import RegistrationReport

PROVIDER = StoredProvider(id="1", owner="alice", name="p", register=True)
BINDING = ProviderBinding(provider="1", owner="alice", node="a")
HELD = Held(PROVIDER, BINDING, True)
REPORT = RegistrationReport(
    provider="1", registered=True, contact="c", expires_at=200.0, tried_at=1.0, next_at=2.0,
    status=200,
)  # fmt: skip


def test_all_agree_on_who_has_what_and_only_a_share_moves() -> None:
    providers = [f"provider {number}" for number in range(600)]
    before = {p: chosen(p, ["a", "b", "c"]) for p in providers}
    assert before == {p: chosen(p, ["c", "a", "b"]) for p in providers}
    assert all(150 < count < 250 for count in Counter(before.values()).values())
    after = {p: chosen(p, ["a", "b"]) for p in providers}
    assert all(after[p] == before[p] for p in providers if before[p] != "c")
    assert chosen("any", []) == ""


def test_it_is_wanted_while_nothing_speaks_against_it() -> None:
    assert HELD.wanted
    for change in ({"register": False}, {"enabled": False}, {"removed_at": 1.0}):
        assert not Held(replace(PROVIDER, **change), BINDING, True).wanted
    assert not replace(HELD, owner_enabled=False).wanted


def test_what_is_told_is_kept_in_a_form_that_databases_take() -> None:
    told = HELD.told(replace(REPORT, reason="a\0b\r\n\udc80" + "x" * 999, contact="y" * 9999))
    assert told.binding.reason.startswith("a?b???x")
    assert (len(told.binding.reason), len(told.binding.contact)) == (255, 2048)
    assert report_of(HELD.told(REPORT).binding) == REPORT
    assert report_of(BINDING) is None


def test_one_that_moved_stays_registered_and_one_that_is_not_wanted_does_not() -> None:
    released = replace(REPORT, released=True)
    moved = HELD.told(released).binding
    assert (moved.node, moved.registered) == (None, True)
    ended = Held(replace(PROVIDER, enabled=False), BINDING, True).told(released).binding
    assert (ended.node, ended.registered) == (None, False)


def test_one_that_was_refused_for_good_is_not_wanted_any_more() -> None:
    told = HELD.told(replace(REPORT, registered=False, status=403, disable=True))
    assert not told.wanted
    assert told.binding.node == "a"


def test_each_state_has_a_word() -> None:
    def state(until: float | None, **more: object) -> str:
        binding = replace(BINDING, **more)  # type: ignore[arg-type]
        return ShownBinding(binding=binding, provider_name="p", lease_until=until).state(100.0)

    assert state(106.0, registered=True, expires_at=200.0, status=200) == "registered"
    assert state(None, registered=True, expires_at=200.0, status=200) == "registered"
    assert state(106.0, registered=True, expires_at=99.0, status=200) == "failed"
    assert state(106.0, status=403) == "failed"
    assert state(106.0, reason="no answer") == "failed"
    assert state(None, status=403) == "unregistered"
    assert state(106.0) == "trying"
    assert state(None) == "waiting"


class Rows:
    """One provider that nobody wants any more, and the node that it was given to has been silent
    for so long that it counts as dead."""

    def __init__(self) -> None:
        self.leases = self
        self.held = replace(HELD, provider=replace(PROVIDER, enabled=False))
        self.until = 0.0

    @asynccontextmanager
    async def work(self, _scope: object) -> AsyncIterator[Rows]:
        yield self

    read = write = work

    async def anything(self) -> bool:
        return self.until > 0.0 or self.held.binding.registered

    async def now(self) -> float:
        return 100.0

    async def renew(self, node: str, until: float) -> None:
        self.until = until

    async def held_by(self, node: str, only: Sequence[str] | None = None) -> list[Held]:
        return [self.held] if node == self.held.binding.node else []

    async def states(self, node: str) -> list[State]:
        return [("1", 0.0, True, False, False, False)]

    async def store(self, bindings: Iterable[ProviderBinding]) -> None:
        (binding,) = bindings
        self.held = replace(self.held, binding=binding)

    async def nodes(self, now: float) -> list[str]:
        return ["a"]

    async def orphans(self, now: float) -> list[Orphan]:
        return []


async def test_what_was_registered_while_nobody_could_be_told_is_ended() -> None:
    rows = Rows()
    nothing = cast(Any, None)
    leases = Leases(cast(Store, rows), Notices(nothing), Sealing(SecretBox(())))
    assert not (await leases.lease("a", [])).leases
    assert not rows.until
    (lease,) = (await leases.lease("a", [REPORT])).leases
    assert lease.seconds == 0
    assert rows.held.binding.registered
