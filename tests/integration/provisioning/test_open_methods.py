"""What customers set up for the call manager: open methods and AGI rules, on each database."""

from __future__ import annotations

import httpx
import pytest

ACCESS = "/api/v1/call-manager-access"
RULES = "/api/v1/agi-rules"
OPEN = {"method": "blindtransfer", "networks": ["192.0.2.0/24"], "destinations": ["1*", "+49*"]}
JOIN = {"method": "dualtransfer", "networks": ["2001:db8::/32"]}
RULE = {"extension": "1*", "caller": "", "commands": ["ANSWER", "; x", 'EXEC Playback "ä b"']}
ALL = {"extension": "", "caller": "", "commands": ["HANGUP"]}


async def test_nothing_is_open_until_it_is_opened(alice: httpx.AsyncClient) -> None:
    assert (await alice.get(ACCESS)).json() == {"open": []}
    assert (await alice.get(RULES)).json() == {"items": []}


async def test_what_is_put_is_what_is_there(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    put = await alice.put(ACCESS, json={"open": [OPEN, JOIN]})
    assert put.status_code == 200, put.text
    assert put.json() == {"open": [OPEN, JOIN | {"destinations": []}]}
    assert (await alice.get(ACCESS)).json() == put.json()
    assert (await bob.get(ACCESS)).json() == {"open": []}
    await alice.put(ACCESS, json={"open": [JOIN]})
    assert len((await alice.get(ACCESS)).json()["open"]) == 1
    await alice.put(ACCESS, json={"open": []})
    assert (await alice.get(ACCESS)).json() == {"open": []}


async def test_rules_keep_their_order(alice: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    for items in ([RULE, ALL], [ALL, RULE], []):
        put = await alice.put(RULES, json={"items": items})
        assert put.json() == {"items": items}
        assert (await alice.get(RULES)).json() == {"items": items}
        assert (await bob.get(RULES)).json() == {"items": []}


async def test_administrators_set_up_others_and_nobody_else_does(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for path, body in ((ACCESS, {"open": [JOIN]}), (RULES, {"items": [ALL]})):
        answer = await bob.put(path, params={"owner": "alice"}, json=body)
        assert (answer.status_code, answer.json()["field"]) == (403, "owner")
        assert (await bob.get(path, params={"owner": "alice"})).status_code == 403
        answer = await admin.put(path, params={"owner": "Alice"}, json=body)
        assert answer.status_code == 200
        assert (await alice.get(path)).json() == answer.json()
        answer = await admin.put(path, params={"owner": "nobody"}, json=body)
        assert (answer.status_code, answer.json()["field"]) == (409, "owner")
        answer = await admin.put(path, params={"owner": "no\0body"}, json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, "owner")


async def test_they_go_with_their_customer(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await alice.put(ACCESS, json={"open": [JOIN]})
    await alice.put(RULES, json={"items": [ALL]})
    assert (await admin.delete("/api/v1/customers/alice")).status_code == 204
    assert (await admin.get(ACCESS, params={"owner": "alice"})).json() == {"open": []}
    assert (await admin.get(RULES, params={"owner": "alice"})).json() == {"items": []}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"method": "hangup"}, "method"),
        ({"networks": []}, "networks"),
        ({"networks": ["0.0.0.0/0"]}, "networks"),
        ({"networks": ["nowhere"]}, "networks"),
        ({"destinations": []}, "destinations"),
        ({"destinations": ["x" * 65]}, "destinations"),
        ({"destinations": ["1"] * 101}, "destinations"),
        ({"destinations": [""]}, "destinations"),
        ({"method": "dualtransfer"}, "destinations"),
        ({"more": 1}, "open.0.more"),
    ],
)
async def test_what_may_not_be_open_is_refused(
    alice: httpx.AsyncClient, changes: dict[str, object], field: str
) -> None:
    answer = await alice.put(ACCESS, json={"open": [OPEN | changes]})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_a_method_is_opened_once(alice: httpx.AsyncClient) -> None:
    answer = await alice.put(ACCESS, json={"open": [JOIN, JOIN]})
    assert (answer.status_code, answer.json()["field"]) == (422, "open")


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"commands": []}, "items.1.commands", "1 to 100 lines"),
        ({"commands": ["x"] * 101}, "items.1.commands", "1 to 100 lines"),
        ({"commands": ["ANSWER", 'GET DATA "x']}, "items.1.commands", "line 2: a quote"),
        ({"commands": ["BLINDTRANSFER"]}, "items.1.commands", "line 1: BLINDTRANSFER takes 1 or 2"),
        ({"commands": ["SIGNAL key"]}, "items.1.commands", "line 1: SIGNAL takes 2 words"),
        ({"commands": ["A\nB"]}, "items.1.commands", "no line breaks"),
        ({"commands": ["x" * 501]}, "items.1.commands", "0 to 500 characters"),
        ({"extension": "x" * 65}, "items.1.extension", "0 to 64 characters"),
    ],
)
async def test_rules_that_make_no_sense_are_refused(
    alice: httpx.AsyncClient, changes: dict[str, object], field: str, text: str
) -> None:
    answer = await alice.put(RULES, json={"items": [ALL, ALL | changes]})
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert answer.json()["detail"].startswith(f"{field}: {text}")


async def test_more_rules_than_may_be_are_refused(alice: httpx.AsyncClient) -> None:
    answer = await alice.put(RULES, json={"items": [ALL] * 51})
    assert (answer.status_code, answer.json()["field"]) == (422, "items")


async def test_a_name_that_nobody_can_have_is_nobodys(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    for client, status in ((admin, 200), (alice, 403)):
        params = {"user": "al\0ice", "number": "1"}
        answer = await client.get("/callmanager.svc/webcallback", params=params)
        assert answer.status_code == status
        assert status != 200 or "no matching user" in answer.text
        client.headers.pop("authorization")
        assert (await client.get(answer.request.url.path, params=params)).status_code == 401
