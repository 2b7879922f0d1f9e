"""AGI: what a machine says, what a rule says, and what is done."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.provisioning.domain import agi_protocol as protocol
from services.provisioning.domain.agi import AgiRule, Own, expand, is_comment, parse_command
from services.provisioning.domain.agi_protocol import AgiFault, Reply, Request
from services.provisioning.domain.callmanager import CallRefused, LegRef, Place, Refusal
from services.provisioning.handlers.agi import Agi, AgiRefused
from services.provisioning.handlers.orders import Orders
from tandem.bus.ports import Topic
from tandem.bus.web_events import CallOrdered
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.sessions import Principal

# -- the protocol ------------------------------------------------------------------------------


def _environment(script: str = "alice?key=tdm_x", **more: str) -> list[str]:
    values = {"network": "yes", "network_script": script, "request": f"agi://h/{script}"} | more
    return [f"agi_{name}: {value}" for name, value in values.items()]


def test_the_customer_and_the_key_stand_in_the_url() -> None:
    lines = _environment(extension="100", arg_1="a: b", calleridname="")
    asked = protocol.parse_environment(lines)
    assert (asked.customer, asked.key) == ("alice", "tdm_x")
    assert asked.values == {"network": "yes", "extension": "100", "arg_1": "a: b",
                            "calleridname": ""}  # fmt: skip


@pytest.mark.parametrize(
    "script", ["Alice?key=tdm_x", "alice/menu?x=1&key=tdm_x", "/alice/?key=tdm_x&key=other"]
)
def test_a_path_may_say_more(script: str) -> None:
    asked = protocol.parse_environment(_environment(script))
    assert (asked.customer, asked.key) == ("alice", "tdm_x")


def test_without_a_script_the_request_does() -> None:
    asked = protocol.parse_environment(["agi_request: agi://host:4573/alice?key=tdm_x"])
    assert (asked.customer, asked.key) == ("alice", "tdm_x")


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], "name a customer"),
        (["GET / HTTP/1.1"], "no AGI environment"),
        (["agi_network yes"], "no AGI environment"),
        (["agi_: yes"], "no AGI environment"),
        (["x_network: yes"], "no AGI environment"),
        (["agi_request: agi://[::1/alice?key=tdm_x"], "agi_request is no URL"),
        (["agi_request: agi://[x]/alice?key=tdm_x"], "agi_request is no URL"),
        (_environment("alice"), "name a customer and a key"),
        (_environment("?key=tdm_x"), "name a customer and a key"),
        (_environment("alice?key="), "name a customer and a key"),
    ],
)
def test_what_is_no_environment_is_told(lines: list[str], text: str) -> None:
    with pytest.raises(AgiFault, match=text):
        protocol.parse_environment(lines)


@given(st.lists(st.text(max_size=50), max_size=5))
def test_nothing_else_than_a_fault_comes_of_any_lines(lines: list[str]) -> None:
    for parse in (protocol.parse_environment, lambda lines: protocol.parse_reply(lines or [""])):
        try:
            parse(lines)
        except AgiFault:
            pass


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("200 result=0", Reply(200, "0")),
        ("200 result=1234 (timeout)", Reply(200, "1234", "timeout")),
        ("200 result= (timeout)", Reply(200, "", "timeout")),
        ("200 result=1 (a value)", Reply(200, "1", "a value")),
        ("200 result=0 endpos=4080", Reply(200, "0")),
        ("200 result=-1", Reply(200, "-1")),
        ("510 Invalid or unknown command", Reply(510)),
        ("511 Command Not Permitted on a dead channel", Reply(511)),
    ],
)
def test_replies_are_understood(text: str, reply: Reply) -> None:
    assert protocol.parse_reply([text]) == reply
    assert protocol.is_last([text])
    assert reply.over is (reply.result == "-1" or reply.code == 511)


def test_a_reply_of_several_lines_ends_with_its_code() -> None:
    lines = ["520-Invalid command syntax.  Proper usage follows:", " Usage: ANSWER", "520 End"]
    assert [protocol.is_last(lines[:n]) for n in (1, 2, 3)] == [False, False, True]
    assert protocol.parse_reply(lines) == Reply(520)


# -- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ANSWER", ("ANSWER",)),
        ('GET DATA "enter number" 5000 10', ("GET", "DATA", "enter number", "5000", "10")),
        (r'SET VARIABLE x "a \"b\" \\"', ("SET", "VARIABLE", "x", r'a "b" ' + "\\")),
        ('STREAM FILE x ""', ("STREAM", "FILE", "x", "")),
    ],
)
def test_a_line_is_words_and_is_written_as_it_was(text: str, words: tuple[str, ...]) -> None:
    command = parse_command(text)
    assert command.words == words
    assert str(command) == text


@pytest.mark.parametrize("text", ["", "  ", '"open', 'a"b', '"a"b', '\\"'])
def test_a_line_with_a_stray_quote_is_no_command(text: str) -> None:
    with pytest.raises(ValueError, match=r"quote|no command"):
        parse_command(text)


@pytest.mark.parametrize(
    ("template", "value", "made"),
    [
        ("SAY DIGITS ${x} #", "123", "SAY DIGITS 123 #"),
        ("SAY DIGITS ${x} #", "1 2", 'SAY DIGITS "1 2" #'),
        ("SAY DIGITS ${x} #", "", 'SAY DIGITS "" #'),
        ('EXEC Playback "${x}"', 'a" EXEC System "rm', 'EXEC Playback "a EXEC System rm"'),
        ("EXEC Dial SIP/${x}", "me,30,g&SIP/you", "EXEC Dial SIP/me30gSIP/you"),
        ("EXEC NoOp ${x}", "a\r\nHANGUP", "EXEC NoOp aHANGUP"),
        ("EXEC NoOp ${x}", "${y}", "EXEC NoOp y"),
        ("EXEC NoOp ${other}", "z", 'EXEC NoOp ""'),
    ],
)
def test_a_value_stays_within_its_word(template: str, value: str, made: str) -> None:
    assert str(expand(parse_command(template), {"x": value, "y": "no"})) == made


@given(st.text(max_size=60))
def test_no_value_makes_another_command(value: str) -> None:
    made = str(expand(parse_command('EXEC NoOp ${x} "${x}"'), {"x": value}))
    assert "\n" not in made
    assert "\r" not in made
    assert len(parse_command(made).words) == 4


def test_ours_are_told_from_theirs() -> None:
    assert parse_command("blindtransfer 1").own is Own.BLIND_TRANSFER
    assert parse_command("SIGNAL a b").own is Own.SIGNAL
    assert parse_command("EXEC SIGNAL").own is None
    assert [is_comment(text) for text in ("", " ; x", "ANSWER ; x")] == [True, True, False]


def test_a_rule_fits_by_extension_and_caller() -> None:
    rule = AgiRule(owner="alice", extension="1*", caller="555?")
    assert rule.fits({"extension": "100", "callerid": "5551"})
    assert not rule.fits({"extension": "200", "callerid": "5551"})
    assert not rule.fits({"extension": "100", "callerid": "555"})
    assert AgiRule(owner="alice").fits({})


# -- what is done ------------------------------------------------------------------------------


class World:
    """The use case on fakes: one rule, and what it led to."""

    def __init__(self, *commands: str) -> None:
        self.rule: AgiRule | None = AgiRule(owner="alice", commands=commands)
        self.done: list[str] = []
        self.replies: dict[str, Reply] = {}
        self.away = False
        self.refusal: CallRefused | None = None
        fake = cast(Any, self)
        self.published: list[Any] = []
        self.agi = Agi(fake, fake, fake, fake, Orders(fake))

    async def serve(self, customer: str = "alice", key: str = "k", **values: str) -> list[str]:
        asked = Request(customer, key, {"callerid": "200", "calleridname": "Unique"} | values)
        await self.agi.serve(asked, "192.0.2.7", self)
        return self.done

    def publish(self, topic: Topic, payload: Any) -> None:
        self.published.append(payload)

    async def execute(self, command: str) -> Reply:
        self.done.append(command)
        return self.replies.get(command, Reply(200, "0"))

    async def tell(self, text: str) -> None:
        self.done.append(f"told {text}")

    async def verify(self, token: str) -> Principal | None:
        if self.away:
            raise DirectoryUnavailable("gone")
        return {"k": Principal("alice"), "root": Principal("root", True)}.get(token)

    async def choose(self, owner: str, values: object) -> AgiRule | None:
        return self.rule

    async def find(self, customer: str, identifier: str) -> Place:
        self.done.append(f"find {customer} {identifier}")
        if self.refusal is not None:
            raise self.refusal
        return Place("as1", LegRef("c1", 1))

    async def blind(self, customer: str, leg: Place, number: str, dialplan: str) -> str:
        self.done.append(f"blind {leg.ref.call_id} {number} {dialplan}")
        return "c1"

    async def put(self, customer: str, key: str, body: str) -> None:
        self.done.append(f"signal {customer} {key} {body}")


async def test_the_lines_of_the_rule_are_executed_one_after_the_other() -> None:
    world = World("; a comment", "ANSWER", 'GET DATA "n" 5000', "BLINDTRANSFER ${result}",
                  'STREAM FILE ${transfer} ""')  # fmt: skip
    world.replies['GET DATA "n" 5000'] = Reply(200, "1234")
    assert await world.serve() == [
        "ANSWER", 'GET DATA "n" 5000', "find alice Unique", "blind c1 1234 transfer",
        'STREAM FILE transfer ""',
    ]  # fmt: skip


async def test_a_transfer_that_fails_is_told_and_the_rule_goes_on() -> None:
    world = World("BLINDTRANSFER 1", 'STREAM FILE ${transfer} ""')
    world.refusal = CallRefused(Refusal.NO_LEG, "That names no leg.")
    assert await world.serve() == [
        "find alice Unique", "told BLINDTRANSFER: That names no leg.", 'STREAM FILE sorry ""',
    ]  # fmt: skip


async def test_the_customer_is_told_of_a_transfer_and_of_one_that_fails() -> None:
    world = World("BLINDTRANSFER 1")
    await world.serve(key="root")
    world.refusal = CallRefused(Refusal.NO_LEG, "That names no leg.")
    await world.serve()
    assert world.published == [
        CallOrdered(
            owners=("alice",), call_id=call_id, order="blindtransfer", destination="1",
            source="192.0.2.7", by=by, outcome=outcome,
        )
        for call_id, by, outcome in [("c1", "root", "begun"), (None, "alice", "That names no leg.")]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "leg"), [({"calleridname": "unknown"}, "200"), ({"calleridname": ""}, "200")]
)
async def test_a_caller_without_a_name_is_found_by_its_number(
    values: dict[str, str], leg: str
) -> None:
    assert (await World("BLINDTRANSFER 1").serve(**values))[0] == f"find alice {leg}"


async def test_a_caller_without_anything_is_not_looked_for() -> None:
    done = await World("BLINDTRANSFER 1").serve(calleridname="unknown", callerid="unknown")
    assert done == ["told BLINDTRANSFER: The caller has no name to look for."]


async def test_another_leg_may_be_named_and_a_signal_sent() -> None:
    done = await World("BLINDTRANSFER 1 x${callerid}", 'SIGNAL ${callerid} "a b"').serve()
    assert done == ["find alice x200", "blind c1 1 transfer", "signal alice 200 a b"]


async def test_a_dead_channel_ends_the_rule() -> None:
    world = World("ANSWER", "HANGUP")
    world.replies["ANSWER"] = Reply(200, "-1")
    assert await world.serve() == ["ANSWER"]


async def test_an_administrators_key_serves_all() -> None:
    assert await World("ANSWER").serve(key="root") == ["ANSWER"]


@pytest.mark.parametrize(
    ("customer", "key", "text"),
    [("alice", "wrong", "none of that customer"), ("bob", "k", "none of that customer")],
)
async def test_a_wrong_key_is_refused(customer: str, key: str, text: str) -> None:
    with pytest.raises(AgiRefused, match=text):
        await World("ANSWER").serve(customer, key)


async def test_a_call_without_a_rule_is_refused() -> None:
    world = World()
    world.rule = None
    with pytest.raises(AgiRefused, match="no rule fits"):
        await world.serve()


async def test_rules_that_cannot_be_read_are_told() -> None:
    world = World("ANSWER")
    world.away = True
    with pytest.raises(AgiRefused, match="can't be read"):
        await world.serve()
