"""Responses by the rules of RFC 3261 §8.2.6."""

from __future__ import annotations

import pytest

from tandem.sip.build import reason_phrase, record_routes, response_to
from tandem.sip.message import Request, parse_message

LINES = [
    "v: SIP/2.0/UDP b;branch=z9hG4bK2, SIP/2.0/UDP c",
    "Via: SIP/2.0/UDP a;branch=z9hG4bK1",
    "From: <sip:a@b>;tag=1",
    "To: <sip:c@d;tag=uri>",
    "Call-ID: x",
    "CSeq: 1 INVITE",
    "Timestamp: 54",
    "Record-Route: <sip:p;lr>",
    "Record-Route: <sip:q;lr>",
    "Max-Forwards: 70",
]


def invite(to: str = LINES[3]) -> Request:
    return Request("INVITE", "sip:c@d", [*LINES[:3], to, *LINES[4:]])


def test_a_response_copies_the_lines_that_lead_it_back() -> None:
    response = response_to(invite(), 200, tag="9", headers=["Server: x"], body=b"hello")
    assert response.lines == [
        *LINES[:3], "To: <sip:c@d;tag=uri>;tag=9", *LINES[4:6], "Server: x",
    ]  # fmt: skip
    assert response.start_line == "SIP/2.0 200 OK"
    assert parse_message(response.to_bytes()).body == b"hello"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("t: sip:c@d", "t: sip:c@d;tag=9"),
        ("To :\r\n sip:c@d ", "To :\r\n sip:c@d;tag=9"),
        ("To: <sip:c@d>;tag=8", "To: <sip:c@d>;tag=8"),
        ("To: <sip:c@d> ; TAG = 8", "To: <sip:c@d> ; TAG = 8"),
        ("To: sip:c@d;\r\n tag=8", "To: sip:c@d;\r\n tag=8"),
    ],
)
def test_a_tag_is_added_where_there_is_none(to: str, expected: str) -> None:
    assert response_to(invite(to), 200, tag="9").lines[3] == expected


def test_no_tag_is_added_unasked() -> None:
    assert response_to(invite(), 404).lines[3] == LINES[3]


def test_trying_copies_the_timestamp() -> None:
    assert "Timestamp: 54" in response_to(invite(), 100).lines


def test_a_reason_begins_no_new_header() -> None:
    response = response_to(invite(), 403, "No\r\nX: y")
    assert response.start_line == "SIP/2.0 403 No  X: y"


def test_reasons_fall_back_to_their_class() -> None:
    assert [reason_phrase(status) for status in (404, 499, 999)] == [
        "Not Found", "Bad Request", "Unknown",
    ]  # fmt: skip


def test_record_routes_are_copied_as_they_came() -> None:
    assert record_routes(invite()) == LINES[7:9]


def test_a_request_with_a_line_that_is_no_header_is_answered_without_it() -> None:
    request = Request("INVITE", "sip:bob@b.example", [*LINES, "T", "no header", "From"])
    response = response_to(request, 400, tag="9")
    assert response.lines == [*LINES[:3], LINES[3] + ";tag=9", *LINES[4:6]]
    answer = parse_message(response.to_bytes())
    assert answer.to.tag == "9"


def test_folded_lines_are_copied_whole() -> None:
    lines = ["Via: SIP/2.0", " /UDP a.example;branch=z9hG4bK1", *LINES[2:]]
    request = Request("INVITE", "sip:c@d", lines)
    assert parse_message(response_to(request, 400).to_bytes()).via.branch == "z9hG4bK1"
