from __future__ import annotations

import asyncio

import pytest

from tandem.bus import sender
from tandem.bus.call_events import SipTrace
from tandem.bus.codec import decode
from tandem.bus.hints import HintsWanted
from tandem.bus.outbox import Outbox
from tandem.bus.ports import Envelope, Topic
from tests.support.waiting import eventually


class Broker:
    """Takes messages; `errors` are raised one by one first."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.messages: list[bytes] = []
        self.to: list[str] = []

    async def __call__(self, message: bytes, to: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append(message)
        self.to.append(to)

    def said(self) -> list[str]:
        return [e.id for message in self.messages for e in decode(message).envelopes]


def outbox_of(count: int, payload: object = None) -> Outbox:
    outbox = Outbox(limit=10_000, seconds=100.0)
    for number in range(count):
        outbox.put(Envelope(str(number), 0.0, "n", payload or HintsWanted("x")))
    return outbox


async def send(outbox: Outbox, broker: Broker, topic: Topic = Topic.EVENTS) -> None:
    """Until the outbox is empty. Raises what the sender raises."""
    work = asyncio.create_task(sender.empty(outbox, topic, broker, lambda: 0.0, asyncio.Event()))

    async def done() -> bool:
        return len(outbox) == 0 or work.done()

    await eventually(done, "the outbox to be empty")
    if not work.done():
        work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    if not work.cancelled():
        work.result()


async def test_what_waits_goes_in_batches_and_in_order() -> None:
    outbox, broker = outbox_of(1200), Broker()
    await send(outbox, broker)
    assert broker.said() == [str(number) for number in range(1200)]
    assert len(broker.messages) == 3
    assert outbox.confirmed == 1200


async def test_long_payloads_make_more_messages() -> None:
    trace = SipTrace(direction="in", remote="r", sip_call_id="c", at=0.0, message="x" * 60_000)
    outbox, broker = outbox_of(100, trace), Broker()
    await send(outbox, broker)
    assert len(broker.said()) == 100
    assert max(map(len, broker.messages)) < sender.BATCH_BYTES + 70_000


async def test_what_is_not_confirmed_in_time_is_sent_again() -> None:
    outbox, broker = outbox_of(3), Broker(TimeoutError(), TimeoutError())
    await send(outbox, broker)
    assert broker.said() == ["0", "1", "2"]


async def test_what_a_broken_connection_did_not_take_is_in_the_outbox_again() -> None:
    outbox, broker = outbox_of(3), Broker(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await send(outbox, broker)
    assert (len(outbox), outbox.waiting) == (3, 3)
    await send(outbox, broker)
    assert broker.said() == ["0", "1", "2"]


async def test_what_can_not_be_encoded_is_counted_and_the_rest_is_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outbox, broker = outbox_of(2), Broker()
    outbox.put(Envelope("bad", 0.0, "n", object()))
    outbox.put(Envelope("good", 0.0, "n", HintsWanted("x")))
    await send(outbox, broker)
    assert broker.said() == ["0", "1", "good"]
    assert outbox.dropped.total() == 1
    assert "object has no message" in caplog.text


async def test_a_message_is_for_one_node_and_the_order_stays() -> None:
    outbox, broker = Outbox(limit=10, seconds=100.0), Broker()
    for number, to in enumerate(("", "a", "a", "b", "", "a")):
        outbox.put(Envelope(str(number), 0.0, "n", HintsWanted("x"), to))
    await send(outbox, broker, Topic.ANSWERS)
    assert broker.to == ["", "a", "b", "", "a"]
    assert broker.said() == ["0", "1", "2", "3", "4", "5"]


async def test_what_can_not_linger_is_sent_at_once() -> None:
    assert Topic.HINTS not in sender.LINGER
    outbox, broker = outbox_of(1), Broker()
    await send(outbox, broker, Topic.HINTS)
    assert broker.said() == ["0"]


async def test_the_first_after_a_silence_goes_at_once_and_what_follows_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "LINGER", {Topic.EVENTS: 0.5})
    loop = asyncio.get_running_loop()
    outbox, broker, began = outbox_of(1), Broker(), loop.time()
    work = asyncio.create_task(
        sender.empty(outbox, Topic.EVENTS, broker, lambda: 0.0, asyncio.Event())
    )

    async def sent() -> bool:
        return len(outbox) == 0

    await eventually(sent, "the first")
    alone = len(broker.messages)
    for name in ("a", "b", "c"):
        outbox.put(Envelope(name, 0.0, "n", HintsWanted("x")))
        await asyncio.sleep(0)
    await eventually(sent, "the others")
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert (alone, len(broker.messages)) == (1, 2)
    assert broker.said() == ["0", "a", "b", "c"]
    assert loop.time() - began >= 0.5
