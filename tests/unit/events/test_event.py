from __future__ import annotations

import json

from services.events.domain.event import draft
from services.events.domain.times import parse_time, rfc3339
from tandem.bus.phone_events import RegistrationAdded
from tandem.bus.ports import Envelope
from tandem.rpc.sessions import Principal
from tests.support.events import stored


def test_bytes_that_are_no_utf8_do_not_reach_the_log() -> None:
    raw = b"Phone \xff\xfe".decode("utf-8", "surrogateescape")
    event = RegistrationAdded(
        owners=("alice",), call_id="id-\udcff", aor="a@b", contact="sip:\udc80@c",
        received="udp:192.0.2.1:5060", expires=60, user_agent=raw,
    )  # fmt: skip
    made = draft(Envelope("n-1", 1.0, "n", event))
    assert made.data["user_agent"] == "Phone \ufffd\ufffd"
    assert made.call_id == "id-\ufffd"
    json.dumps(made.data, ensure_ascii=False).encode()


def test_a_customer_is_not_shown_who_else_had_a_part() -> None:
    event = stored(1, owners=("alice", "bob"))
    assert event.document(Principal("alice"))["owner"] == "alice"
    assert event.document(Principal("root", admin=True))["owner"] == "alice,bob"
    assert stored(1, owners=()).document(Principal("root", admin=True))["owner"] is None


def test_times_are_rfc_3339_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000.1234) == "2023-11-14T22:13:20.123Z"
    assert rfc3339(None) is None
    for text in ("2023-11-14T22:13:20Z", "2023-11-14T23:13:20 01:00", "1700000000"):
        assert parse_time(text) == 1_700_000_000
