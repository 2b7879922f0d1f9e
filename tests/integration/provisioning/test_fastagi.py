"""FastAGI over TCP: a client that speaks as Asterisk does, provisioning, and an appserver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.appserver.domain.legs import LegRef
from services.provisioning.entrypoints import fastagi
from services.provisioning.entrypoints.fastagi import FastAgiServer
from tandem.bus.ports import Envelope
from tandem.runtime.address import HostPort
from tests.support.asterisk import USAGE, Asterisk
from tests.support.callcontrol import ControlledNode, call, controlled
from tests.support.provisioning import Rig, sqlite_in
from tests.support.waiting import eventually

RULES = [
    {
        "extension": "1*",
        "commands": [
            "; the seed's flow: ask for a number, and hand the call back",
            "ANSWER",
            'GET DATA "enter-number" 5000 10',
            "BLINDTRANSFER ${result}",
            'STREAM FILE ${transfer} ""',
        ],
    },
    {"commands": ['SIGNAL ${calleridname} "${extension} ${arg_1}"', "HANGUP"]},
]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: nothing here depends on the database."""
    return sqlite_in(tmp_path)


class Stage:
    """The server, the appserver, and alice's key."""

    def __init__(self, server: FastAgiServer, node: ControlledNode, key: str) -> None:
        self.server = server
        self.node = node
        self.script = f"alice?key={key}"
        self.key = key

    def asterisk(self) -> Asterisk:
        return Asterisk(self.server.address)

    async def idle(self) -> None:
        """Wait until no connection is open."""

        async def look() -> bool:
            return len(self.server) == 0

        await eventually(look, "the end of all connections")


@pytest.fixture
async def stage(rig: Rig, alice: httpx.AsyncClient) -> AsyncIterator[Stage]:
    answer = await alice.put("/api/v1/agi-rules", json={"items": RULES})
    assert answer.status_code == 200, answer.text
    made = await alice.post("/api/v1/api-keys", json={"name": "asterisk"})
    server = rig.service.fastagi(HostPort("127.0.0.1", 0))
    await server.start()
    async with controlled("as1", rig.security) as node:
        said = node.said()
        await rig.service.nodes.take([Envelope("1", 0.0, said.node, said)])
        stage = Stage(server, node, made.json()["secret"])
        yield stage
        await stage.idle()
    await server.stop()


async def test_a_call_is_handed_back_to_the_number_that_was_entered(stage: Stage) -> None:
    stage.node.calls.all = [call(placed='"uniqueid" <sip:200@example.com>')]
    async with stage.asterisk() as asterisk:
        asterisk.answers['GET DATA "enter-number" 5000 10'] = ("200 result=1234 (timeout)",)
        asterisk.begin(stage.script, calleridname="uniqueid")
        assert await asterisk.execute() == [
            "ANSWER", 'GET DATA "enter-number" 5000 10', 'STREAM FILE transfer ""',
        ]  # fmt: skip
    wanted = ("blind", "alice", LegRef("c1", 1), "1234", "transfer")
    assert stage.node.transfers.asked == [wanted]
    assert stage.server.counters.served == 1


async def test_a_transfer_that_cannot_be_is_said_to_the_caller_and_on_the_console(
    stage: Stage,
) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.answers['GET DATA "enter-number" 5000 10'] = ("200 result=1234",)
        asterisk.begin(stage.script, calleridname="uniqueid")
        assert (await asterisk.execute())[2:] == [
            'VERBOSE "Tandem: BLINDTRANSFER: That names no leg." 1', 'STREAM FILE sorry ""',
        ]  # fmt: skip


async def test_a_signal_goes_to_the_dialplan_that_waits(stage: Stage) -> None:
    waiting = asyncio.create_task(stage.node.signals.wait("alice", "uniqueid", 60))
    await asyncio.sleep(0)
    async with stage.asterisk() as asterisk:
        asterisk.begin(stage.script, ["x y"], extension="2", calleridname="uniqueid")
        assert await asterisk.execute() == ["HANGUP"]
    assert await waiting == "2 x y"


async def test_a_command_that_is_wrong_stops_nothing(stage: Stage) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.answers["ANSWER"] = USAGE
        asterisk.answers['GET DATA "enter-number" 5000 10'] = ("510 Invalid or unknown command",)
        asterisk.begin(stage.script, calleridname="uniqueid")
        assert len(await asterisk.execute()) == 4


@pytest.mark.parametrize("end", ["HANGUP", "200 result=-1", "511 Command Not Permitted"])
async def test_a_caller_who_hangs_up_ends_it(stage: Stage, end: str) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.answers["ANSWER"] = (end,)
        asterisk.begin(stage.script)
        assert await asterisk.execute() == ["ANSWER"]
    await stage.idle()
    assert stage.server.counters.served == 1


async def test_a_connection_that_breaks_leaves_nothing(stage: Stage) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.begin(stage.script)
        await asterisk.command()
    await stage.idle()
    assert stage.server.counters.broken == 1


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("alice?key=tdm_wrong", "this key is none of that customer"),
        ("bob?key={key}", "this key is none of that customer"),
        ("alice", "name a customer and a key"),
        ("?key={key}", "name a customer and a key"),
    ],
)
async def test_who_does_not_prove_who_he_is_is_refused(
    stage: Stage, script: str, text: str
) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.begin(script.format(key=stage.key))
        (told,) = await asterisk.execute()
    assert told.startswith(f'VERBOSE "Tandem: {text}')
    assert stage.server.counters.refused == 1


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "this is a FastAGI server"),
        (b"\n", "name a customer"),
        (b"agi_x: " + b"y" * 3000 + b"\n\n", "a line may have 1024 bytes"),
        (b"y" * 5000, "a line may have 1024 bytes"),
        (b"agi_x: y\n" * 200, "too many lines"),
        (b"\xff\xfe\x00\n\n", "this is a FastAGI server"),
    ],
)
async def test_what_is_no_agi_is_refused_in_words(stage: Stage, data: bytes, text: str) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.writer.write(data)
        told = await asterisk.command()
        assert text in told
        asterisk.writer.write_eof()
    await stage.idle()
    assert stage.server.counters.refused == 1


async def test_a_reply_that_is_none_ends_it(stage: Stage) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.answers["ANSWER"] = ("what?",)
        asterisk.begin(stage.script)
        assert await asterisk.execute() == ["ANSWER", 'VERBOSE "Tandem: that is no AGI reply" 1']


async def test_who_says_nothing_is_not_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastagi, "ENVIRONMENT_SECONDS", 0.05)
    async with stage.asterisk() as asterisk:
        assert await asterisk.command() == ""
    assert stage.server.counters.broken == 1


async def test_connections_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastagi, "MAX_PER_ADDRESS", 1)
    async with stage.asterisk() as first:
        first.begin(stage.script)
        assert await first.command() == "ANSWER"
        async with stage.asterisk() as second:
            assert "too many connections" in await second.command()
            assert await second.command() == ""
    await stage.idle()
    async with stage.asterisk() as third:
        third.begin(stage.script)
        assert await third.command() == "ANSWER"


async def test_the_key_gets_into_no_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with stage.asterisk() as asterisk:
        asterisk.begin(stage.script)
        await asterisk.execute()
    async with stage.asterisk() as asterisk:
        asterisk.begin(f"bob?key={stage.key}")
        await asterisk.execute()
    assert stage.key not in caplog.text


async def test_a_stop_ends_open_connections(stage: Stage) -> None:
    async with stage.asterisk() as asterisk:
        asterisk.begin(stage.script)
        await asterisk.command()
        await stage.server.stop()
        assert await asterisk.command() == ""
