"""Providers over the API: what goes in, what comes out, and what never does."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from services.provisioning.adapters.engine import make_engine, parse
from services.provisioning.adapters.tables import providers
from tandem.bus.nodes import NodeAnnounced
from tandem.bus.ports import Topic
from tandem.rpc.directory import DirectoryChanged
from tandem.rpc.programs import CallbackForm, Provider
from tests.support.provisioning import Rig, running

PATH = "/api/v1/providers"
SECRET = "rösebud-of-the-provider"
KEY = "what-else-nobody-may-read"
BODY = {
    "name": "Blueface",
    "server": "sip.blueface.ie;transport=tcp",
    "username": "1234567",
    "auth_username": "a1234567",
    "password": SECRET,
    "realm": "blueface.ie",
    "outbound_proxy": "proxy.blueface.ie:5070",
    "from_header": '"${fromname}" <sip:1234567@blueface.ie>',
    "custom_headers": ["X-Account: 77", "P-Hint:a"],
    "register": True,
    "register_contact": "Office",
    "register_server": "sips:[2001:db8::1]:5061",
    "register_expires": 120,
}
CALLBACK: dict[str, Any] = {
    "kind": "generic",
    "url": f"https://me:{KEY}@api.example:8443/call/{KEY}?to=${{destination}}&key={KEY}",
    "method": "post",
    "headers": [["X-Api-Key", KEY]],
    "fields": [["secret", KEY], ["to", "${destination}"]],
    "number": "15551234567",
    "pattern": "+1555*",
    "users": ["Office"],
    "seconds": 30,
}


async def make(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=BODY | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def make_with_dialplan(client: httpx.AsyncClient) -> dict[str, Any]:
    dialplan = {"name": "in", "language": "python", "source": ""}
    assert (await client.post("/api/v1/dialplans", json=dialplan)).status_code == 201
    return await make(client, in_dialplan="in")


async def test_this_switch_itself_is_no_provider_without_an_account_of_it(
    rig: Rig, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    public = ("udp:203.0.113.7:5060", "tls:203.0.113.7:5061", "udp:[2001:db8::7]:5060")
    proxy = NodeAnnounced(
        node="proxy1", kind="proxy", incarnation=1, version="1", sip="10.0.0.1:5070", public=public
    )
    rig.bus.publish(Topic.NODES, proxy)
    await rig.delivered()
    body = {"name": "self", "username": "desk", "password": "secret"}
    for server in ("203.0.113.7", "sip:203.0.113.7:5060;transport=tcp", "sips:203.0.113.7",
                   "[2001:db8::7]"):  # fmt: skip
        answer = await alice.post(PATH, json=body | {"server": server})
        assert (answer.status_code, answer.json()["field"]) == (422, "server"), server
        assert "this switch itself, and desk is no account of it" in answer.text
    for elsewhere in (
        {"server": "203.0.113.7:5062"},
        {"server": "203.0.113.7", "outbound_proxy": "proxy.example"},
        {"server": "203.0.113.7", "from_header": "<sip:1@there.example>"},
    ):
        made = await alice.post(PATH, json=body | elsewhere)
        assert made.status_code == 201, made.text
        where = f"{PATH}/{made.json()['id']}"
        change = {"server": "203.0.113.7", "outbound_proxy": "", "from_header": ""}
        assert (await alice.patch(where, json=change)).status_code == 422
        assert (await alice.patch(where, json={"enabled": False})).status_code == 200
        await alice.delete(where)
    account = {"username": "Desk", "password": "rosebud"}
    assert (await bob.post("/api/v1/sip-accounts", json=account)).status_code == 201
    for client in (alice, bob):
        answer = await client.post(PATH, json=body | {"server": "203.0.113.7"})
        assert answer.status_code == 201, answer.text


async def for_switch(rig: Rig, owner: str = "alice") -> Provider:
    (found,) = await rig.service.programs.providers(owner)
    return found


async def refusal(client: httpx.AsyncClient, **more: Any) -> tuple[int, str]:
    answer = await client.post(PATH, json=BODY | more)
    return answer.status_code, answer.json().get("field", "")


async def test_a_provider_is_kept_as_appservers_need_it(rig: Rig, alice: httpx.AsyncClient) -> None:
    made = await make_with_dialplan(alice)
    expected = Provider(
        id=made["id"], owner="alice", name="Blueface",
        server="sip:sip.blueface.ie;transport=tcp", username="1234567", auth_username="a1234567",
        password=SECRET, realm="blueface.ie", outbound_proxy="sip:proxy.blueface.ie:5070",
        from_header='"${fromname}" <sip:1234567@blueface.ie>',
        custom_headers=("X-Account: 77", "P-Hint: a"), in_dialplan="in", register=True,
        register_contact="Office@local", register_server="sips:[2001:db8::1]:5061",
        register_expires=120,
    )  # fmt: skip
    assert await for_switch(rig) == expected
    await alice.patch(f"{PATH}/{made['id']}", json={"enabled": False, "password": ""})
    assert await for_switch(rig) == replace(expected, enabled=False, password="")
    assert (await alice.get(f"{PATH}/{made['id']}")).json()["has_password"] is False


async def test_its_owner_is_suspended_for_appservers_too(
    rig: Rig, admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await make(alice)
    await admin.patch("/api/v1/customers/alice", json={"suspended": True})
    assert (await for_switch(rig)).owner_enabled is False


async def test_secrets_go_in_and_never_come_out(
    rig: Rig, alice: httpx.AsyncClient, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await make(alice, callback=CALLBACK | {"users": ["Office"]})
    answers = [await alice.get(PATH), await alice.get(f"{PATH}/{made['id']}")]
    answers.append(await alice.patch(f"{PATH}/{made['id']}", json={"realm": ""}))
    answers.append(await alice.get("/api/v1/provider-bindings"))
    for answer in answers:
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert KEY not in answer.text
    assert made["has_password"] is True
    assert made["callback"] == {
        "kind": "generic", "origin": "https://api.example:8443", "method": "POST",
        "header_names": ["X-Api-Key"], "field_names": ["secret", "to"], "has_body": False,
        "number": "15551234567", "phone_type": 2, "pattern": "+1555*", "users": ["office"],
        "seconds": 30,
    }  # fmt: skip
    engine = make_engine(parse(database), wait_seconds=30, patience=30)
    async with engine.connect() as connection:
        (row,) = (await connection.execute(select(providers))).all()
    await engine.dispose()
    await rig.delivered()
    for told in (str(row), str(rig.published), repr(await for_switch(rig)), caplog.text):
        assert SECRET not in told
        assert KEY not in told
    found = (await for_switch(rig)).callback
    assert found == CallbackForm(
        url=CALLBACK["url"], method="POST", headers=(("X-Api-Key", KEY),),
        fields=(("secret", KEY), ("to", "${destination}")), number="15551234567",
        pattern="+1555*", users=("office",), seconds=30,
    )  # fmt: skip


async def test_of_a_callback_form_only_what_is_sent_changes(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    made = await make(alice, callback=CALLBACK)
    where = f"{PATH}/{made['id']}"
    await alice.patch(where, json={"callback": {"seconds": 9}})
    found = await for_switch(rig)
    assert found.callback is not None
    assert (found.callback.seconds, found.callback.url) == (9, CALLBACK["url"])
    assert found.password == SECRET
    both = await alice.patch(where, json={"callback": {"body": "x"}})
    assert (both.status_code, both.json()["field"]) == (422, "callback.fields")
    await alice.patch(where, json={"callback": {"body": "x", "fields": []}})
    assert (await alice.patch(where, json={"callback": None})).json()["callback"] is None
    found = await for_switch(rig)
    assert (found.callback, found.password) == (None, SECRET)


async def test_a_provider_that_is_asked_to_call_back_needs_no_server(
    rig: Rig, alice: httpx.AsyncClient
) -> None:
    body = {
        "name": "voice", "username": "me@example.com", "password": SECRET,
        "callback": {"kind": "google-voice", "number": "15551234567", "phone_type": 7},
    }  # fmt: skip
    assert (await alice.post(PATH, json=body)).status_code == 201
    found = await for_switch(rig)
    assert (found.server, found.username) == ("", "me@example.com")
    assert found.callback is not None
    assert found.callback.kind == "google-voice"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a.b"),
        ("name", "a@b"),
        ("name", "local"),
        ("name", ""),
        ("server", ""),
        ("server", "localhost"),
        ("server", "sip:me@example.com"),
        ("server", "example.com\r\nX: y"),
        ("server", "example.com;maddr=10.0.0.1"),
        ("server", "http://example.com"),
        ("server", "example.com:99999"),
        ("username", ""),
        ("username", "a@b"),
        ("username", 'a"b'),
        ("username", "a\nb"),
        ("password", "a\r\nb"),
        ("password", "x" * 256),
        ("realm", 'a"b'),
        ("outbound_proxy", "proxy"),
        ("from_header", "<sip:a@b>\r\nX: y"),
        ("from_header", "nobody"),
        ("from_header", "<sip:a@b>;tag=1"),
        ("custom_headers", ["X-One: 1\r\nX-Two: 2"]),
        ("custom_headers", ["no colon"]),
        ("custom_headers", ["via: x"]),
        ("custom_headers", ["V: x"]),
        ("custom_headers", ["Route : <sip:x;lr>"]),
        ("custom_headers", ["Proxy-Authorization: Digest"]),
        ("custom_headers", ["X-A: 1"] * 21),
        ("register_contact", ""),
        ("register_contact", "@local"),
        ("register_contact", "me@elsewhere.example"),
        ("register_contact", "dispatcher@local"),
        ("register_server", "sip:x@y.z"),
        ("register_expires", 59),
        ("register_expires", 3601),
        ("callback.url", "ftp://example.com"),
        ("callback.url", "https://${destination}/"),
        ("callback.url", ""),
        ("callback.kind", "carrier-pigeon"),
        ("callback.headers", [["Host", "x"]]),
        ("callback.headers", [["X-A", "1\r\nX-B: 2"]]),
        ("callback.seconds", 1),
        ("callback.users", ["a b"]),
    ],
)
async def test_a_bad_value_is_refused_and_named(
    alice: httpx.AsyncClient, field: str, value: object
) -> None:
    name, dot, inner = field.partition(".")
    more = {name: CALLBACK | {inner: value}} if dot else {name: value}
    assert await refusal(alice, **more) == (422, field)
    assert (await alice.get(PATH)).json()["total"] == 0


async def test_what_the_operator_bars_is_refused(database: str) -> None:
    async with running(database, barred_providers=r"(^|\.)evil\.example$|^10\.") as rig:
        async with await rig.admin() as admin:
            for field in ("server", "outbound_proxy", "register_server"):
                for host in ("SIP.evil.example", "10.1.2.3:5060"):
                    assert await refusal(admin, **{field: host}) == (422, field)
            await make(admin, server="notevil.example")


async def test_a_name_is_the_owners_own_and_free_again_when_it_is_deleted(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    made = await make(alice)
    assert await refusal(alice, name="BLUEFACE") == (409, "name")
    await make(bob, register=False, register_contact="")
    assert (await alice.delete(f"{PATH}/{made['id']}")).status_code == 204
    assert (await alice.get(f"{PATH}/{made['id']}")).status_code == 404
    assert (await make(alice))["id"] != made["id"]


async def test_a_customer_has_so_many_and_no_more(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await admin.patch("/api/v1/customers/alice", json={"max_providers": 1})
    made = await make(alice)
    assert (await alice.post(PATH, json=BODY | {"name": "two"})).status_code == 409
    await alice.delete(f"{PATH}/{made['id']}")
    await make(alice, name="two")


async def test_appservers_are_told_by_name_and_contact(rig: Rig, alice: httpx.AsyncClient) -> None:
    made = await make(alice)
    change = {"name": "other", "register_contact": "Lobby"}
    await alice.patch(f"{PATH}/{made['id']}", json=change)
    await rig.delivered()
    told = [(p.kind, p.key) for p in rig.published if isinstance(p, DirectoryChanged)]
    assert told[-4:] == [
        ("provider", "alice/Blueface"), ("provider", "alice/other"),
        ("sip-account", "office@local"), ("sip-account", "lobby@local"),
    ]  # fmt: skip


# -- keys ------------------------------------------------------------------------------------------


async def test_secrets_outlive_a_change_of_keys(database: str) -> None:
    old, new = "the key of yesterday", "the key of today, longer"
    async with running(database, secret_key=old) as rig, await rig.admin() as admin:
        await make(admin, callback=CALLBACK)
    async with running(database, secret_key=new, old_secret_keys=(old,)) as rig:
        assert (await for_switch(rig, "admin")).password == SECRET
        await rig.service.reseal()
    async with running(database, secret_key=new) as rig, await rig.admin() as admin:
        found = await for_switch(rig, "admin")
        assert (found.password, found.enabled) == (SECRET, True)
        assert found.callback is not None
        assert found.callback.url == CALLBACK["url"]


async def test_a_provider_whose_key_is_lost_is_not_used_and_can_be_mended(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(database, secret_key="the key of yesterday") as rig:
        async with await rig.admin() as admin:
            made = await make(admin)
    async with running(database) as rig, await rig.admin() as admin:
        found = await for_switch(rig, "admin")
        assert (found.password, found.enabled) == ("", False)
        assert "TANDEM_OLD_SECRET_KEYS" in caplog.text
        await admin.patch(f"{PATH}/{made['id']}", json={"realm": "other.example"})
        assert (await for_switch(rig, "admin")).enabled is False
        await admin.patch(f"{PATH}/{made['id']}", json={"password": "new"})
        found = await for_switch(rig, "admin")
        assert (found.password, found.enabled) == ("new", True)


async def test_the_secrets_of_one_row_do_not_open_in_another(rig: Rig, database: str) -> None:
    async with await rig.admin() as admin:
        await make(admin)
        other = await make(admin, name="other", password="else")
        engine = make_engine(parse(database), wait_seconds=30, patience=30)
        async with engine.begin() as connection:
            statement = select(providers.c.sealed).where(providers.c.name == "Blueface")
            stolen = (await connection.execute(statement)).scalar_one()
            await connection.execute(
                update(providers).where(providers.c.id == other["id"]).values(sealed=stolen)
            )
        await engine.dispose()
    found = {p.name: p for p in await rig.service.programs.providers("admin")}
    assert (found["other"].password, found["other"].enabled) == ("", False)
    assert found["Blueface"].password == SECRET


async def test_without_a_key_no_secret_is_kept(database: str) -> None:
    async with running(database, secret_key="") as rig, await rig.admin() as admin:
        assert await refusal(admin) == (422, "password")
        await make(admin, password="")


# -- contacts --------------------------------------------------------------------------------------


async def test_calls_to_a_contact_reach_its_owner(rig: Rig, alice: httpx.AsyncClient) -> None:
    made = await make_with_dialplan(alice)
    found = await rig.service.directory.account("OFFICE", "local")
    assert found is not None
    assert (found.owner, found.username, found.domain) == ("alice", "Office", "local")
    assert (found.in_dialplan, found.contact_only, found.ha1) == ("in", True, {})
    await alice.patch(f"{PATH}/{made['id']}", json={"enabled": False})
    assert await rig.service.directory.account("office", "local") is None
    await alice.patch(f"{PATH}/{made['id']}", json={"enabled": True})
    account = {"username": "office", "password": "rosebud-1"}
    assert (await alice.post("/api/v1/sip-accounts", json=account)).status_code == 201
    found = await rig.service.directory.account("office", "local")
    assert found is not None
    assert found.contact_only is False
    await alice.delete(f"{PATH}/{made['id']}")
    assert (await rig.service.directory.account("office", "local")) == found


async def test_nobody_takes_anothers_calls_by_a_contact(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    await alice.post("/api/v1/sip-accounts", json={"username": "desk", "password": "rosebud"})
    await make(alice, register_contact="office")
    for contact in ("desk@local", "DESK", "x.desk", "office", "a.b.office@local"):
        assert await refusal(bob, register_contact=contact) == (409, "register_contact")
    await make(bob, register_contact="deskbob.own")
    for username in ("office", "x.office"):
        account = {"username": username, "password": "rosebud"}
        assert (await bob.post("/api/v1/sip-accounts", json=account)).status_code == 409
    # one's own is one's own
    await make(alice, name="two", register_contact="x.desk")
    await make(alice, name="three", register_contact="office")


async def test_a_domain_that_providers_call_to_stays(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await admin.post("/api/v1/domains", json={"name": "office.example"})
    await make(alice, register_contact="me@office.example")
    answer = await admin.delete("/api/v1/domains/office.example")
    assert answer.status_code == 409
    assert "provider" in answer.json()["detail"]


async def test_local_stands_for_the_default_domain(database: str) -> None:
    async with running(database, ("office.example", "other.example")) as rig:
        async with await rig.admin() as admin:
            for number, contact in enumerate(("me", "me@LOCAL", "me@office.example")):
                made = await make(admin, name=f"p{number}", register_contact=contact)
                assert made["register_contact"] == "me@office.example"
            assert await refusal(admin, name="Local") == (422, "name")
