"""What goes into a message comes out of it."""

from __future__ import annotations

from dataclasses import replace

from tandem.bus.hints import Hint
from tandem.bus.location import Binding
from tandem.bus.nodes import NodeAnnounced
from tandem.rpc import messages
from tandem.rpc.directory import Account, Domain
from tandem.rpc.sessions import Principal
from tandem.stubs.directory.v1 import directory_pb2

BINDING = Binding(
    aor="desk@example.com",
    owner="alice",
    contact="sip:desk@192.0.2.7:5060",
    received="udp:192.0.2.7:5060",
    path=("<sip:t0ken@proxy;lr>", "<sip:other;lr>"),
    q=0.5,
    instance="<urn:uuid:1>",
    reg_id=1,
    call_id="c@x",
    cseq=4_294_967_295,
    user_agent="phone/1",
    registered_at=1.8e9,
    expires_at=1.8e9 + 60.5,
    node="appserver-1",
    proxy="proxy-1",
)
ACCOUNT = Account(
    id="7",
    owner="alice",
    username="Desk",
    domain="example.com",
    ha1={"MD5": "0" * 32, "SHA-256": "1" * 64},
    enabled=False,
    owner_enabled=False,
    in_dialplan="in",
    out_dialplan=None,
    max_bindings=3,
    send_keepalives=False,
    ip_acl=("192.0.2.0/24", "2001:db8::/32"),
    max_call_seconds=60,
    max_calls=2,
)


def test_bindings_come_back_as_they_were() -> None:
    second = replace(BINDING, path=(), instance="", reg_id=0)
    assert messages.bindings_in(messages.bindings_out([BINDING, second])) == [BINDING, second]


def test_text_that_is_no_unicode_does_not_stop_a_snapshot() -> None:
    broken = replace(BINDING, user_agent="phone \udcff", path=("<sip:\udc80@proxy>",))
    found = messages.bindings_in(messages.bindings_out([broken]))
    assert found == [replace(BINDING, user_agent="phone ?", path=("<sip:?@proxy>",))]


def test_accounts_come_back_with_what_is_absent() -> None:
    for account in (ACCOUNT, replace(ACCOUNT, in_dialplan=None, out_dialplan="")):
        data = messages.account_out(account).SerializeToString()
        assert messages.account_in(directory_pb2.Account.FromString(data)) == account


def test_domains_hints_and_principals_come_back() -> None:
    domains = [Domain("example.com", ("sip.example.com", "example.org")), Domain("local")]
    assert messages.domains_in(messages.domains_out(domains)) == domains
    hint = Hint(
        id="h",
        node="appserver-1",
        appserver="127.0.0.1:5070",
        customer="alice",
        users=("desk", "mobile"),
        pattern="+49*",
        expires_at=1.8e9,
    )
    assert messages.hints_in(messages.hints_out([hint])) == [hint]
    for principal in (Principal("alice"), Principal("admin", admin=True)):
        assert messages.principal_in(messages.principal_out(principal)) == principal


def test_a_node_is_told_as_it_announced_itself() -> None:
    said = NodeAnnounced(
        node="proxy-1", kind="proxy", incarnation=1, version="1", public=("udp:192.0.2.1:5060",)
    )
    message = messages.node_out(said)
    assert (message.node, message.weight, list(message.public)) == (
        "proxy-1", 100, ["udp:192.0.2.1:5060"],
    )  # fmt: skip
