"""What phones read: well-formed XML whatever is in it, and what they look for."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from services.appserver.domain.subscriptions.dialog_info import MAX_DIALOGS, dialog_info
from services.appserver.domain.subscriptions.presence import Presence, pidf
from tandem.bus.lines import Line

DIALOG = "{urn:ietf:params:xml:ns:dialog-info}"
PIDF = "{urn:ietf:params:xml:ns:pidf}"
MODEL = "{urn:ietf:params:xml:ns:pidf:data-model}"
RPID = "{urn:ietf:params:xml:ns:pidf:rpid}"
BOB = "bob@example.com"
URI = "sip:bob@example.com"


def line(call_id: str = "c1", state: str = "early", remote: str = "sip:alice@example.com") -> Line:
    return Line(account=BOB, call_id=call_id, outgoing=False, state=state, remote=remote)


def test_an_idle_line_has_a_full_state_without_dialogs() -> None:
    root = ElementTree.fromstring(dialog_info(URI, 0, (), ()))
    assert root.tag == f"{DIALOG}dialog-info"
    assert root.attrib == {"version": "0", "state": "full", "entity": "sip:bob@example.com"}
    assert list(root) == []


def test_a_line_tells_its_calls_and_those_that_are_over() -> None:
    root = ElementTree.fromstring(dialog_info(URI, 7, (line(),), (line("c0", "confirmed"),)))
    assert root.get("version") == "7"
    told = [
        (d.get("id"), d.get("direction"), d.findtext(f"{DIALOG}state"),
         d.findtext(f"{DIALOG}remote/{DIALOG}identity"))
        for d in root
    ]  # fmt: skip
    assert told == [
        ("c1", "recipient", "early", "sip:alice@example.com"),
        ("c0", "recipient", "terminated", "sip:alice@example.com"),
    ]


def test_a_document_has_a_bounded_number_of_dialogs() -> None:
    lines = [line(f"c{n}") for n in range(MAX_DIALOGS + 5)]
    assert len(ElementTree.fromstring(dialog_info(URI, 0, lines, ()))) == MAX_DIALOGS


NASTY = [
    "sip:<evil/>&\"'@x",
    "sip:]]><dialog><state>terminated</state></dialog>@x",
    "sip:a\x00b\x1b@x",
    "sip:\udcff\ud800@x",
    "sip:Müller☎𝄞@x",
    "sip:a￾￿@x",
]


@pytest.mark.parametrize("nasty", NASTY)
def test_what_is_in_names_can_not_be_taken_for_markup(nasty: str) -> None:
    data = dialog_info(nasty, 1, (line(remote=nasty),), ())
    root = ElementTree.fromstring(data)
    (dialog,) = root
    assert dialog.findtext(f"{DIALOG}state") == "early"
    told = dialog.findtext(f"{DIALOG}remote/{DIALOG}identity") or ""
    assert len(told) == len(nasty)
    assert all(one in (two, "?") for one, two in zip(told, nasty, strict=True))


@pytest.mark.parametrize("nasty", NASTY)
def test_nor_in_presence(nasty: str) -> None:
    root = ElementTree.fromstring(pidf(nasty, Presence(True, True)))
    assert root.findtext(f"{PIDF}tuple/{PIDF}status/{PIDF}basic") == "open"


@pytest.mark.parametrize(("reachable", "basic"), [(True, "open"), (False, "closed")])
def test_presence_tells_whether_a_phone_is_there(reachable: bool, basic: str) -> None:
    root = ElementTree.fromstring(pidf(URI, Presence(reachable, False)))
    assert root.get("entity") == "sip:bob@example.com"
    assert root.findtext(f"{PIDF}tuple/{PIDF}status/{PIDF}basic") == basic
    assert root.find(f"{MODEL}person") is None


def test_presence_tells_that_somebody_is_on_the_phone_in_the_words_that_phones_search_for() -> None:
    data = pidf(URI, Presence.of(True, [line(state="early"), line(state="confirmed")]))
    root = ElementTree.fromstring(data)
    assert root.find(f"{MODEL}person/{RPID}activities/{RPID}on-the-phone") is not None
    assert b"<rpid:on-the-phone" in data
    assert b"<basic>open</basic>" in data
    assert Presence.of(True, [line()]) == Presence(True, False)
