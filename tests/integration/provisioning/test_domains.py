"""Domains: the default one, aliases, and what may not be done to them."""

from __future__ import annotations

import httpx
import pytest

from tandem.rpc.directory import DirectoryChanged, Domain
from tests.support.provisioning import Rig

DOMAINS = "/api/v1/domains"


async def test_the_default_domain_is_the_first_and_can_be_another(
    rig: Rig, admin: httpx.AsyncClient
) -> None:
    await admin.post(DOMAINS, json={"name": "b.example"})
    await admin.post(DOMAINS, json={"name": "c.example", "default": True})
    names = [domain.name for domain in await rig.service.directory.domains()]
    assert names == ["c.example", "local", "b.example"]
    await admin.patch(f"{DOMAINS}/b.example", json={"default": True})
    names = [domain.name for domain in await rig.service.directory.domains()]
    assert names == ["b.example", "c.example", "local"]
    account = {"username": "desk", "password": "rosebud"}
    made = await admin.post("/api/v1/sip-accounts", json=account)
    assert made.json()["domain"] == "b.example"


async def test_aliases_are_replaced_as_a_whole_and_told_to_the_switch(
    rig: Rig, admin: httpx.AsyncClient
) -> None:
    values = {"aliases": ["SIP.Example.com.", "2001:DB8::1", "local"]}
    answer = await admin.patch(f"{DOMAINS}/local", json=values)
    assert answer.json()["aliases"] == ["sip.example.com", "[2001:db8::1]"]
    await admin.patch(f"{DOMAINS}/local", json={"aliases": ["192.0.2.1"]})
    assert await rig.service.directory.domains() == [Domain("local", ("192.0.2.1",))]
    await rig.bus.close()
    assert rig.published[-1] == DirectoryChanged("domain", "local")


@pytest.mark.parametrize(
    "values",
    [
        {"name": "local"},
        {"name": "alias.example"},
        {"name": "new.example", "aliases": ["LOCAL"]},
        {"name": "new.example", "aliases": ["alias.example"]},
    ],
)
async def test_no_name_is_served_twice(admin: httpx.AsyncClient, values: dict[str, object]) -> None:
    await admin.patch(f"{DOMAINS}/local", json={"aliases": ["alias.example"]})
    assert (await admin.post(DOMAINS, json=values)).status_code == 409
    assert (await admin.get(DOMAINS)).json()["total"] == 1


@pytest.mark.parametrize("name", ["", "a b", "-x.example", "a..b", "1.2.3.400", "x" * 64, "*"])
async def test_a_name_that_no_host_can_have_is_refused(admin: httpx.AsyncClient, name: str) -> None:
    answer = await admin.post(DOMAINS, json={"name": name})
    assert (answer.status_code, answer.json()["field"]) == (422, "name")


async def test_a_domain_with_accounts_stays(admin: httpx.AsyncClient) -> None:
    account = {"username": "desk", "password": "rosebud"}
    made = await admin.post("/api/v1/sip-accounts", json=account)
    assert (await admin.delete(f"{DOMAINS}/local")).status_code == 409
    await admin.delete(made.headers["location"])
    assert (await admin.delete(f"{DOMAINS}/local")).status_code == 204
    refused = await admin.post("/api/v1/sip-accounts", json=account)
    assert (refused.status_code, refused.json()["field"]) == (422, "domain")


async def test_a_customer_with_a_domain_of_its_own_stays(
    admin: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await admin.post(DOMAINS, json={"name": "alice.example", "owner": "alice"})
    assert (await admin.delete("/api/v1/customers/alice")).status_code == 409
    assert (await alice.get("/api/v1/me")).status_code == 200


async def test_the_domains_of_the_command_line_come_first_and_once(rig: Rig) -> None:
    await rig.service.ensure_domains(["office.example", "local"])
    await rig.service.ensure_domains(["Office.example", "local"])
    names = [domain.name for domain in await rig.service.directory.domains()]
    assert names == ["office.example", "local"]
