"""Bad input over UDP at the running switch: it stays up, answers or counts each message, and
calls made during it work."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

import pytest
import pytest_asyncio

from tests.support import torture
from tests.support.counts import counts, refused
from tests.support.hostile import (
    METHODS,
    SDP,
    Mutator,
    bad_headers,
    bad_uris,
    request,
    truncations,
)
from tests.support.load import answering, call_sink
from tests.support.stranger import Stranger, call_id_of, status_of
from tests.support.switch import EVERYWHERE, Switch
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

TORTURE_PORTS: Final = (5060, 5050, 5070, 6050, 19823)
"""All that the Vias of the torture messages name."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """It serves example.com, too, where the torture messages go; and `sink` answers calls."""
    switch = Switch(tmp_path_factory.mktemp("hostile") / "data")
    try:
        await switch.start((*EVERYWHERE, "--domain", "example.com"))
        async with answering(switch):
            yield switch
    finally:
        await switch.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(switch: Switch) -> AsyncIterator[Stranger]:
    """At an address of its own; afterwards the switch must be well."""
    async with await Stranger.open(switch.address("udp"), TORTURE_PORTS) as stranger:
        yield stranger
    now = await counts(switch)
    assert now["tandem_appserver_errors_total"] == 0, switch.errors.read_text()
    assert now['tandem_proxy_dropped_total{reason="error"}'] == 0, switch.errors.read_text()
    assert unaccounted(now) == 0, now
    assert "Traceback" not in switch.errors.read_text()


def unaccounted(now: Counter[str]) -> int:
    """Messages from outside of which the proxy does not tell what became of them."""

    def total(name: str, label: str = "") -> int:
        start = f"tandem_proxy_{name}_total"
        return sum(n for f, n in now.items() if f.startswith(start) and label in f)

    came = 'direction="in"'
    kept = total("requests", came) + total("responses", came) + total("keepalives")
    return total("received") - kept - total("answered", 'status="200"') - refused(now)


async def during_calls(switch: Switch, attack: Callable[[], Awaitable[None]]) -> None:
    """Attack, again and again, for as long as twenty calls take; none of them may fail."""
    calls = asyncio.create_task(call_sink(switch, calls=20, rate=10, hold_ms=200))
    try:
        await attack()
        while not calls.done():
            await attack()
        await calls
    finally:
        calls.cancel()


# -- the messages of RFC 4475 and RFC 5118 ---------------------------------------------------------


@pytest.mark.parametrize("name", torture.MESSAGES)
async def test_a_torture_message_gets_the_verdict_of_its_rfc(
    name: str, switch: Switch, stranger: Stranger
) -> None:
    before = await counts(switch)
    stranger.send(torture.MESSAGES[name])
    await stranger.settle()
    if torture.EXPECTED[name] != torture.DROP:
        await stranger.final()
    assert torture.acceptable(name, stranger.status), stranger.answers
    if stranger.status is None:
        assert refused(await counts(switch)) == refused(before) + 1


async def test_calls_work_while_torture_messages_come(switch: Switch, stranger: Stranger) -> None:
    async def attack() -> None:
        await stranger.send_all(list(torture.MESSAGES.values()))

    await during_calls(switch, attack)


# -- truncated, random and mutated ones ------------------------------------------------------------


async def test_calls_work_while_messages_cut_at_any_byte_come(
    switch: Switch, stranger: Stranger
) -> None:
    whole = [torture.MESSAGES[name] for name in ("wsinv", "mpart01", "regescrt", "unreason")]
    whole.append(request("cut", "INVITE", body=SDP))
    batches = itertools.cycle(map(truncations, whole))

    async def attack() -> None:
        await stranger.send_all(next(batches))

    for _ in whole:
        await attack()
    await during_calls(switch, attack)


async def test_calls_work_while_mutated_messages_and_noise_come(
    switch: Switch, stranger: Stranger
) -> None:
    corpus = [*torture.MESSAGES.values(), *(request(f"m-{m}", m, body=SDP) for m in METHODS)]
    mutator = Mutator(4475, corpus)

    async def attack() -> None:
        await stranger.send_all(mutator.messages(500))
        await stranger.send_all(mutator.noise(100))

    await during_calls(switch, attack)


async def test_the_largest_datagrams_are_answered_or_counted(
    switch: Switch, stranger: Stranger
) -> None:
    before = await counts(switch)
    flood = [b"\xff", b"a: b\r\n", b"Via: ", b"\r\n", b"\0", b",", b"<"]
    for piece in flood:
        stranger.send((piece * 65_000)[:65_000])
        stranger.send(request("large", "INVITE")[:-2] + (b"X: " + piece * 65_000)[:64_000])
        await stranger.settle()
    assert refused(await counts(switch)) >= refused(before) + len(flood)


# -- each request is answered ----------------------------------------------------------------------


async def answered(stranger: Stranger, requests: Iterable[tuple[str, bytes]]) -> Counter[int]:
    """Send the requests; each must get a final answer, no 500 among them. Returns their count."""
    sent = dict(requests)
    await stranger.send_all(list(sent.values()))
    waiting = set(map(str.encode, sent))

    async def look() -> bool:
        waiting.difference_update(call_id_of(d) for d in stranger.answers if status_of(d) >= 200)
        return not waiting

    try:
        await eventually(look, "answers")
    except AssertionError:
        raise AssertionError([sent[name.decode()] for name in sorted(waiting)][:20]) from None
    assert all(status_of(data) != 500 for data in stranger.answers)
    return Counter(map(status_of, stranger.answers))


async def test_each_request_with_a_bad_header_is_answered(stranger: Stranger) -> None:
    statuses = await answered(stranger, bad_headers())
    assert statuses[400] > 100


async def test_each_request_with_an_odd_uri_is_answered(stranger: Stranger) -> None:
    statuses = await answered(stranger, bad_uris())
    assert statuses[400] > 100
    assert not any(b"\r\nX-Injected" in data for data in stranger.answers)
