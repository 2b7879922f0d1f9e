"""The call manager of `tandem local`, over HTTPS, with a call between two real ends."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from services.local.cli import main
from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.runtime.address import HostPort
from tandem.stubs.callcontrol.v1 import callcontrol_pb2 as pb
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import CallControlStub
from tests.support.asterisk import Asterisk
from tests.support.certificates import make_certificate
from tests.support.switch import DOMAIN, Switch
from tests.support.udpagent import UdpAgent, UdpCall

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECURITY = Security(None, None, None, "of no use to anybody")
NOT_FOUND = "the Call-ID to transfer could not be found"
BLIND = "/callmanager.svc/blindtransfer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def switch(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Switch]:
    """One with a certificate and FastAGI."""
    folder = tmp_path_factory.mktemp("callmanager")
    made = make_certificate(folder, "127.0.0.1")
    authority = ssl.create_default_context(cafile=made.certificate)
    switch = Switch(folder / "data", authority)
    options = ("--http-cert", str(made.certificate), "--http-key", str(made.key))
    try:
        await switch.start(("--sip", "127.0.0.1:0", "--fastagi", "127.0.0.1:0", *options))
        yield switch
    finally:
        await switch.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(switch: Switch) -> str:
    """An API key of the administrator's, who owns the accounts."""
    made = await switch.api.client.post("/api/v1/api-keys", json={"name": "tropo"})
    return str(made.json()["secret"])


@pytest_asyncio.fixture(loop_scope="module")
async def control(switch: Switch, key: str) -> AsyncIterator[CallControlStub]:
    """CallControl with that key."""
    channel = open_channel(switch.grpc, SECURITY, token=key)
    yield CallControlStub(channel)
    await channel.close()


@pytest_asyncio.fixture(loop_scope="module")
async def talking(switch: Switch) -> AsyncIterator[tuple[UdpCall, UdpCall]]:
    """A caller from outside, whose From user is `unique4711`, and the phone that answered."""
    caller, phone = await UdpAgent.open("caller"), await UdpAgent.open("phone", UdpCall.accept)
    try:
        if not (await switch.api.get("/sip-accounts"))["items"]:
            await switch.api.add_account("phone", "secret1")
        await phone.register(switch.address("udp"), "phone", "secret1", DOMAIN)
        uri = f"sip:phone@{DOMAIN}"
        call = caller.invite(switch.address("udp"), uri, user="unique4711")
        await call.until(call.answered)
        (rung,) = phone.calls
        await rung.until(rung.answered)
        await switch.api.live_call("answered")
        yield call, rung
        await switch.api.no_calls()
    finally:
        caller.close()
        phone.close()


async def _names(control: CallControlStub, identifier: str) -> list[tuple[int, int]]:
    request = pb.FindLegRequest(customer="admin", identifier=identifier)
    found = await control.FindLeg(request, timeout=15)
    return [(leg.leg.number, leg.rule) for leg in found.legs]


async def test_each_leg_of_a_call_is_found(
    switch: Switch, control: CallControlStub, talking: tuple[UdpCall, UdpCall]
) -> None:
    call, rung = talking
    assert await _names(control, call.invite.call_id) == [(0, pb.LEG_RULE_CALL_ID)]
    assert await _names(control, rung.invite.call_id) == [(1, pb.LEG_RULE_CALL_ID)]
    assert await _names(control, "unique4711") == [(1, pb.LEG_RULE_FROM_USER)]
    assert await _names(control, "que4711@") == [(1, pb.LEG_RULE_CONTAINS)]
    assert await _names(control, "phone@") == [(0, pb.LEG_RULE_CONTAINS)]
    assert await _names(control, "nothing") == []
    await call.hang_up()
    assert await _names(control, "unique4711") == []


async def test_a_transfer_is_asked_for_by_a_url_alone(
    switch: Switch, key: str, talking: tuple[UdpCall, UdpCall]
) -> None:
    base, authority = switch.api.client.base_url, switch.authority
    assert authority is not None
    async with httpx.AsyncClient(base_url=base, verify=authority, trust_env=False) as tropo:
        params = {"user": "admin", "destination": "1234", "key": key}
        answer = await tropo.get(BLIND, params={"callid": "nothing", **params})
        assert answer.status_code == 200
        assert NOT_FOUND in answer.text
        answer = await tropo.get(BLIND, params={"callid": "unique4711", **params})
        assert answer.status_code == 200
        assert NOT_FOUND not in answer.text
        alive = await tropo.get("/callmanager.svc/isalive")
        assert ">true<" in alive.text
    assert key not in switch.errors.read_text()
    await talking[0].hang_up()


async def test_a_call_is_read_and_ended_under_one_path(
    switch: Switch, talking: tuple[UdpCall, UdpCall]
) -> None:
    live = await switch.api.live_call("answered")
    answer = await switch.api.client.delete(f"/api/v1/calls/{live['id']}")
    assert answer.status_code == 204
    for call in talking:
        await call.until(call.over)


async def test_an_asterisk_is_served(switch: Switch, key: str) -> None:
    rules = [{"commands": ["ANSWER"]}]
    await switch.api.client.put("/api/v1/agi-rules", json={"items": rules})
    async with Asterisk(HostPort.parse(switch.fastagi)) as asterisk:
        asterisk.begin(f"admin?key={key}")
        assert await asterisk.execute() == ["ANSWER"]


async def test_a_certificate_that_is_none_is_one_line(
    switch: Switch, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = switch.data_dir.with_name("stray.pem")
    stray.write_text("no certificate")
    options = ["local", "--http-cert", str(stray), "--http-key"]
    assert main([*options, str(stray)]) == 2
    assert main([*options, str(stray.with_name("missing"))]) == 2
    assert main(["local", "--http-cert", str(stray)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].split(" ", 1)[0] for line in told] == ["--http-cert"] * 1 + [
        "--http-key:", "--http-cert",
    ]  # fmt: skip
