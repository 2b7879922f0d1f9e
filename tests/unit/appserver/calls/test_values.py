"""The values that calls are made of: header passing, best answers, session timers, legs."""

from __future__ import annotations

import json

import pytest

from services.appserver.config import AppServerConfig
from services.appserver.domain.best_response import Failure, best, end_reason, passed_status
from services.appserver.domain.headers import has_offer, passed, response_headers, retagged
from services.appserver.domain.leg import Leg, Way
from services.appserver.domain.replaces import Replaces
from services.appserver.domain.session import Session, agreed
from services.appserver.handlers.calls import CallLimits
from tandem.sip.dialog import Dialog, DialogState
from tandem.sip.message import Request, Response
from tandem.sip.transaction import Hop


@pytest.mark.parametrize(
    "line",
    ["Via: x", "v: x", "ROUTE: x", "Record-Route: x", "Authorization: x", "Path: x",
     "Proxy-Authorization: x", "Max-Forwards: 1", "CSeq: 1 X", "l: 5", "m: <sip:a@b>",
     "Proxy-Require: x", "RAck: 1 1 INVITE", "Max-Breadth: 3"],
)  # fmt: skip
def test_lines_of_a_hop_or_dialog_stay(line: str) -> None:
    assert passed(Request("INVITE", "sip:a@b", [line])) == []


@pytest.mark.parametrize(
    "line",
    ["Supported: replaces", "Require: 100rel", "P-Asserted-Identity: <sip:a@b>", "X-Own:1",
     "Diversion: <sip:a@b>", "subject : odd spelling ", "RSeq: 1", "Allow: INVITE", "x: 1800"],
)  # fmt: skip
def test_other_lines_pass_byte_for_byte(line: str) -> None:
    assert passed(Request("INVITE", "sip:a@b", [line])) == [line]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<sip:a@b>;tag=1", "<sip:a@b>;tag=9"),
        ('"A;tag=x" <sip:a@b;x=1>;tag=1;y=2', '"A;tag=x" <sip:a@b;x=1>;y=2;tag=9'),
        ("sip:a@b;tag=1", "<sip:a@b>;tag=9"),
        ("<sip:a@b> ; TAG = 1", "<sip:a@b>;tag=9"),
        ('<sip:a@b>;x="a>b";tag=1', '<sip:a@b>;x="a>b";tag=9'),
    ],
)
def test_a_tag_is_replaced_and_all_else_kept(value: str, expected: str) -> None:
    assert retagged(value, "9") == expected
    assert retagged(value, "") == expected.removesuffix(";tag=9")


def test_only_a_session_description_is_an_offer() -> None:
    request = Request("INVITE", "sip:a@b", ["Content-Type: Application/SDP;x=1"], b"v=0")
    assert has_offer(request)
    request.set("Content-Type", "text/plain")
    assert not has_offer(request)
    request.body = b""
    assert not has_offer(request)


def test_a_redirection_keeps_its_contacts_and_other_answers_get_ours() -> None:
    response = Response(302, "Moved", ["Contact: <sip:x@y>", "X: 1"])
    assert response_headers(response, contact=None, record_route=[]) == [
        "Contact: <sip:x@y>",
        "X: 1",
    ]
    response = Response(200, "OK", ["Contact: <sip:x@y>", "X: 1"])
    assert response_headers(response, contact="Contact: us", record_route=["RR"]) == [
        "RR",
        "Contact: us",
        "X: 1",
    ]


def test_the_best_answer_is_a_6xx_then_the_lowest_class() -> None:
    def chosen(*statuses: int) -> int:
        return best([Failure(status, None) for status in statuses]).status

    assert chosen(486, 600, 302) == 600
    assert chosen(503, 486, 302) == 302
    assert chosen(500, 404) == 404
    assert chosen(408, 487, 480) == 480


@pytest.mark.parametrize(("status", "other"), [(503, 500), (401, 403), (430, 480), (486, 486)])
def test_some_answers_pass_under_another_status(status: int, other: int) -> None:
    assert passed_status(status) == other


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(408, None), "not reachable"),
        (Failure(408, None, True), "no answer"),
        (Failure(486, None), "busy"),
        (Failure(301, None), "redirected"),
        (Failure(500, None), "failed"),
    ],
)
def test_end_reasons(failure: Failure, reason: str) -> None:
    assert end_reason(failure) == reason


