"""Events, provisioning, the broker and the database go away under load, one at a time, and come
back: no call, no registration, no event and no call record is lost.

Two clusters are broken at the same time, as each has to do without something for minutes. The tests
judge what their users saw.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.cluster import DOMAIN, Cluster
from tests.support.outage import BRIEF, REGISTER_SECONDS, Facts, Outage, lost, waiting

logger = logging.getLogger(__name__)

OUTAGE_SECONDS = 60.0
SHORT_SECONDS = 5.0
"""For what starts again by itself within seconds."""
NEW = 3
"""Phones that register for the first time in an outage."""


@dataclass(frozen=True)
class Site:
    """A cluster, what is broken in it, and what was seen."""

    name: str
    cluster: Cluster
    facts: Facts


async def without_servers(cluster: Cluster) -> Facts:
    """One events node, both, provisioning, the broker."""
    first, second = cluster.events
    async with Outage(cluster) as outage:
        await outage.know(NEW)
        first.kill()
        await outage.call_by_accounts(OUTAGE_SECONDS / 2)
        await asyncio.sleep(SHORT_SECONDS)
        second.kill()
        await asyncio.sleep(SHORT_SECONDS)
        await outage.look("without events")
        await asyncio.gather(first.start(), second.start())
        await outage.well("events")

        cluster.provisioning.kill()
        await outage.register_new("provisioning")
        await outage.register_stranger("provisioning", "stranger1")
        await outage.reinvite()
        await asyncio.sleep(SHORT_SECONDS)
        await cluster.provisioning.start()
        await outage.well("provisioning")

        await outage.know(NEW)
        cluster.broker.kill()
        until = asyncio.create_task(asyncio.sleep(OUTAGE_SECONDS))
        await outage.call_by_accounts(OUTAGE_SECONDS - 5)
        await asyncio.sleep(SHORT_SECONDS)
        await outage.look("broker away")
        users = await outage.register_new("broker")
        await outage.register_stranger("broker", "stranger2")
        await outage.reinvite()
        await outage.read("broker away")
        await until
        await outage.look("broker still away")
        await asyncio.sleep(REGISTER_SECONDS + 2)  # what was heard of the brief phone has ended
        await outage.find("broker still away", [BRIEF])
        cluster.broker.spawn()
        await cluster.broker.ready()
        await outage.well("broker")
        await outage.find("broker", users)
        await outage.end()
        return outage.facts


async def without_database(cluster: Cluster) -> Facts:
    """PostgreSQL is away, and then takes no writes."""
    async with Outage(cluster) as outage:
        victim = (await cluster.api.add_account("victim", "secret1"))["id"]
        await outage.know(NEW)
        await outage.note_accounts("before")
        cluster.database.kill()
        until = asyncio.create_task(asyncio.sleep(OUTAGE_SECONDS))
        await outage.call_by_accounts(OUTAGE_SECONDS - 5)
        await outage.write("database away", victim, "never1")
        users = await outage.register_new("database")
        await outage.register_stranger("database", "stranger1")
        await outage.reinvite()
        await until
        await outage.write("database still away", victim, "never2")
        await outage.look("database away")
        cluster.database.spawn()
        await cluster.database.ready()
        await outage.well("database")
        await outage.find("database", users)
        await outage.note_accounts("after the database was away")

        await outage.know(NEW)
        cluster.database.read_only(True)
        await outage.refuses_writes(victim)
        until = asyncio.create_task(asyncio.sleep(OUTAGE_SECONDS))
        await outage.call_by_accounts(OUTAGE_SECONDS - 5)
        await outage.write("read-only", victim, "never3")
        users = await outage.register_new("read-only")
        await outage.register_stranger("read-only", "stranger2")
        await outage.read("read-only")
        await outage.reinvite()
        await until
        await outage.write("still read-only", victim, "never4")
        await outage.read("still read-only")
        await outage.look("read-only")
        cluster.database.read_only(False)
        await outage.well("read-only")
        await outage.find("read-only", users)
        await outage.note_accounts("after it was read-only")
        await outage.write("well again", victim, "made")
        await outage.end()
        return outage.facts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites() -> AsyncIterator[dict[str, Site]]:
    """Both clusters, broken and well again."""
    clusters = {"servers": Cluster(), "database": Cluster()}
    try:
        await asyncio.gather(*(cluster.start() for cluster in clusters.values()))
        for cluster in clusters.values():
            await cluster.log_in()
            for number in (1, 2):
                await cluster.api.add_account(f"stranger{number}", "secret1")
        async with asyncio.TaskGroup() as group:
            stories = [
                group.create_task(without_servers(clusters["servers"])),
                group.create_task(without_database(clusters["database"])),
            ]
        facts = [story.result() for story in stories]
        for name, found in zip(clusters, facts, strict=True):
            for what, seconds in found.seconds.items():
                logger.info("%s: %s: %.1f s", name, what, seconds)
        yield {
            name: Site(name, cluster, found)
            for (name, cluster), found in zip(clusters.items(), facts, strict=True)
        }
    finally:
        for cluster in clusters.values():
            await cluster.log_out()
        await asyncio.gather(*(cluster.stop() for cluster in clusters.values()))


@pytest.fixture(params=["servers", "database"])
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    """Each of them."""
    return sites[request.param]


def test_no_call_is_refused_or_lost(site: Site) -> None:
    assert len(site.facts.calls) > 300
    assert [call for call in site.facts.calls.values() if not call.well] == []


def test_no_registration_is_refused(site: Site) -> None:
    statuses = site.facts.phones.statuses()
    assert set(statuses) == {200}, [a for a in site.facts.phones.answers if a.status != 200]
    assert statuses[200] > 300


def test_phones_of_known_accounts_register_for_the_first_time(site: Site) -> None:
    assert site.facts.new
    for outage, answers in site.facts.new.items():
        assert [answer.status for answer in answers] == [200] * NEW, outage


def test_an_account_that_nobody_knows_is_told_to_come_again(site: Site) -> None:
    for outage, answer in site.facts.stranger.items():
        if outage in ("provisioning", "database"):
            assert (answer.status, bool(answer.retry_after)) == (503, True), (outage, answer)
        else:
            assert answer.status == 200, (outage, answer)


def test_who_registered_in_an_outage_is_called_through_every_appserver(site: Site) -> None:
    for outage, statuses in site.facts.found.items():
        assert set(statuses) == {200}, outage


def test_each_call_has_one_record(site: Site) -> None:
    records = site.facts.records
    missing = site.facts.calls.keys() - records.keys()
    assert missing == set()
    assert [found for found in records.values() if len(found) != 1] == []
    for call in site.facts.calls.values():
        (record,) = records[call.call_id]
        assert record["status"] == 200
        assert record["answered_at"] is not None
    challenged = [r for (r,) in records.values() if r["caller"] == f"sip:caller@{DOMAIN}"]
    assert len(challenged) == site.facts.challenged
    assert {record["status"] for record in challenged} == {200}


def test_consoles_miss_nothing_and_see_nothing_twice(site: Site) -> None:
    log = site.facts.log
    assert len(log) == len(set(log)) > 1000
    for console in site.facts.consoles:
        assert console.gaps == 0
        assert console.ids == log[: len(console.ids)]
        assert len(console.ids) >= len(log) - 100  # the load's last words came after


def test_counters_tell_that_nothing_was_lost(site: Site) -> None:
    for name, metrics in site.facts.metrics["end"].items():
        assert lost(metrics) == 0, name
        assert metrics["tandem_bus_connected"] == 1, name
        assert waiting(metrics) < 50, name


def test_metrics_show_a_broker_that_is_away(sites: dict[str, Site]) -> None:
    found = sites["servers"].facts.metrics
    early, late = found["broker away"], found["broker still away"]
    for name in early:
        assert early[name]["tandem_bus_connected"] == late[name]["tandem_bus_connected"] == 0
    for topic in ("events", "location"):
        outbox = f'tandem_bus_outbox{{topic="{topic}"}}'
        age = f'tandem_bus_outbox_age_seconds{{topic="{topic}"}}'
        for name in ("appserver1", "appserver2"):
            assert 0 < early[name][outbox] < late[name][outbox]
            assert late[name][age] > OUTAGE_SECONDS / 2


def test_metrics_show_events_that_wait_for_the_database(sites: dict[str, Site]) -> None:
    found = sites["database"].facts.metrics
    for moment in ("database away", "read-only"):
        delays = [
            found[moment][node.name]["tandem_events_ingest_delay_seconds"]
            for node in sites["database"].cluster.events
        ]
        assert max(delays) > OUTAGE_SECONDS / 2, moment


def test_without_the_database_a_write_is_refused_and_changes_nothing(
    sites: dict[str, Site],
) -> None:
    facts = sites["database"].facts
    for moment in ("database away", "database still away", "read-only", "still read-only"):
        writes = facts.writes[moment]
        assert [(method, status) for method, status, _ in writes] == [
            ("PATCH", 503),
            ("DELETE", 503),
            ("POST", 503),
        ], moment
        assert all(after is not None and int(after) > 0 for *_, after in writes), moment
    before = facts.accounts["before"]
    assert facts.accounts["after the database was away"] == before
    after = facts.accounts["after it was read-only"]
    assert {name: account for name, account in after.items() if name in before} == before
    assert not any(name.startswith("never") for name in after)
    assert [status for _, status, _ in facts.writes["well again"]] == [200, 204, 201]


def test_reading_goes_on_without_the_broker_and_with_a_database_that_takes_no_writes(
    sites: dict[str, Site],
) -> None:
    reads = {**sites["servers"].facts.reads, **sites["database"].facts.reads}
    assert set(reads) == {"broker away", "read-only", "still read-only"}
    for moment, statuses in reads.items():
        assert set(statuses.values()) == {200}, (moment, statuses)
