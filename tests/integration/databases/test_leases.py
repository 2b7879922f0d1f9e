"""Who registers at which provider, decided by two instances on one database; time is moved by
moving what is stored, since the database's clock is the one that counts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.provisioning.adapters.database import open_database
from services.provisioning.adapters.tables import provider_bindings, providers, registrars
from services.provisioning.domain.leases import LEASE_SECONDS, chosen
from tandem.rpc.programs import Lease, Programs, RegistrationReport
from tests.support.databases import DatabaseServer
from tests.support.provisioning import Clock, Rig, running, sqlite_in

PATH = "/api/v1/providers"
FAR = 4_000_000_000.0


@dataclass
class Asked:
    """An instance that is asked by nodes which know no list yet."""

    programs: Programs

    async def lease(
        self, node: str, reports: Sequence[RegistrationReport], *, leaving: bool = False
    ) -> list[Lease]:
        return list((await self.programs.lease(node, reports, leaving=leaving)).leases)


@dataclass
class Site:
    """Two instances, whose clocks are an hour apart, on one database."""

    rigs: Sequence[Rig]
    engine: AsyncEngine

    @property
    def one(self) -> Asked:
        return Asked(self.rigs[0].service.programs)

    @property
    def two(self) -> Asked:
        return Asked(self.rigs[1].service.programs)

    async def make(self, count: int, *, prefix: str = "p", **more: Any) -> list[str]:
        """Providers to register at; their ids."""
        async with await self.rigs[0].admin() as admin:
            found = []
            for number in range(count):
                body = {
                    "name": f"{prefix}{number}", "server": "sip.example.com", "username": "me",
                    "password": "rosebud", "register": True, "register_contact": "me",
                }  # fmt: skip
                answer = await admin.post(PATH, json=body | more)
                assert answer.status_code == 201, answer.text
                found.append(answer.json()["id"])
        return found

    async def change(self, provider: str, **changes: Any) -> None:
        async with await self.rigs[1].admin() as admin:
            answer = await admin.patch(f"{PATH}/{provider}", json=changes)
            assert answer.status_code == 200, answer.text

    async def delete(self, provider: str) -> None:
        async with await self.rigs[1].admin() as admin:
            assert (await admin.delete(f"{PATH}/{provider}")).status_code == 204

    async def pass_time(self, seconds: float, *nodes: str) -> None:
        """As if these nodes (or all) had last asked so much earlier."""
        async with self.engine.begin() as connection:
            statement = update(registrars).values(until=registrars.c.until - seconds)
            if nodes:
                statement = statement.where(registrars.c.node.in_(nodes))
            await connection.execute(statement)

    async def shown(self) -> list[dict[str, Any]]:
        async with await self.rigs[0].admin() as admin:
            answer = await admin.get("/api/v1/provider-bindings")
        items: list[dict[str, Any]] = answer.json()["items"]
        return items


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "sqlite":
        url = sqlite_in(tmp_path)
    else:
        server: DatabaseServer = request.getfixturevalue(request.param)
        url = server.fresh_database()
    behind = Clock()
    behind.now -= 3600
    async with running(url) as first, running(url, clock=behind) as second:
        engine = await open_database(url, wait_seconds=30)
        yield Site((first, second), engine)
        await engine.dispose()


def held(leases: Sequence[Lease]) -> set[str]:
    return {lease.provider.id for lease in leases if lease.seconds}


def given_up(leases: Sequence[Lease]) -> dict[str, bool]:
    """Those to be given up, and whether another goes on with them."""
    return {lease.provider.id: lease.moved for lease in leases if not lease.seconds}


def with_contact(leases: Sequence[Lease], contact: str) -> set[str]:
    """Those of which this contact was last told."""
    return {one.provider.id for one in leases if one.last and one.last.contact == contact}


def report(provider: str, **more: Any) -> RegistrationReport:
    made = RegistrationReport(
        provider=provider, registered=True, contact="sip:me@192.0.2.1", expires_at=FAR,
        tried_at=1.0, status=200,
    )  # fmt: skip
    return replace(made, **more)


def released(provider: str, *, registered: bool) -> RegistrationReport:
    return report(provider, registered=registered, released=True)


async def turns(site: Site, nodes: Sequence[str], rounds: int = 4) -> dict[str, set[str]]:
    """Let nodes ask in turn, at both instances, and obey; what each has in the end. No provider is
    ever held by two."""
    having: dict[str, set[str]] = {node: set() for node in nodes}
    reports: dict[str, list[RegistrationReport]] = {node: [] for node in nodes}
    for number in range(rounds):
        for place, node in enumerate(nodes):
            programs = (site.one, site.two)[(number + place) % 2]
            leases = await programs.lease(node, reports[node])
            having[node] = held(leases)
            reports[node] = [released(key, registered=m) for key, m in given_up(leases).items()]
            counted = Counter(key for keys in having.values() for key in keys)
            assert set(counted.values()) <= {1}
    return having


async def test_each_provider_is_one_nodes_and_they_share_them_evenly(site: Site) -> None:
    keys = await site.make(40)
    nodes = ["a", "b", "c"]
    having = await turns(site, nodes)
    assert set.union(*having.values()) == set(keys)
    assert having == {n: {k for k in keys if chosen(k, nodes) == n} for n in nodes}
    assert min(map(len, having.values())) > 4


async def test_two_that_ask_at_once_never_get_the_same(site: Site) -> None:
    keys = await site.make(20)
    for _ in range(5):
        leases = await asyncio.gather(
            *(p.lease(n, []) for n in ("a", "b", "c", "d") for p in (site.one, site.two))
        )
        owners: dict[str, set[str]] = {}
        nodes = [n for n in ("a", "b", "c", "d") for _ in range(2)]
        for node, found in zip(nodes, leases, strict=True):
            for key in held(found):
                owners.setdefault(key, set()).add(node)
        assert all(len(names) == 1 for names in owners.values())
    assert set(owners) <= set(keys)


async def test_a_lease_comes_with_all_that_it_takes_to_register(site: Site) -> None:
    (key,) = await site.make(1, register_expires=90)
    (lease,) = await site.one.lease("a", [])
    assert (lease.seconds, lease.moved, lease.last) == (LEASE_SECONDS, False, None)
    assert (lease.provider.password, lease.provider.register_expires) == ("rosebud", 90)
    assert lease.provider.register_contact == "me@local"
    told = report(key, status=401, registered=False, reason="wrong\r\npassword", next_at=FAR)
    (again,) = await site.two.lease("a", [told])
    assert again.last is not None
    assert (again.last.status, again.last.reason) == (401, "wrong??password")
    (shown,) = await site.shown()
    assert (shown["state"], shown["node"]) == ("failed", "a")
    assert (shown["reason"], shown["name"]) == ("wrong??password", "p0")


async def test_a_node_that_dies_is_followed_by_another_when_its_leases_end(site: Site) -> None:
    keys = await site.make(10)
    having = await turns(site, ["a", "b"])
    await site.one.lease("a", [report(key, contact="of a") for key in keys])
    await site.pass_time(LEASE_SECONDS - 1, "a")
    assert len(held(await site.two.lease("b", []))) < 10
    await site.pass_time(2, "a")
    leases = await site.two.lease("b", [])
    assert held(leases) == set(keys)
    assert with_contact(leases, "of a") == having["a"]
    # and when it was only frozen, it learns that it has nothing any more
    assert held(await site.one.lease("a", [report(key, contact="late") for key in keys])) == set()
    shown = {one["contact"] for one in await site.shown()}
    assert "late" not in shown


async def test_all_leases_end_and_nobody_is_asked_for_a_while(site: Site) -> None:
    keys = await site.make(6)
    await turns(site, ["a", "b"])
    await site.pass_time(600)
    assert (await turns(site, ["a", "b"])).keys() == {"a", "b"}
    having = await turns(site, ["a", "b"])
    assert set.union(*having.values()) == set(keys)


async def test_a_node_that_joins_gets_its_share_from_the_others(site: Site) -> None:
    keys = await site.make(20)
    assert held(await site.one.lease("a", [])) == set(keys)
    assert held(await site.two.lease("b", [])) == set()
    leases = await site.one.lease("a", [])
    moving = given_up(leases)
    assert set(moving) == {key for key in keys if chosen(key, ["a", "b"]) == "b"}
    assert set(moving.values()) == {True}
    # until it says that it has let go of them, nobody has them
    assert held(await site.two.lease("b", [])) == set()
    assert set(given_up(await site.one.lease("a", [report(key) for key in moving]))) == set(moving)
    assert held(await site.two.lease("b", [])) == set()
    await site.one.lease("a", [released(key, registered=True) for key in moving])
    assert held(await site.two.lease("b", [])) == set(moving)
    states = Counter(one["state"] for one in await site.shown())
    assert states["registered"] == len(moving)


async def test_a_node_that_leaves_gives_all_back_at_once(site: Site) -> None:
    keys = await site.make(10)
    having = await turns(site, ["a", "b"])
    last = [report(key, contact="of a") for key in having["a"]]
    assert await site.one.lease("a", last, leaving=True) == []
    leases = await site.two.lease("b", [])
    assert held(leases) == set(keys)
    assert with_contact(leases, "of a") == having["a"]
    # what was on its way when it left changes nothing
    assert given_up(await site.two.lease("b", [])) == {}
    assert await site.one.lease("nobody", [], leaving=True) == []


@pytest.mark.parametrize("how", ["disabled", "not registered", "deleted", "suspended"])
async def test_one_that_is_not_wanted_any_more_is_unregistered_by_its_holder(
    site: Site, how: str
) -> None:
    async with await site.rigs[0].admin() as admin:
        customer = {"username": "alice", "password": "sesame of alice"}
        await admin.post("/api/v1/customers", json=customer)
    (key,) = await site.make(1, owner="alice", register_contact="alice")
    (other,) = await site.make(1)
    await site.one.lease("a", [])
    await site.one.lease("a", [report(key)])
    if how == "deleted":
        await site.delete(key)
    elif how == "suspended":
        async with await site.rigs[1].admin() as admin:
            await admin.patch("/api/v1/customers/alice", json={"suspended": True})
    else:
        changes = {"enabled": False} if how == "disabled" else {"register": False}
        await site.change(key, **changes)
    for _ in range(2):
        leases = await site.two.lease("a", [])
        assert given_up(leases) == {key: False}
        assert held(leases) == {other}
    password = {lease.provider.id: lease.provider.password for lease in leases}[key]
    assert password == "rosebud"
    assert given_up(await site.one.lease("a", [released(key, registered=False)])) == {}
    assert given_up(await site.one.lease("a", [])) == {}
    async with site.engine.connect() as connection:
        left = set((await connection.execute(select(providers.c.id))).scalars())
    assert left == ({other} if how == "deleted" else {key, other})


async def test_what_its_dead_holder_can_not_unregister_another_does(site: Site) -> None:
    keys = await site.make(3)
    await site.one.lease("a", [])
    await site.one.lease("a", [report(keys[0]), report(keys[1], expires_at=1.0)])
    for key in keys:
        await site.delete(key)
    await site.pass_time(LEASE_SECONDS + 1)
    # only where a registration may linger
    assert given_up(await site.two.lease("b", [])) == {keys[0]: False}
    # however that ends, it is not asked for again and again
    assert given_up(await site.two.lease("b", [released(keys[0], registered=True)])) == {}
    assert given_up(await site.two.lease("b", [])) == {}
    async with await site.rigs[0].admin() as admin:
        made = (await admin.post(PATH, json={"name": "x", "server": "a.b", "username": "1"})).json()
        await admin.delete(f"{PATH}/{made['id']}")
    async with site.engine.connect() as connection:
        assert (await connection.execute(select(providers.c.id))).all() == []
        assert (await connection.execute(select(provider_bindings.c.provider))).all() == []


async def test_what_was_refused_for_good_waits_for_its_owner(site: Site) -> None:
    (key,) = await site.make(1)
    await site.one.lease("a", [])
    refused = report(key, registered=False, status=403, reason="Forbidden", disable=True)
    assert given_up(await site.two.lease("a", [refused])) == {key: False}
    await site.two.lease("a", [report(key, registered=False, status=403, released=True)])
    await site.rigs[1].delivered()
    assert any(getattr(p, "kind", "") == "provider" for p in site.rigs[1].published)
    async with await site.rigs[0].admin() as admin:
        assert (await admin.get(f"{PATH}/{key}")).json()["register"] is False
    assert await site.one.lease("a", []) == []
    (shown,) = await site.shown()
    assert (shown["state"], shown["status"], shown["node"]) == ("unregistered", 403, None)
    await site.change(key, register=True)
    assert held(await site.one.lease("a", [])) == {key}


async def test_a_change_reaches_the_holder_and_not_the_lease(site: Site) -> None:
    (key,) = await site.make(1)
    await site.one.lease("a", [])
    await site.change(key, server="other.example", password="new")
    (lease,) = await site.one.lease("a", [])
    assert (lease.provider.server, lease.provider.password) == ("sip:other.example", "new")
    assert lease.seconds == LEASE_SECONDS


async def test_a_call_takes_as_many_statements_for_many_providers_as_for_one(site: Site) -> None:
    counted: list[int] = []
    store: Any = site.rigs[0].service
    engine = store._store._engine.sync_engine
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1

    for more, prefix in ((1, "one"), (60, "many")):
        keys = await site.make(more, prefix=prefix)
        await site.one.lease("a", [])
        event.listen(engine, "after_cursor_execute", count)
        seen = 0
        await site.one.lease("a", [report(key) for key in keys])
        event.remove(engine, "after_cursor_execute", count)
        counted.append(seen)
    assert counted[0] == counted[1]


async def test_what_is_known_already_does_not_come_again(site: Site) -> None:
    keys = await site.make(3)
    await site.make(1, prefix="off", enabled=False)
    known = ""

    async def news(*told: RegistrationReport) -> set[str] | None:
        """What is held now, asked of either instance in turn; None: what is known."""
        nonlocal known
        site.rigs = site.rigs[::-1]
        programs = site.one.programs
        holding = await programs.lease("a", told, known=known)
        known = holding.version
        assert known
        if holding.unchanged:
            assert holding.leases == ()
            return None
        return held(holding.leases)

    assert await news() == set(keys)
    assert [await news() for _ in range(3)] == [None] * 3
    assert await news(*(report(key) for key in keys)) is None  # it is the node that tells so
    assert {one["contact"] for one in await site.shown()} == {"sip:me@192.0.2.1"}
    site.rigs[1].clock.now += 1
    site.rigs[0].clock.now += 1
    await site.change(keys[0], server="other.example")
    assert await news() == set(keys)
    await site.change(keys[0], enabled=False)
    assert await news() == set(keys[1:])
    assert await news() is None
    await site.one.lease("a", [released(keys[0], registered=False)])
    assert await news() == set(keys[1:])
    await site.delete(keys[1])
    assert await news() == {keys[2]}
    refused = report(keys[2], registered=False, status=403, disable=True)
    assert await news(refused) == set()


async def test_who_comes_and_goes_is_news_to_who_knows_its_list(site: Site) -> None:
    keys = set(await site.make(20))
    programs = site.one.programs
    first = await programs.lease("a", [])
    assert held(first.leases) == keys
    await site.two.lease("b", [])
    second = await programs.lease("a", [], known=first.version)
    moving = given_up(second.leases)
    assert moving
    third = await programs.lease("a", [], known=second.version)
    assert third.unchanged
    await site.pass_time(LEASE_SECONDS + 1, "b")
    fourth = await programs.lease("a", [], known=third.version)
    assert held(fourth.leases) == keys
    # and time goes on for who is told that nothing changed
    await site.pass_time(LEASE_SECONDS - 1, "a")
    assert (await programs.lease("a", [], known=fourth.version)).unchanged
    await site.pass_time(LEASE_SECONDS - 1, "a")
    assert await site.two.lease("b", []) == []
    await site.pass_time(2, "a")
    assert held(await site.two.lease("b", [])) == keys
    lost = await programs.lease("a", [], known=fourth.version)
    assert not lost.unchanged
    assert held(lost.leases) == set()


async def test_where_nobody_has_providers_nothing_is_written(site: Site) -> None:
    assert await site.one.lease("a", []) == []
    async with site.engine.connect() as connection:
        assert (await connection.execute(select(registrars))).all() == []


async def test_what_a_dead_node_left_behind_and_nobody_wants_is_not_written_for(site: Site) -> None:
    (key,) = await site.make(1)
    await site.one.lease("a", [])
    await site.one.lease("a", [report(key, expires_at=1.0)])
    await site.change(key, enabled=False)
    await site.pass_time(LEASE_SECONDS + 1)
    assert await site.two.lease("b", []) == []
    async with site.engine.connect() as connection:
        assert (await connection.execute(select(registrars.c.node))).scalars().all() == ["a"]


async def test_the_databases_clock_is_right(site: Site) -> None:
    await site.make(1)
    await site.one.lease("a", [])
    async with site.engine.connect() as connection:
        until = (await connection.execute(select(registrars.c.until))).scalar_one()
    assert abs(until - LEASE_SECONDS - time.time()) < 60
