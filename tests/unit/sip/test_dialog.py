"""Dialogs: RFC 3261 §12."""

from __future__ import annotations

import json

import pytest

from tandem.sip.build import response_to
from tandem.sip.dialog import Dialog, DialogState, Order, dialog_id, target_of
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request, Response

ROUTES = ("<sip:p1.test;lr>", "<sip:p2.test;lr;ftag=x>", '"P3" <sip:p3.test;lr>;x=y')


def invite(*extra: str, uri: str = "sip:bob@example.test", number: int = 5) -> Request:
    lines = [
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        'f: "Alice, A." <sip:alice@example.test>;tag=a;custom=1',
        "To: Bob <sip:bob@example.test>",
        "i: call@test",
        f"CSeq: {number} INVITE",
        "Max-Forwards: 70",
        *extra,
    ]
    return Request("INVITE", uri, lines)


def answer(status: int, *extra: str, tag: str = "b") -> Response:
    return response_to(invite(), status, tag=tag, headers=extra)


def uas(*extra: str) -> Dialog:
    return Dialog.from_request(invite("Contact: <sip:alice@192.0.2.1:5070>", *extra), "mine")


def uac(status: int = 200, *extra: str) -> Dialog:
    return Dialog.from_response(invite(), answer(status, "Contact: <sip:bob@192.0.2.2>", *extra))


# -- how a dialog begins ---------------------------------------------------------------------------


def test_the_uas_takes_tags_target_and_number_from_the_request() -> None:
    dialog = uas()
    assert dialog.id == ("call@test", "mine", "a")
    assert dialog.local == "Bob <sip:bob@example.test>;tag=mine"
    assert dialog.remote == '"Alice, A." <sip:alice@example.test>;tag=a;custom=1'
    assert dialog.remote_target == "sip:alice@192.0.2.1:5070"
    assert (dialog.local_seq, dialog.remote_seq) == (0, 5)
    assert dialog.state is DialogState.EARLY
    assert dialog.uas
    assert not dialog.secure


def test_the_uac_takes_them_from_its_request_and_the_response() -> None:
    dialog = uac(180)
    assert dialog.id == ("call@test", "a", "b")
    assert dialog.local == '"Alice, A." <sip:alice@example.test>;tag=a;custom=1'
    assert dialog.remote == "Bob <sip:bob@example.test>;tag=b"
    assert dialog.remote_target == "sip:bob@192.0.2.2"
    assert (dialog.local_seq, dialog.remote_seq) == (5, None)
    assert dialog.state is DialogState.EARLY
    assert not dialog.uas


def test_a_2xx_makes_a_confirmed_dialog_at_once() -> None:
    assert uac(200).state is DialogState.CONFIRMED


def test_the_route_set_of_the_uas_is_in_order_and_that_of_the_uac_reversed() -> None:
    lines = (f"Record-Route: {ROUTES[0]}, {ROUTES[1]}", f"record-route: {ROUTES[2]}")
    assert uas(*lines).route_set == ROUTES
    assert uac(200, *lines).route_set == ROUTES[::-1]


def test_a_sips_request_uri_makes_a_secure_dialog() -> None:
    contact = "Contact: <sips:alice@192.0.2.1>"
    request = invite(contact, uri="SIPS:bob@example.test")
    assert Dialog.from_request(request, "mine").secure
    assert Dialog.from_response(request, answer(180)).secure


def test_an_end_of_rfc_2543_has_no_tag() -> None:
    request = invite("Contact: <sip:alice@192.0.2.1>")
    request.set("From", "<sip:alice@example.test>")
    dialog = Dialog.from_request(request, "mine")
    assert dialog.remote_tag == ""
    response = response_to(request, 200)
    assert Dialog.from_response(request, response).id == ("call@test", "", "")


def test_a_request_without_contact_makes_no_dialog() -> None:
    with pytest.raises(BadMessage, match="Missing contact"):
        Dialog.from_request(invite(), "mine")


@pytest.mark.parametrize(
    "line",
    ["Record-Route: <sip:p1.test", "Record-Route: nonsense", "Contact: *"],
)
def test_what_could_not_be_used_later_is_refused_when_the_dialog_is_made(line: str) -> None:
    contact = () if line.startswith("Contact") else ("Contact: <sip:alice@192.0.2.1>",)
    with pytest.raises(BadMessage):
        Dialog.from_request(invite(*contact, line), "mine")
    with pytest.raises(BadMessage):
        Dialog.from_response(invite(), answer(200, *contact, line))


def test_a_response_without_contact_leads_to_the_request_uri() -> None:
    assert Dialog.from_response(invite(), answer(180)).remote_target == "sip:bob@example.test"


def test_what_a_request_uri_must_not_have_is_taken_from_the_target() -> None:
    response = answer(200, "Contact: <sip:bob@192.0.2.2;method=BYE;x=1?Subject=a>")
    assert target_of(response) == "sip:bob@192.0.2.2;x=1"
    response = answer(200, "Contact: <sip:bob@192.0.2.2?Subject=a>")
    assert target_of(response) == "sip:bob@192.0.2.2"


# -- early, confirmed, forked ----------------------------------------------------------------------


