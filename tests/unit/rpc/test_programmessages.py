"""What appservers are told of dialplans and providers comes out as it went in."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tandem.dialplan.script import Dialplan, Language
from tandem.rpc import programmessages as messages
from tandem.rpc.programs import CallbackForm, Customer, Lease, Provider, RegistrationReport
from tandem.stubs.directory.v1 import directory_pb2 as pb

DIALPLAN = Dialplan(
    id="1", owner="alice", name="Out", language=Language.RUBY, source="sys.Log('ü')", version=7,
    timezone="Europe/Dublin", max_executions=3, may_email=True,
)  # fmt: skip
CALLBACK = CallbackForm(
    kind="google-voice", url="https://voice.example/${destination}", method="PUT",
    headers=(("X-Key", "a"), ("X-Key", "b")), fields=(("to", "${destination}"),), body="{}",
    number="1234", phone_type=7, pattern="+1*", users=("alice",), seconds=30,
)  # fmt: skip
PROVIDER = Provider(
    id="2", owner="alice", name="blueface", server="sip:sip.blueface.ie:5061;transport=tls",
    username="1234", auth_username="a1234", password="pässword", realm="blueface.ie",
    outbound_proxy="sip:proxy.blueface.ie", from_header="sip:${fromuriuser}@blueface.ie",
    custom_headers=("X-One: 1", "X-Two: 2"), in_dialplan="in", register=True,
    register_contact="me@local", register_server="sip:reg.blueface.ie", register_expires=120,
    callback=CALLBACK, enabled=False, owner_enabled=False,
)  # fmt: skip
REPORT = RegistrationReport(
    provider="2", registered=True, contact="sip:me@192.0.2.1", expires_at=1.8e9 + 0.25,
    tried_at=1.8e9, next_at=1.8e9 + 1, status=200, reason="x", disable=True, released=True,
)  # fmt: skip
BARE = Provider(id="3", owner="bob", name="b", server="sip:b.example", username="b")


def test_dialplans_come_back() -> None:
    data = messages.dialplan_out(DIALPLAN).SerializeToString()
    assert messages.dialplan_in(pb.Dialplan.FromString(data)) == DIALPLAN


def test_a_language_of_the_future_is_told_apart_from_ours() -> None:
    message = messages.dialplan_out(DIALPLAN)
    message.language = "cobol"
    with pytest.raises(ValueError, match="cobol"):
        messages.dialplan_in(message)


def test_providers_come_back_with_what_is_absent() -> None:
    made = [PROVIDER, BARE, replace(PROVIDER, callback=CallbackForm(), in_dialplan="")]
    assert messages.providers_in(messages.providers_out(made)) == made


def test_customers_come_back() -> None:
    made = Customer("alice", 7)
    assert messages.customer_in(messages.customer_out(made)) == made


def test_leases_and_reports_come_back() -> None:
    held = [
        Lease(provider=PROVIDER, seconds=0.0, moved=True, last=REPORT),
        Lease(provider=BARE, seconds=5.5),
    ]
    assert messages.leases_in(messages.leases_out(held)) == held
    assert messages.reports_in(messages.reports_out([REPORT])) == [REPORT]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Dialplan, pb.Dialplan),
        (Customer, pb.Customer),
        (Provider, pb.Provider),
        (CallbackForm, pb.CallbackForm),
        (RegistrationReport, pb.RegistrationReport),
        (Lease, pb.HeldLease),
    ],
)
def test_a_message_has_the_fields_of_its_value(value: type, message: type[pb.Provider]) -> None:
    named = [field.name for field in fields(value)]
    assert named == [field.name for field in message.DESCRIPTOR.fields]


def test_nothing_that_may_be_secret_is_in_a_repr() -> None:
    told = repr(PROVIDER) + repr(Lease(provider=PROVIDER, seconds=1.0))
    for secret in ("pässword", "X-Key", "${destination}", "{}"):
        assert secret not in told
