"""What saving a Python dialplan finds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tandem.dialplan.monty import MontyRunner
from tandem.dialplan.script import Problem


@pytest.fixture
async def runner() -> AsyncIterator[MontyRunner]:
    made = MontyRunner(2)
    await made.start()
    yield made
    await made.stop()


RIGHT = """
import re, json, datetime, time

NIGHT = range(0, 7)

class Route:
    def __init__(self, pattern: str, where: str):
        self.pattern = pattern
        self.where = where

routes = [Route("^00", "${exten}@world"), Route("^9", "${exten:1}@local")]

def route(number: str) -> str:
    for one in routes:
        if re.match(one.pattern, number):
            return one.where
    return "voicemail"

if sys.is_in and datetime.datetime.now().hour in NIGHT:
    sys.respond(480, "Asleep")
if sys.dial(route(req.user), ring_seconds=20) == "no_answer":
    sys.log(f"{req.from_name} was not answered: {sys.last_status}")
for leg in sys.last_legs:
    print(leg.target, leg.status)
answer = sys.web_get("https://example.com/who?n=" + req.from_user)
if answer.status == 200 and json.loads(answer.body)["known"]:
    sys.set_from(name="friend")
match req.user:
    case "1":
        sys.dial("a")
    case _:
        sys.dial("b")