@pytest.mark.parametrize(
    ("value", "by_caller", "expected"),
    [
        ("1800;refresher=uac", True, Session(1800, 0)),
        ("1800;refresher=uac", False, Session(1800, 1)),
        ("90 ; refresher = UAS", True, Session(90, 1)),
        ("90;refresher=uas", False, Session(90, 0)),
        ("0", True, None),
        ("soon", True, None),
        (None, True, None),
    ],
)
def test_what_the_ends_agreed_on(
    value: str | None, by_caller: bool, expected: Session | None
) -> None:
    lines = [f"Session-Expires: {value}"] if value else []
    assert agreed(Response(200, "OK", lines), asked_by_caller=by_caller) == expected


def leg() -> Leg:
    dialog = Dialog(
        call_id="c",
        local_tag="l",
        remote_tag="r",
        local="<sip:l@x>;tag=l",
        remote="<sip:r@x>;tag=r",
        remote_target="sip:r@192.0.2.7",
        route_set=("<sip:t@10.0.0.1;lr>", "<sip:198.51.100.1;lr>", "<sip:far.example;lr>"),
        local_seq=4,
        remote_seq=7,
        state=DialogState.CONFIRMED,
        uas=True,
    )
    return Leg(dialog, 1, "10.0.0.1:5070", True, False, "a@x", "tcp:192.0.2.7:5060")


def test_a_leg_survives_json() -> None:
    assert Leg.from_dict(json.loads(json.dumps(leg().to_dict()))) == leg()


def test_a_pinned_way_uses_the_whole_route_set() -> None:
    request = leg().request("INFO", leg().pinned_way())
    assert request.values("route") == list(leg().dialog.route_set)
    assert leg().pinned_way().hop == Hop("10.0.0.1:5070", True)


def test_an_unpinned_way_takes_the_place_of_our_proxies() -> None:
    assert leg().next_uri() == "<sip:far.example;lr>"
    way = Way(Hop("p", False), ("<sip:proxy;lr;dst=udp:1.2.3.4:5060>",), 2)
    request = leg().request("INFO", way, max_forwards=9)
    assert request.values("route") == [
        "<sip:proxy;lr;dst=udp:1.2.3.4:5060>",
        "<sip:far.example;lr>",
    ]
    assert request.max_forwards == 9
    assert request.cseq.number == 5


def test_limits_come_from_the_settings() -> None:
    settings = {"MAX_CALLS": 7, "RING_SECONDS": 8, "MIN_SESSION_SECONDS": 99, "PROBE_SECONDS": 5}
    config = AppServerConfig.from_env({f"TANDEM_{key}": str(n) for key, n in settings.items()})
    limits = CallLimits.of(config)
    assert (limits.max_calls, limits.ring_seconds, limits.min_se, limits.probe_seconds) == (
        7, 8, 99, 5,
    )  # fmt: skip


def test_probes_can_not_follow_each_other_without_a_pause() -> None:
    with pytest.raises(ValueError, match="TANDEM_PROBE_SECONDS"):
        AppServerConfig(probe_seconds=0)


@pytest.mark.parametrize(
    "value",
    ["", "a@b", "a@b;to-tag=1", ";to-tag=1;from-tag=2", "a\r\nX: 1;to-tag=1;from-tag=2",
     "a@b;to-tag=1;from-tag=2\n", "a@b;to-tag=1;from-tag=2;x\r\n\r\nv=0"],
)  # fmt: skip
def test_a_replaces_that_names_no_dialog_is_none(value: str) -> None:
    assert Replaces.parse(value) is None


def test_replaces_is_parsed_and_written() -> None:
    replaces = Replaces.parse("a@b ; From-Tag=2;to-tag = 1;early-only")
    assert replaces == Replaces("a@b", "1", "2", ";early-only")
    assert str(replaces) == "a@b;to-tag=1;from-tag=2;early-only"
    assert replaces.across(leg().dialog) == Replaces("c", "r", "l", ";early-only")
