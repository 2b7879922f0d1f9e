"""What /metrics shows of transfers, from their events on."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.domain.legs import LegRef
from services.appserver.domain.transfers import Refused
from services.appserver.handlers.transfer_counts import TransferCounts
from services.appserver.handlers.watch import Watch
from tandem.bus.ports import Topic
from tandem.bus.transfer_events import TransferRefused
from tandem.runtime.metrics import Metrics
from tests.support.flights import JOE, dialplan
from tests.support.sipworld import World, refuse, ring
from tests.support.transfers import CAROL, Transfer, Transferring
from tests.unit.appserver.calls.test_attended import Attended
from tests.unit.appserver.dialplans.test_staying import Staying
from tests.unit.appserver.dialplans.test_transfers import Tall

SERVED: dict[str, Any] = {"transfer": Transfer.SERVE}


class Sink:
    def publish(self, topic: Topic, payload: Any) -> None:
        """The bus, to which nobody listens."""


def shown(register: Any) -> dict[str, int]:
    """What is not 0, by `KIND,BY,OUTCOME`, and `under way`."""
    metrics = Metrics()
    register(metrics)
    found: dict[str, int] = {}
    for line in metrics.render().decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("tandem_transfers_total{") and float(value):
            by, kind, outcome = [part.split('"')[1] for part in name.partition("{")[2].split(",")]
            found[f"{kind},{by},{outcome}"] = int(float(value))
        elif name == "tandem_transferring" and float(value):
            found["under way"] = int(float(value))
    return found


def counted(world: World) -> dict[str, int]:
    counts = TransferCounts()
    watch = Watch(Sink(), counts)
    for event in world.events:
        watch.publish(Topic.EVENTS, event)
    return shown(counts.register)


def test_all_counters_are_there_from_the_start() -> None:
    metrics = Metrics()
    TransferCounts().register(metrics)
    text = metrics.render().decode()
    assert 'tandem_transfers_total{by="http",kind="dual",outcome="failed"} 0.0' in text
    assert "tandem_transferring 0.0" in text


def test_a_refer_is_counted_when_it_is_through() -> None:
    world = World()
    made = Transferring(world, carol=ring, **SERVED)
    made.refer(made.ivr)
    assert counted(world) == {"under way": 1}
    made.carol.answer(200, body=CAROL)
    world.run(1)
    assert counted(world) == {"blind,refer,completed": 1}


@pytest.mark.parametrize(
    ("mode", "to", "kind", "status"),
    [
        (Transfer.REFUSE, "<sip:carol@example.org>", "blind", 603),
        (Transfer.SERVE, "<mailto:carol@example.org>", "blind", 416),
        (Transfer.SERVE, "<sip:carol@example.org?Replaces=nonsense>", "attended", 400),
    ],
)
def test_a_refer_that_is_refused_is_told_and_counted(
    mode: Transfer, to: str, kind: str, status: int
) -> None:
    world = World()
    made = Transferring(world, transfer=mode)
    made.refer(made.ivr, to)
    assert made.ivr.statuses("REFER") == [status]
    told = made.event(TransferRefused)
    assert (told.owners, told.call_id, told.status) == (("owner",), made.old.id, status)
    assert counted(world) == {f"{kind},refer,refused": 1}


def test_two_calls_that_are_joined_are_one_transfer() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.ask(made.replaces())
    assert counted(world) == {"attended,refer,completed": 1}


def test_two_calls_that_can_not_be_joined_are_one_that_failed() -> None:
    world = World()
    made = Attended(world, **SERVED)
    made.dave.methods["INVITE"] = refuse(488)
    made.ask(made.replaces())
    assert counted(world) == {"attended,refer,failed": 1}


def test_who_replaces_a_call_of_others_is_transferred_attended() -> None:
    world = World()
    made = Transferring(world, **SERVED)
    made.refer(made.ivr, "<sip:carol@example.org?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>")
    assert counted(world) == {"attended,refer,completed": 1}


async def test_an_appserver_shows_what_programs_ask_for() -> None:
    async with Tall(dialplan("pass", "transfer")) as tower:
        old = await tower.up()
        transfers, leg, none = tower.transfers, LegRef(old, 1), LegRef("nothing", 1)
        await transfers.blind(JOE, leg, "1234", "transfer")
        await tower.ended()
        for work in (
            transfers.blind(JOE, leg, "1", "nothing"),
            transfers.direct(JOE, leg, "["),
            transfers.dual(JOE, leg, none),
        ):
            with pytest.raises(Refused):
                await work
        assert shown(tower.site.app.register) == {
            "blind,http,failed": 1,
            "blind,http,refused": 2,
            "dual,http,refused": 1,
        }
        told = tower.events(TransferRefused)
        assert {(event.owners, event.call_id, event.status) for event in told} == {((JOE,), old, 0)}


async def test_an_appserver_shows_what_dialplans_do() -> None:
    async with Staying() as tower:
        await tower.started()
        await tower.told("dave")
        await tower.answer(await tower.rung(), 200)
        await tower.answer(await tower.rung(), 200)
        await tower.ended()
        assert shown(tower.site.app.register) == {"blind,dialplan,completed": 1}