"""


async def test_a_right_one_has_no_problems(runner: MontyRunner) -> None:
    assert await runner.check(RIGHT) == []
    assert await runner.check("") == []
    assert await runner.check("raise ValueError") == []


@pytest.mark.parametrize(
    ("source", "line", "column", "said"),
    [
        ("x = 1\nsys.dial(5)", 2, 10, "Expected `str`"),
        ("sys.dail('x')", 1, 1, "no attribute `dail`"),
        ("if req.usr == '1': pass", 1, 4, "no attribute `usr`"),
        ("sys.dial('x', ring=3)", 1, 15, "does not match any known parameter"),
        ("y = foo(1)", 1, 5, "Name `foo` used when not defined"),
        ("sys.username = 'x'", 1, 1, "Final"),
        ("x = (1\n", 2, 1, ""),
        ("for x in [3]\n  pass", 1, 13, "Expected"),
        ("def f():\n    yield 1\n", 2, 5, "yield"),
        ("import socket\nsocket.socket()", 1, 1, ""),
        ("open('/etc/passwd')", 1, 1, "open"),
        ("await sys.dial('x')", 1, 1, ""),
        ("if sys.dial('x') + 1: pass", 1, 4, "+"),
        ("\u00e9 = 'é' + 3", 1, 5, "+"),
        ("x = 1\nsys.dial('bob@local[xx=1]')", 2, 21, "there is no option 'xx'"),
        ('if sys.dial("a@b & ", 20) == "failed": pass', 1, 20, "in the dial string"),
        ("sys.dial(destination='bob@local[xx=1]')", 1, 33, "there is no option 'xx'"),
        ("sys.dial(ring_seconds=5, destination='b[')", 1, 41, "in the dial string"),
        ("sys.callback('bob@local', second='a & ')", 1, 39, "in the dial string"),
        ("sys.callback('a@local | ', 'b')", 1, 25, "in the dial string"),
        ("sys.dial('a@local', stay=True)\nsys.transfer('[')", 2, 15, "in the dial string"),
        ("TO = 'bob@local[xx=1]'\nif req.user: sys.dial(TO, 20)", 1, 17, "no option 'xx'"),
        ("SECONDS = 500\nsys.dial('a', ring_seconds=SECONDS)", 1, 11, "0 to 180, not 500"),
        ("sys.dial('a' '@local[xx=1]')", 1, 10, "there is no option 'xx'"),
        ("sys.dial(f'{req.user}@local[xx=1]')", 1, 29, "there is no option 'xx'"),
        ("sys.dial('a', failover='bussy')", 1, 25, "in failover"),
        ("sys.dial('a', 181)", 1, 15, "ring_seconds must be 0 to 180, not 181"),
        ("sys.dial('a', max_seconds=-1)", 1, 27, "max_seconds must be 0 to 86400"),
        (f"sys.dial('a', {'9' * 400})", 1, 15, "ring_seconds must be 0 to 180"),
        ("sys.wait_for_signal('pin', seconds=601)", 1, 36, "seconds must be 0 to 600"),
        ("sys.callback('a', 'b', 16)", 1, 24, "delay_seconds must be 0 to 15"),
        ("sys.respond(200)", 1, 13, "a 2xx answer"),
        ("sys.respond(700, 'x')", 1, 13, "the status must be 101 to 699"),
        ("sys.respond(486, 'a\\r\\nX: y')", 1, 18, "the reason may not hold line ends"),
        ("sys.respond(486, headers={'Contact': '<sip:a@b.example>'})", 1, 1, "Contact"),
        ("sys.set_header('X-A', 'b\\r\\nVia: c')", 1, 23, "may not hold line ends"),
        ("sys.set_header(value='b', name='Via')", 1, 33, "the switch's own"),
        ("sys.set_from(host='a b')", 1, 20, "is no host name"),
        ("sys.web_get('ftp://a.example')", 1, 14, "must begin with http"),
        ("sys.e164('1', 'UK')", 1, 16, "is no region"),
    ],
)
async def test_a_wrong_one_is_refused_with_the_place(
    runner: MontyRunner, source: str, line: int, column: int, said: str
) -> None:
    problems = await runner.check(source)
    assert problems
    first = problems[0]
    assert first.line == line, problems
    assert first.column == column or not said, problems
    assert said in first.message


async def test_all_problems_are_told_and_not_more_than_fifty(runner: MontyRunner) -> None:
    problems = await runner.check("sys.a()\nsys.b()\n")
    assert [p.line for p in problems] == [1, 2]
    assert len(await runner.check("sys.a()\n" * 100)) == 50


@pytest.mark.parametrize(
    "source",
    [
        "# sys.dial('bob@local[xx=1]')",
        "x = 'y'\nsys.dial(f'{x}@local')",
        "sys.dial('a' + '@local[' + 'rt=5]')",
        "sys.dial('bob@local',\n  20)",
        "x = '['\nx = 'bob@local'\nsys.dial(x)",
        "x = '['\ndef f(x: str) -> None:\n    sys.dial(x)\nf('bob@local')",
        "x = '['\nfor x in ['a', 'b']:\n    sys.dial(x)",
        "x = '['\n(x, y) = ('a', 'b')\nsys.dial(x)",
        "if req.user:\n    x = '['\nelse:\n    x = 'a'\nsys.dial(x)",
        "x = 'a'\nx += '@local[rt=5'\nsys.dial(x + ']')",
        "x = 'xx=1'\nsys.dial(f'{req.user}@local[{x}]'.replace('xx', 'rt'))",
        "x = 'rt'\nsys.dial(f'{req.user}@local[{x}=5,rt=5{req.user}]')",
        "sys.dial(f'{req.user}@[2001:db8::1]')",
        "sys.dial(str('bob@local[xx=1]').replace('xx', 'rt'))",
        "sys.dial('bob@local', 60 * 3)",
        "sys.respond(302, 'Moved', {'Contact': '<sip:a@b.example>'})",
        "sys.respond(300 + 2, headers={'Contact': '<sip:a@b.example>'})",
        "sys.respond(183)\nsys.respond(480, 'Schöne Grüße')",
        "sys.hang_up()\nsys.dial('bob@local[fd=\"a]b\"]')",
        "sys.is_available('')\nsys.email('x', 'y', 'z')",
        "sys.set_from()\nsys.set_from(None, host='a.example')\nsys.web_get(url='http://a')",
        "x = sys\nprint(\"sys.dial('[')\")",
        "raise ValueError\nsys.e164('1', 'DE', f'{req.user}')",
    ],
)
async def test_what_may_be_right_is_left_alone(runner: MontyRunner, source: str) -> None:
    assert await runner.check(source) == []


async def test_checking_runs_nothing(runner: MontyRunner) -> None:
    assert await runner.check("while True:\n    pass\n") == []
    assert await runner.check("sys.log('x')\n" * 10) == []


async def test_a_source_that_is_too_long_is_not_even_looked_at(runner: MontyRunner) -> None:
    assert await runner.check("#" * 65_537) == [Problem("a dialplan has 65536 characters at most")]


async def test_a_source_that_no_checker_likes_comes_back(runner: MontyRunner) -> None:
    """Deep nesting, huge expressions, odd characters: an answer, and the next check works."""
    for source in ("(" * 5_000, "x = " + "1+" * 20_000 + "1", "\x00", "x = '\ud800'"[:5], "\ufeff"):
        await runner.check(source)
    assert await runner.check("x = 1") == []