def test_the_2xx_recomputes_route_set_and_target_of_an_early_uac() -> None:
    dialog = uac(180, "Record-Route: <sip:old.test;lr>")
    dialog.confirm(answer(200, "Record-Route: <sip:new.test;lr>", "Contact: <sip:bob@moved.test>"))
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.route_set == ("<sip:new.test;lr>",)
    assert dialog.remote_target == "sip:bob@moved.test"


def test_a_2xx_that_comes_again_changes_no_route_set() -> None:
    dialog = uac(200, "Record-Route: <sip:p1.test;lr>")
    dialog.confirm(answer(200, "Record-Route: <sip:evil.test;lr>", "Contact: <sip:x@evil.test>"))
    assert dialog.route_set == ("<sip:p1.test;lr>",)
    assert dialog.remote_target == "sip:bob@192.0.2.2"


def test_a_malformed_2xx_leaves_the_early_dialog_as_it_was() -> None:
    dialog = uac(180)
    before = dialog.to_dict()
    with pytest.raises(BadMessage):
        dialog.confirm(answer(200, "Record-Route: <sip:new.test;lr>", "Contact: <nonsense>"))
    assert dialog.to_dict() == before


def test_our_own_2xx_confirms_the_uas_and_changes_nothing_else() -> None:
    dialog = uas("Record-Route: <sip:p1.test;lr>")
    before = dialog.to_dict()
    dialog.confirm(answer(200, "Record-Route: <sip:x.test;lr>", "Contact: <sip:me@192.0.2.9>"))
    assert dialog.to_dict() == before | {"state": "confirmed"}


def test_forked_responses_make_dialogs_that_differ_by_tag() -> None:
    one = Dialog.from_response(invite(), answer(180, "Contact: <sip:b@one.test>", tag="one"))
    two = Dialog.from_response(invite(), answer(200, "Contact: <sip:b@two.test>", tag="two"))
    assert one.id != two.id
    assert (one.state, two.state) == (DialogState.EARLY, DialogState.CONFIRMED)


# -- requests inside it ----------------------------------------------------------------------------


def test_our_requests_count_up_and_go_to_the_target_by_the_route_set() -> None:
    dialog = uas("Record-Route: <sip:p1.test;lr>, <sip:p2.test;lr>")
    bye = dialog.request("BYE")
    assert bye.method == "BYE"
    assert bye.uri == "sip:alice@192.0.2.1:5070"
    assert bye.items("route") == ["<sip:p1.test;lr>", "<sip:p2.test;lr>"]
    assert bye.first("from") == dialog.local
    assert bye.first("to") == dialog.remote
    assert bye.call_id == "call@test"
    assert [str(bye.cseq), str(dialog.request("INFO").cseq)] == ["1 BYE", "2 INFO"]
    assert "via" not in bye.index


def test_an_ack_has_the_number_of_its_invite_and_uses_none_up() -> None:
    dialog = uac()
    ack = dialog.request("ACK", seq=5)
    assert str(ack.cseq) == "5 ACK"
    assert str(dialog.request("BYE").cseq) == "6 BYE"


def test_without_route_set_a_request_goes_straight_to_the_target() -> None:
    bye = uac().request("BYE")
    assert bye.uri == "sip:bob@192.0.2.2"
    assert "route" not in bye.index


def test_a_strict_router_gets_the_request_uri_and_the_target_goes_last() -> None:
    dialog = uas("Record-Route: <sip:strict.test;method=INVITE?a=b>, <sip:p2.test;lr>")
    bye = dialog.request("BYE")
    assert bye.uri == "sip:strict.test"
    assert bye.items("route") == ["<sip:p2.test;lr>", "<sip:alice@192.0.2.1:5070>"]


def test_their_requests_must_not_count_down() -> None:
    dialog = uas()
    orders = [dialog.receive(invite(number=number)) for number in (6, 9, 8, 9, 10)]
    assert orders == [Order.NEXT, Order.NEXT, Order.OUT_OF_ORDER, Order.NEXT, Order.NEXT]
    assert dialog.remote_seq == 10


def test_the_first_request_of_the_callee_may_have_any_number() -> None:
    dialog = uac()
    assert dialog.receive(invite(number=0)) is Order.NEXT
    assert dialog.remote_seq == 0


def test_a_target_refresh_follows_the_contact_if_there_is_one() -> None:
    dialog = uas()
    dialog.refresh_target(invite())
    assert dialog.remote_target == "sip:alice@192.0.2.1:5070"
    dialog.refresh_target(invite("m: <sip:alice@moved.test>"))
    assert dialog.remote_target == "sip:alice@moved.test"


def test_a_request_of_theirs_names_the_dialog_from_their_side() -> None:
    request = uac().request("BYE")
    assert dialog_id(request) == ("call@test", "b", "a")
    assert dialog_id(invite()) == ("call@test", "", "a")
    request.set("From", "<sip:alice@example.test>")
    assert dialog_id(request) == ("call@test", "b", "")


# -- storing it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [uas, lambda *extra: uac(180, *extra)])
def test_a_dialog_survives_being_written_as_json(make: type) -> None:
    dialog: Dialog = make(f"Record-Route: {ROUTES[0]}, {ROUTES[1]}")
    again = Dialog.from_dict(json.loads(json.dumps(dialog.to_dict())))
    assert again == dialog
    assert again.request("BYE").to_bytes() == dialog.request("BYE").to_bytes()
