"""Health per destination, with a hand-moved clock."""

from __future__ import annotations

from tandem.siptransport.health import FIRST_PENALTY, MAX_DESTINATIONS, MAX_PENALTY, Health
from tandem.siptransport.locate import Hop

A, B = Hop("udp", "192.0.2.1", 5060), Hop("udp", "192.0.2.2", 5060)


def test_a_destination_that_failed_is_tried_last_until_its_penalty_is_over() -> None:
    health = Health()
    assert health.order([A, B], 0) == [A, B]
    health.mark_failed(A, 0)
    assert health.order([A, B], FIRST_PENALTY - 1) == [B, A]
    assert health.order([A, B], FIRST_PENALTY) == [A, B]
    health.mark_failed(A, 10)
    health.mark_failed(B, 10)
    assert health.order([A, B], 11) == [A, B]


def test_the_penalty_doubles_up_to_its_limit() -> None:
    health, now, lengths = Health(), 0.0, []
    for _ in range(2000):
        health.mark_failed(A, now)
        begin = now
        while health.is_penalised(A, now):
            now += FIRST_PENALTY / 2
        lengths.append(now - begin)
    assert lengths[:4] == [FIRST_PENALTY, 2 * FIRST_PENALTY, 4 * FIRST_PENALTY, 8 * FIRST_PENALTY]
    assert MAX_PENALTY <= lengths[-1] < MAX_PENALTY + FIRST_PENALTY


def test_failures_of_one_outage_count_once() -> None:
    health = Health()
    for at in range(5):
        health.mark_failed(A, at)
    assert not health.is_penalised(A, FIRST_PENALTY)


def test_an_answer_forgives_everything() -> None:
    health = Health()
    health.mark_failed(A, 0)
    health.mark_failed(A, 10)
    health.mark_ok(A)
    health.mark_ok(B)
    assert not health.is_penalised(A, 11)
    health.mark_failed(A, 20)
    assert not health.is_penalised(A, 20 + FIRST_PENALTY)


def test_an_old_failure_is_forgotten() -> None:
    health = Health()
    health.mark_failed(A, 0)
    health.mark_failed(A, 1000)
    assert not health.is_penalised(A, 1000 + FIRST_PENALTY)


def test_the_other_transport_and_port_of_a_host_are_other_destinations() -> None:
    health = Health()
    health.mark_failed(A, 0)
    assert not health.is_penalised(Hop("tcp", A.host, A.port), 1)
    assert not health.is_penalised(Hop("udp", A.host, 5061), 1)


def test_the_memory_is_bounded_and_the_oldest_failure_gives_way() -> None:
    health = Health()
    hops = [Hop("udp", "192.0.2.1", port + 1) for port in range(MAX_DESTINATIONS + 1)]
    for hop in hops:
        health.mark_failed(hop, 0)
    assert not health.is_penalised(hops[0], 1)
    assert health.is_penalised(hops[1], 1)
