"""Headers that customers add."""

from __future__ import annotations

import pytest

from services.appserver.domain.headers import BOUND
from services.provisioning.domain.providerrules import custom_headers
from tandem.dialplan.headers import RESERVED, HeaderError, header_line, header_text


@pytest.mark.parametrize(
    "line",
    [
        "X-One: 1",
        "P-Asserted-Identity: <sip:a@b>",
        "Diversion: <sip:a@b>;reason=busy",
        "Subject: ä",
    ],
)
def test_a_header_that_is_the_customers_passes(line: str) -> None:
    assert header_text(line) == line


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Via", "x", "set by the switch"),
        ("v", "x", r"v \(via\)"),
        ("CONTACT", "x", "set by the switch"),
        ("Record-Route ", "x", "set by the switch"),
        ("Replaces", "x", "set by the switch"),
        ("X Y", "x", "no name"),
        ("X:", "x", "no name"),
        ("", "x", "no name"),
        ("X-A\r\nVia", "x", "no name"),
        ("X" * 65, "x", "no name"),
        ("X-A", "a\r\nVia: b", "line break"),
        ("X-A", "a\nb", "line break"),
        ("X-A", "a\x00b", "line break"),
        ("X-A", "a\x85b", "line break"),
        ("X-A", "\udc80", "line break"),
        ("X-A", "a" * 1025, "longer than"),
    ],
)
def test_a_header_that_is_not_is_refused(name: str, value: str, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        header_line(name, value)


def test_a_line_has_a_colon() -> None:
    with pytest.raises(HeaderError, match="Name: value"):
        header_text("X-A 1")


def test_what_never_passes_from_leg_to_leg_is_refused_and_not_dropped() -> None:
    assert set() == BOUND - RESERVED


@pytest.mark.parametrize("line", ["Join: x", "Target-Dialog: x", "m: <sip:a@b>", "Expires: 1"])
def test_providers_and_scripts_have_the_same_rules(line: str) -> None:
    with pytest.raises(ValueError, match="set by the switch alone"):
        header_text(line)
    with pytest.raises(ValueError, match="set by the switch alone"):
        custom_headers([line])
