"""docs/dialplans.md: its tables say what `sys` offers, and its examples are right and do what is
said of them."""

from __future__ import annotations

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tandem.dialplan.dryrun import DryRun, dry_run
from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.scene import (
    AccountIs,
    CallbackComes,
    LegSays,
    Scene,
    WebSays,
    incoming_call,
)
from tandem.dialplan.script import Limits
from tandem.dialplan.sysapi import METHODS, stub
from tests.support.dialplans import plan

PAGE = (Path(__file__).parents[3] / "docs" / "dialplans.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
CLASSES = {n.name: n for n in ast.parse(stub()).body if isinstance(n, ast.ClassDef)}
NOON = 1_782_907_200.0  # Wednesday, 2026-07-01 12:00 UTC


def _said(node: ast.stmt) -> str:
    assert isinstance(node, ast.Expr)
    assert isinstance(node.value, ast.Constant)
    return " ".join(str(node.value.value).split()).rstrip(".").replace("|", "\\|")


def rows(name: str, prefix: str) -> list[str]:
    """The table of a class of the stub, as the page has it."""
    found = []
    body = CLASSES[name].body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            assert after is not None
            found.append(f"| `{prefix}{node.target.id}` | {_said(after)} |")
        elif isinstance(node, ast.FunctionDef):
            args = node.args
            args.args = args.args[1:]
            for arg in args.args:
                arg.annotation = None
            text = ast.unparse(args).replace("'", '"').replace("=", " = ")
            found.append(f"| `{prefix}{node.name}({text})` | {_said(node.body[0])} |")
    return found


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("Sys", "sys."), ("Request", "req."), ("Leg", ""), ("Binding", ""), ("Call", ""),
     ("WebAnswer", "")],
)  # fmt: skip
def test_the_reference_is_that_of_the_stub(name: str, prefix: str) -> None:
    missing = [row for row in rows(name, prefix) if row not in PAGE]
    assert missing == []


def test_the_table_of_old_names_knows_all_new_ones() -> None:
    table = PAGE.partition("## From the original")[2].partition("\n## ")[0]
    named = set(re.findall(r"`sys\.([a-z0-9_]+)", table))
    assert named >= METHODS - {"web_post", "wait_for_signal", "e164", "is_mine", "hang_up"}


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    section = PAGE.partition("## Limits")[2].partition("\n## ")[0]
    for said in (
        f"{limits.wall_seconds:.0f} s", f"{limits.longest_seconds / 60:.0f} minutes",
        f"{limits.cpu_seconds:.0f} s", f"{limits.total_cpu_seconds:.0f} s",
        f"{limits.memory_bytes // 2**20} MB", f"{limits.calls:,}", f"{limits.recursion}",
        f"{limits.source_chars:,}", f"{limits.carried_chars:,}",
    ):  # fmt: skip
        assert said in section, said


# -- examples --------------------------------------------------------------------------------------


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


async def test_every_example_would_be_saved(runner: MontyRunner) -> None:
    assert len(EXAMPLES) >= 8
    assert PAGE.count("```python") == len(EXAMPLES)
    for name, source in EXAMPLES.items():
        assert await runner.check(source) == [], name


async def run(
    runner: MontyRunner, example: str, destination: str, *legs: LegSays, **more: object
) -> DryRun:
    """What an example does with a call of alice's."""
    direction = str(more.pop("direction", "out"))
    caller = str(more.pop("caller", "alice@example.com"))
    scene = Scene(
        at=float(str(more.pop("at", NOON))),
        accounts=(
            AccountIs(user="desk", domain="example.com"),
            AccountIs(user="mobile", domain="example.com", phones=0),
        ),
        domains={"example.com": "example.com", "local": "example.com"},
        providers=("blueface", "prov", "gv"),
        legs=legs,
        web=(WebSays(url="https://crm.example.com/*", body='{"name": "Zoe"}'),),
        callbacks=(CallbackComes(provider="gv"),),
    )
    call = incoming_call(caller, destination, customer="joe", direction=direction)
    return await dry_run(runner, plan(EXAMPLES[example]), call, scene)


async def test_first(runner: MontyRunner) -> None:
    found = await run(runner, "first", "100@example.com")
    assert found.dialled == ("desk@local",)
    found = await run(runner, "first", "0035316624000")
    assert found.dialled == ("0035316624000@blueface",)


async def test_voicemail(runner: MontyRunner) -> None:
    mailbox = LegSays(to="voicemail@prov", status=200)
    found = await run(runner, "voicemail", "desk@example.com", mailbox, direction="in")
    assert found.dialled == ("desk@local", "voicemail@prov")
    found = await run(
        runner, "voicemail", "desk@example.com", LegSays(to="desk@local", status=603),
        direction="in",
    )  # fmt: skip
    assert found.dialled == ("desk@local",)


async def test_hours(runner: MontyRunner) -> None:
    found = await run(runner, "hours", "desk@example.com", direction="in")
    legs = [step.data["target"] for step in found.steps if step.what == "leg"]
    assert sorted(legs) == ["desk@local", "mobile@local"]
    assert found.dialled == ("desk@local",)  # the mobile has no phone
    found = await run(runner, "hours", "desk@example.com", direction="in", at=NOON + 12 * 3600)
    assert (found.status, found.reason) == (480, "Closed")


async def test_menu(runner: MontyRunner) -> None:
    assert (await run(runner, "menu", "201")).dialled == ("desk@local",)
    assert (await run(runner, "menu", "911")).dialled == ("911@blueface",)
    found = await run(runner, "menu", "020 7946 0148")
    assert found.dialled == ("+442079460148@blueface",)
    assert (await run(runner, "menu", "hello")).status == 404


async def test_lookup(runner: MontyRunner) -> None:
    found = await run(runner, "lookup", "desk@example.com", direction="in")
    dial = next(step for step in found.steps if step.what == "dial")
    assert dial.data["from"]["name"] == "Zoe"


async def test_least_cost(runner: MontyRunner) -> None:
    found = await run(runner, "failover", "+442079460148", LegSays(to="*@prov", status=503))
    assert found.dialled == ("+442079460148@prov", "+442079460148@blueface")


async def test_count(runner: MontyRunner) -> None:
    found = await run(runner, "count", "100")
    assert [step.text for step in found.steps if step.what == "write"] == ["write calls:alice"]


async def test_callback(runner: MontyRunner) -> None:
    found = await run(runner, "callback", "+15551234567")
    assert found.answered_by == "callback by gv"


async def test_application(runner: MontyRunner) -> None:
    found = await run(runner, "errors", "100")
    assert found.status == 480
    assert any("the dial string is missing" in step.text for step in found.steps)
