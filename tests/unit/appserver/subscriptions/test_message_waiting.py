"""Message-waiting indications: to all phones, kept, and told to those who subscribe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.appserver.handlers.subscriptions import summaries as module
from tandem.bus.lines import SummariesWanted, SummaryKnown
from tandem.bus.nodes import NodeAnnounced, Nodes
from tandem.bus.ports import Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import Phone, Site, account
from tests.support.subscriber import Subscriber, exchange

VOICEMAIL: dict[str, Any] = {"from_": "<sip:vm@provider.example>;tag=vm"}
TYPE = "Content-Type: application/simple-message-summary"
NEW = b"Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n"
NONE = b"Messages-Waiting: no\r\nVoice-Message: 0/8\r\n"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    accounts = [account(name, owner="we") for name in ("alice", "bob")]
    async with Site(*accounts, account("eve", owner="others")) as made:
        yield made


async def tell(
    site: Site, body: bytes = NEW, *headers: str, to: str = "sip:bob@example.com", **options: Any
) -> tuple[Response, list[Request]]:
    """A NOTIFY from a voicemail outside; the answer to it, and what went to phones."""
    answer, *copies = await Phone(site, "vm").asked(
        "NOTIFY", to, "Event: message-summary", "Subscription-State: active",
        *(headers or (TYPE,)), body=body, **(options or VOICEMAIL),
    )  # fmt: skip
    assert isinstance(answer, Response)
    return answer, copies


async def test_it_reaches_all_phones_whatever_they_answer(site: Site) -> None:
    phones = [Phone(site, "bob", host=f"203.0.113.{n}", contact=f"sip:bob@h{n}") for n in (1, 2, 3)]
    for phone in phones:
        await phone.registered()
    answer, copies = await tell(site)
    assert answer.status == 200
    assert [copy.uri for copy in copies] == ["sip:bob@h1", "sip:bob@h2", "sip:bob@h3"]
    for copy, status in zip(copies, (481, 489, 200), strict=True):
        assert copy.method == "NOTIFY"
        assert copy.body == NEW
        assert copy.first("event") == "message-summary"
        assert copy.first("subscription-state") == "active"
        assert copy.values("contact") == ["<sip:10.0.0.9:5070>"]
        assert await site.send(response_to(copy, status).to_bytes()) == []


async def test_it_is_kept_for_an_account_without_phones_and_told_who_subscribes(site: Site) -> None:
    answer, copies = await tell(site)
    assert (answer.status, copies) == (200, [])
    watch = Subscriber(Phone(site, "bob"), "message-summary")
    await watch.subscribed()
    assert watch.notifies[0].first("content-type") == "application/simple-message-summary"
    assert watch.body == NEW.decode()
    await tell(site, NONE)
    assert len(watch.hear(0.1)) == 1
    assert watch.body == NONE.decode()
    await watch.answer()
    await tell(site, NONE)
    assert watch.hear(5) == []


async def test_who_knows_of_no_mailbox_says_that_nothing_waits(site: Site) -> None:
    watch = await Subscriber(Phone(site, "bob"), "message-summary").subscribed()
    assert watch.body == "Messages-Waiting: no\r\n"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (NEW, ["Content-Type: text/plain"], 415),
        (NEW, ["X-None: 1"], 415),
        (b"hello", [TYPE], 400),
        (NEW + b"x" * 5000, [TYPE], 413),
        (b"", [TYPE], 200),
        (NEW, [f"{TYPE};charset=utf-8"], 200),
    ],
)
async def test_what_is_no_summary_is_refused(
    site: Site, body: bytes, headers: list[str], status: int
) -> None:
    await Phone(site, "bob").registered()
    answer, copies = await tell(site, body, *headers)
    assert answer.status == status
    assert len(copies) == (status == 200)


@pytest.mark.parametrize(
    ("to", "from_", "status"),
    [
        ("sip:x.bob@example.com", "<sip:vm@provider.example>;tag=1", 200),
        ("sip:nobody@example.com", "<sip:vm@provider.example>;tag=1", 404),
        ("sip:bob@elsewhere.example", "<sip:vm@provider.example>;tag=1", 404),
        ("sip:bob@example.com", "<sip:alice@example.com>;tag=1", 407),
    ],
)
async def test_who_may_send_one(site: Site, to: str, from_: str, status: int) -> None:
    request = Phone(site, "vm").request(
        "NOTIFY", to, "Event: message-summary", TYPE, body=NEW, from_=from_
    )
    answer, *_ = await site.send(request)
    assert isinstance(answer, Response)
    assert answer.status == status


async def test_phones_are_told_once_a_second_and_the_last_one_goes(site: Site) -> None:
    await Phone(site, "bob").registered()
    _, copies = await tell(site)
    assert len(copies) == 1
    await site.send(response_to(copies[0], 200).to_bytes())
    bodies = [b"Messages-Waiting: yes\r\nVoice-Message: %d/0\r\n" % n for n in range(50)]
    for body in bodies:
        answer, copies = await tell(site, body)
        assert (answer.status, copies) == (200, [])
    site.advance(1.0)
    (copy,) = site.link.take()
    assert isinstance(copy, Request)
    assert copy.body == bodies[-1]
    await site.send(response_to(copy, 200).to_bytes())
    site.advance(40)
    assert site.link.take() == []
    assert site.app.subscriptions.summaries._passing == {}


async def test_mailboxes_kept_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SUMMARIES", 2)
    for name in ("alice", "bob", "eve", "bob"):
        await tell(site, to=f"sip:{name}@example.com")
        site.advance(1)
    kept = site.app.subscriptions.summaries
    assert len(kept) == 2
    assert "alice@example.com" not in kept
    assert kept.of("bob@example.com").waiting


async def test_every_appserver_has_the_last_one(site: Site) -> None:
    accounts = [account(name, owner="we") for name in ("alice", "bob")]
    async with Site(*accounts, node_id="as2") as other:
        watch = await Subscriber(Phone(other, "alice"), "message-summary").subscribed()
        await tell(site)
        await exchange(site, other)
        assert len(watch.hear(0.1)) == 1
        assert watch.body == NEW.decode()


async def test_one_that_started_later_asks_for_what_it_missed(site: Site) -> None:
    await tell(site)
    site.bus.published.clear()
    async with Site(account("bob", owner="we"), node_id="as2") as late:
        late.app.join(Nodes(late.bus, late.app.describe, lambda: late.now))
        others = [
            NodeAnnounced(node=name, kind="appserver", incarnation=1, version="1")
            for name in ("as1", "as2")
        ]
        await late.bus.deliver(Topic.NODES, *others)
        watch = await Subscriber(Phone(late, "bob"), "message-summary").subscribed()
        assert watch.body == "Messages-Waiting: no\r\n"
        await exchange(site, late)
        assert len(watch.hear(0.1)) == 1
        assert watch.body == NEW.decode()
        for resumed in late.bus.resumed:
            resumed()
        assert late.bus.take(SummariesWanted) == [SummariesWanted(("bob@example.com",))]


async def test_what_is_older_or_makes_no_sense_changes_nothing(site: Site) -> None:
    await tell(site)
    bob = "bob@example.com"
    await site.bus.deliver(
        Topic.LINES,
        SummaryKnown(bob, NONE.decode(), site.wall - 1),
        SummaryKnown(bob, "rubbish", site.wall + 1),
        SummaryKnown(bob, "\ud800", site.wall + 1),
    )
    assert site.app.subscriptions.summaries.of(bob).waiting


async def test_what_comes_later_counts_though_the_clock_is_behind(site: Site) -> None:
    """Another node's clock is five seconds ahead."""
    bob = "bob@example.com"
    await site.bus.deliver(Topic.LINES, SummaryKnown(bob, NEW.decode(), site.wall + 5))
    site.bus.published.clear()
    await tell(site, NONE)
    assert not site.app.subscriptions.summaries.of(bob).waiting
    (said,) = site.bus.take(SummaryKnown)
    assert (said.summary, said.at > site.wall + 5) == (NONE.decode(), True)
