"""Start, stop and what the bus brings."""

from __future__ import annotations

import pytest

from tandem.bus.ports import Topic
from tandem.rpc.directory import DirectoryChanged
from tests.support.appserver import Phone, Site, account


async def test_a_node_starts_while_provisioning_is_away_and_catches_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.appserver.handlers.news.RETRY_SECONDS", 0.0)
    site = Site(account("alice"), domains=("own.example",))
    site.directory.away = True
    async with site:
        await site.settle()
        assert site.app.domains.serviced("own.example") == "own.example"
        assert (await Phone(site).registered()).status == 404
        site.directory.away = False
        await site.settle()
        assert site.app.domains.default == "example.com"
        site.advance(5)
        assert (await Phone(site).registered()).status == 200


async def test_a_new_domain_is_serviced_once_it_is_told() -> None:
    async with Site(account("alice")) as site:
        site.app.domains.load([])
        assert site.app.domains.serviced("example.com") is None
        await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("domain", "example.com"), "else")
        await site.settle()
        assert site.app.domains.serviced("example.com") == "example.com"


async def test_after_the_stop_nothing_is_taken_and_the_calls_have_been_told() -> None:
    site = Site(account("alice"))
    async with site:
        pass
    assert site.calls.heard == [("stop", None)]
    assert await site.send(Phone(site).request("OPTIONS", "sip:example.com")) == []
