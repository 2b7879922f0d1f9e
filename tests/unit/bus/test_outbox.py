from __future__ import annotations

import pytest

from tandem.bus.counters import Lost
from tandem.bus.hints import HintsWanted
from tandem.bus.outbox import KEPT, Outbox, outbox_for
from tandem.bus.ports import Envelope, Topic


def envelope(number: int, time: float = 0.0) -> Envelope:
    return Envelope(str(number), time, "n", HintsWanted("x"))


def filled(*numbers: int, limit: int = 10, seconds: float = 100.0) -> Outbox:
    outbox = Outbox(limit=limit, seconds=seconds)
    for number in numbers:
        outbox.put(envelope(number))
    return outbox


def taken(outbox: Outbox) -> list[str]:
    found: list[str] = []
    while (envelope := outbox.next()) is not None:
        found.append(envelope.id)
    return found


def test_what_goes_in_comes_out_in_order_and_counts_until_it_arrived() -> None:
    outbox = filled(1, 2, 3)
    assert outbox.filled.is_set()
    assert taken(outbox) == ["1", "2", "3"]
    assert len(outbox) == 3
    assert outbox.waiting == 0
    outbox.arrived()
    assert (len(outbox), outbox.published, outbox.confirmed) == (0, 3, 3)
    assert not outbox.filled.is_set()


def test_what_was_on_its_way_comes_back_before_the_rest() -> None:
    outbox = filled(1, 2, 3)
    outbox.next()
    outbox.next()
    outbox.put(envelope(4))
    outbox.back()
    assert taken(outbox) == ["1", "2", "3", "4"]


def test_the_oldest_gives_way_when_it_is_full() -> None:
    outbox = filled(1, 2, 3, 4, limit=3)
    assert outbox.dropped == {Lost.FULL: 1}
    assert taken(outbox) == ["2", "3", "4"]


def test_what_comes_back_into_a_full_one_gives_way_as_the_oldest() -> None:
    outbox = filled(1, 2, limit=2)
    taken(outbox)
    outbox.put(envelope(3))
    outbox.put(envelope(4))
    assert len(outbox) == 4
    outbox.back()
    assert taken(outbox) == ["3", "4"]
    assert outbox.dropped == {Lost.FULL: 2}


def test_what_is_too_old_is_given_up_when_something_is_added_or_sent() -> None:
    outbox = filled(1, 2, seconds=10.0)
    outbox.put(envelope(3, time=10.5))
    assert outbox.dropped == {Lost.OLD: 2}
    outbox.expire(30.0)
    assert outbox.dropped == {Lost.OLD: 3}
    assert not outbox.filled.is_set()
    assert taken(outbox) == []


def test_the_age_is_that_of_the_oldest_also_on_its_way() -> None:
    outbox = Outbox(limit=10, seconds=100.0)
    assert outbox.age(5.0) == 0.0
    outbox.put(envelope(1, time=1.0))
    outbox.put(envelope(2, time=4.0))
    assert outbox.age(5.0) == 4.0
    outbox.next()
    assert outbox.age(5.0) == 4.0
    outbox.arrived()
    assert outbox.age(5.0) == 1.0
    assert outbox.age(3.0) == 0.0


def test_what_cannot_be_sent_is_counted_and_the_rest_goes_on() -> None:
    outbox = filled(1, 2)
    outbox.next()
    outbox.unsendable()
    assert taken(outbox) == ["2"]
    outbox.arrived()
    assert outbox.confirmed == 1
    assert outbox.dropped == {Lost.UNENCODABLE: 1}


def test_abandoning_counts_what_waits_and_what_is_on_its_way() -> None:
    outbox = filled(1, 2, 3)
    outbox.next()
    assert outbox.abandon() == 3
    assert outbox.dropped == {Lost.CLOSED: 3}
    assert outbox.abandon() == 0


@pytest.mark.parametrize("topic", list(Topic))
def test_only_what_must_not_be_lost_waits_for_long(topic: Topic) -> None:
    outbox = outbox_for(topic)
    assert (outbox.seconds >= 3600) == (topic in KEPT)
    assert (outbox.limit >= 200_000) == (topic in KEPT)
