"""docs/dial-strings.md: its examples are read as the switch reads them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tandem.dialplan.dialstring import DialStringError, parse
from tandem.dialplan.failover import WORDS
from tandem.dialplan.lines import read
from tandem.dialplan.options import OPTIONS
from tandem.dialplan.substitute import NAMES

PAGE = (Path(__file__).parents[3] / "docs" / "dial-strings.md").read_text()


def blocks(kind: str) -> list[str]:
    """The examples of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def examples(kind: str) -> list[str]:
    """Their lines."""
    return [line for block in blocks(kind) for line in block.splitlines()]


def rows(column: int) -> set[str]:
    """What stands between backticks in a column of the page's tables."""
    lines = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    return {word for cells in lines for word in re.findall(r"`([^`]+)`", cells[column])}


@pytest.mark.parametrize("text", examples("dial"))
def test_an_example_is_a_dial_string(text: str) -> None:
    assert parse(text).legs


@pytest.mark.parametrize("text", examples("refused"))
def test_an_example_of_what_is_refused_is(text: str) -> None:
    with pytest.raises(DialStringError):
        parse(text)


def test_the_fault_that_is_shown_is_told_so() -> None:
    with pytest.raises(DialStringError) as caught:
        parse("1234@blueface[xx=5]")
    assert f"```\n{caught.value}\n```" in PAGE


@pytest.mark.parametrize("source", blocks("lines"))
def test_an_example_of_a_line_dialplan_has_no_fault(source: str) -> None:
    plan = read(source)
    assert plan.problems == ()
    found = {
        number: next(line.pattern for line in plan.lines if line.matches(number))
        for number in ("100", "0123", "00441234567", "+441234567", "sales", "95", "5551234")
    }
    assert list(found.values()) == [
        "100", "_0[1-9]X.", r"^(00|\+)\d{6,}$", r"^(00|\+)\d{6,}$", "^(sales|support)$", "_9.",
        "_X.",
    ]  # fmt: skip


def test_all_options_substitutions_and_words_are_in_the_tables() -> None:
    named = rows(0)
    assert set(OPTIONS) <= named
    assert {f"${{{name}}}" for name in NAMES} <= named
    assert set(WORDS) <= named
