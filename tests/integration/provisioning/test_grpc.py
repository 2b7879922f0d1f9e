"""Directory and Ops of a running provisioning service, over real gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tandem.bus.hints import Hint
from tandem.bus.location import BindingStored
from tandem.bus.nodes import DrainRequested, NodeAnnounced, NodeState
from tandem.bus.ports import Envelope, Topic
from tandem.rpc.caller import Context, require_service
from tandem.rpc.channel import open_channel
from tandem.rpc.directory import DirectoryUnavailable, OutcomeUnknown
from tandem.rpc.messages import hints_out
from tandem.rpc.programs import Customer, Holding, RegistrationReport
from tandem.rpc.remote import RemoteDirectory, RemotePrograms, RemoteSessions
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.rpc.sessions import Principal
from tandem.runtime.address import HostPort
from tandem.stubs.callcontrol.v1 import callcontrol_pb2
from tandem.stubs.callcontrol.v1.callcontrol_pb2_grpc import (
    CallControlServicer,
    add_CallControlServicer_to_server,
)
from tandem.stubs.directory.v1 import directory_pb2
from tandem.stubs.directory.v1.directory_pb2_grpc import DirectoryStub
from tandem.stubs.ops.v1 import ops_pb2 as pb
from tandem.stubs.ops.v1.ops_pb2_grpc import OpsStub
from tests.support.provisioning import Rig, running, sqlite_in
from tests.support.waiting import eventually
from tests.unit.rpc.test_messages import BINDING

LOOPBACK = HostPort("127.0.0.1", 0)
PATIENCE = 15.0


class Appserver(CallControlServicer):
    """CallControl of an appserver with one call and one hint."""

    def __init__(self, name: str, call_id: str) -> None:
        self.name = name
        self.call_id = call_id

    async def ListHints(
        self, _request: callcontrol_pb2.ListHintsRequest, context: Context
    ) -> callcontrol_pb2.ListHintsResponse:
        await require_service(context)
        hint = Hint(
            id=f"hint of {self.name}", node=self.name, appserver="a", customer="c",
            users=("u",), expires_at=1.8e9,
        )  # fmt: skip
        return callcontrol_pb2.ListHintsResponse(hints=hints_out([hint]))

    async def HangUp(
        self, request: callcontrol_pb2.HangUpRequest, context: Context
    ) -> callcontrol_pb2.HangUpResponse:
        await require_service(context)
        if request.call_id != self.call_id:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such call")
        self.call_id = ""
        return callcontrol_pb2.HangUpResponse()


@dataclass
class World:
    rig: Rig
    security: Security
    server: GrpcServer
    channels: list[grpc.aio.Channel]

    def channel(self, token: str = "") -> grpc.aio.Channel:
        opened = open_channel(str(self.server.address), self.security, token=token)
        self.channels.append(opened)
        return opened

    def announce(self, node: str, grpc_address: object) -> NodeAnnounced:
        said = NodeAnnounced(
            node=node, kind="appserver", incarnation=1, version="1", grpc=str(grpc_address)
        )
        self.rig.bus.publish(Topic.NODES, said)
        return said

    async def ops(self) -> OpsStub:
        """With the administrator's token."""
        async with await self.rig.admin() as admin:
            return OpsStub(self.channel(token_of(admin)))


def token_of(client: httpx.AsyncClient) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(sqlite_in(tmp_path), ("office.example",)) as rig:
        security = rig.security
        server = GrpcServer(LOOPBACK, security, rig.service.sessions, rig.service.ready)
        rig.service.serve(server)
        await server.start()
        made = World(rig, security, server, [])
        rig.service.join(grpc=server.address)
        try:
            yield made
        finally:
            for channel in made.channels:
                await channel.close()
            await rig.service.leave()
            await server.stop()


async def refused(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_an_appserver_finds_accounts_domains_and_bindings(world: World) -> None:
    async with await world.rig.admin() as admin:
        body = {"username": "Desk", "password": "secret1", "ip_acl": ["192.0.2.0/24"]}
        assert (await admin.post("/api/v1/sip-accounts", json=body)).status_code == 201
    directory = RemoteDirectory(world.channel())
    account = await directory.account("desk", "office.example")
    assert account == await world.rig.service.directory.account("desk", "office.example")
    assert account is not None
    assert account.ha1["MD5"]
    assert await directory.account("other", "office.example") is None
    assert [domain.name for domain in await directory.domains()] == ["office.example"]
    live = replace(BINDING, aor="desk@office.example", expires_at=world.rig.clock.now + 60)
    found = [replace(live, instance="", contact=f"sip:{n}@192.0.2.7") for n in range(2500)]
    for binding in found:
        world.rig.bus.publish(Topic.LOCATION, BindingStored(binding))
    await world.rig.delivered()
    snapshot = await directory.bindings()
    assert sorted(b.contact for b in snapshot) == sorted(b.contact for b in found)
    assert set(snapshot) == set(found)


async def test_tokens_and_keys_are_verified_for_services(world: World) -> None:
    sessions = RemoteSessions(world.channel())
    async with await world.rig.admin() as admin, await world.rig.customer("alice") as alice:
        assert await sessions.verify(token_of(admin)) == Principal("admin", admin=True)
        assert await sessions.verify(token_of(alice)) == Principal("alice")
        made = await alice.post("/api/v1/api-keys", json={"name": "a program"})
        assert await sessions.verify(made.json()["secret"]) == Principal("alice")
    assert await sessions.verify("guessed") is None


async def test_a_customer_gets_neither_hashes_nor_the_servers(world: World) -> None:
    async with await world.rig.customer("alice") as alice:
        channel = world.channel(token_of(alice))
        request = directory_pb2.GetAccountRequest(username="desk", domain="office.example")
        asked = DirectoryStub(channel).GetAccount(request, timeout=PATIENCE)
        assert await refused(asked) is grpc.StatusCode.PERMISSION_DENIED
        ops = OpsStub(channel)
        for call in (
            ops.ListNodes(pb.ListNodesRequest(), timeout=PATIENCE),
            ops.DrainNode(pb.DrainNodeRequest(node="x"), timeout=PATIENCE),
            ops.UndrainNode(pb.UndrainNodeRequest(node="x"), timeout=PATIENCE),
            ops.ListBindings(pb.ListBindingsRequest(), timeout=PATIENCE),
            ops.ListHints(pb.ListHintsRequest(), timeout=PATIENCE),
            ops.HangUp(pb.HangUpRequest(call_id="x"), timeout=PATIENCE),
        ):
            assert await refused(call) is grpc.StatusCode.PERMISSION_DENIED
        assert (await alice.get("/api/v1/nodes")).status_code == 403
        assert (await alice.post("/api/v1/nodes/x/drain")).status_code == 403


async def test_bindings_are_listed_by_aor_and_owner(world: World) -> None:
    live = replace(BINDING, expires_at=world.rig.clock.now + 60)
    others = replace(live, aor="b@x", owner="bob", contact="sip:b@192.0.2.8", instance="")
    for binding in (live, others):
        world.rig.bus.publish(Topic.LOCATION, BindingStored(binding))
    await world.rig.delivered()
    ops = await world.ops()

    async def listed(**wanted: Any) -> tuple[list[str], int]:
        request = pb.ListBindingsRequest(**wanted)
        answer = await ops.ListBindings(request, timeout=PATIENCE)
        return [binding.aor for binding in answer.bindings], answer.total

    assert await listed() == (["b@x", "desk@example.com"], 2)
    assert await listed(aor="b@x") == (["b@x"], 1)
    assert await listed(owner="alice") == (["desk@example.com"], 1)
    assert await listed(aor="b@x", owner="alice") == ([], 0)
    assert await listed(offset=1, count=1) == (["desk@example.com"], 2)
    bad = ops.ListBindings(pb.ListBindingsRequest(offset=-1), timeout=PATIENCE)
    assert await refused(bad) is grpc.StatusCode.INVALID_ARGUMENT


async def test_hints_and_calls_are_found_on_every_appserver(world: World) -> None:
    servers = []
    for name in ("appserver-1", "appserver-2"):
        server = GrpcServer(LOOPBACK, world.security)
        servicer = Appserver(name, f"call of {name}")
        server.add(add_CallControlServicer_to_server, servicer, "tandem.callcontrol.v1.CallControl")
        await server.start()
        servers.append(server)
        world.announce(name, server.address)
    await world.rig.delivered()
    ops = await world.ops()
    hints = await ops.ListHints(pb.ListHintsRequest(), timeout=PATIENCE)
    assert {hint.id for hint in hints.hints} == {"hint of appserver-1", "hint of appserver-2"}
    assert not hints.silent_nodes
    request = pb.HangUpRequest(call_id="call of appserver-2")
    assert (await ops.HangUp(request, timeout=PATIENCE)).node == "appserver-2"
    assert await refused(ops.HangUp(request, timeout=PATIENCE)) is grpc.StatusCode.NOT_FOUND
    await servers[0].stop()
    hints = await ops.ListHints(pb.ListHintsRequest(), timeout=PATIENCE)
    assert [hint.id for hint in hints.hints] == ["hint of appserver-2"]
    assert list(hints.silent_nodes) == ["appserver-1"]
    assert await refused(ops.HangUp(request, timeout=PATIENCE)) is grpc.StatusCode.UNAVAILABLE
    await servers[1].stop()


async def test_nodes_are_listed_and_drained_over_grpc_and_rest(world: World) -> None:
    me = world.rig.service.nodes
    said = world.announce("appserver-1", "127.0.0.1:9")

    async def obey(batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            asked = envelope.payload
            if isinstance(asked, DrainRequested) and asked.node == said.node:
                state = NodeState.DRAINING if asked.drain else NodeState.ACTIVE
                world.rig.bus.publish(Topic.NODES, replace(said, state=state))

    world.rig.bus.subscribe(Topic.NODES, obey, name="appserver-1")
    await world.rig.delivered()

    async def known() -> bool:
        return len(me.known) == 2

    await eventually(known, "both nodes")
    ops = await world.ops()
    listed = await ops.ListNodes(pb.ListNodesRequest(), timeout=PATIENCE)
    assert [(n.said.kind, n.said.node, n.said.state) for n in listed.nodes] == [
        ("appserver", "appserver-1", "active"),
        ("provisioning", "provisioning-1", "active"),
    ]
    assert listed.nodes[1].said.grpc == str(world.server.address)
    drained = await ops.DrainNode(pb.DrainNodeRequest(node="appserver-1"), timeout=PATIENCE)
    assert drained.node.said.state == "draining"
    async with await world.rig.admin() as admin:
        page = (await admin.get("/api/v1/nodes")).json()
        first = page["items"][0]
        assert (first["id"], first["state"]) == ("appserver-1", "draining")
        assert page["total"] == 2
        back = await admin.post("/api/v1/nodes/appserver-1/undrain")
        assert (back.status_code, back.json()["state"]) == (200, "active")
        assert (await admin.post("/api/v1/nodes/nobody/drain")).status_code == 404
    missing = ops.UndrainNode(pb.UndrainNodeRequest(node="nobody"), timeout=PATIENCE)
    assert await refused(missing) is grpc.StatusCode.NOT_FOUND


async def test_a_draining_provisioning_node_is_not_ready_until_it_takes_part_again(
    world: World,
) -> None:
    ops = await world.ops()
    assert await world.rig.service.ready()
    request = pb.DrainNodeRequest(node="provisioning-1")
    assert (await ops.DrainNode(request, timeout=PATIENCE)).node.said.state == "draining"
    assert not await world.rig.service.ready()
    back = pb.UndrainNodeRequest(node="provisioning-1")
    assert (await ops.UndrainNode(back, timeout=PATIENCE)).node.said.state == "active"
    assert await world.rig.service.ready()


async def test_an_appserver_finds_dialplans_providers_and_values(world: World) -> None:
    programs, own = RemotePrograms(world.channel()), world.rig.service.programs
    async with await world.rig.admin() as admin:
        dialplan = {"name": "Out", "language": "python", "source": "# ü\n" * 12_000}
        assert (await admin.post("/api/v1/dialplans", json=dialplan)).status_code == 201
        provider = {
            "name": "p", "server": "sip.example.com", "username": "me", "password": "pässword",
            "register": True, "register_contact": "me", "in_dialplan": "out",
            "callback": {"url": "https://x.example/${destination}", "headers": [["X-Key", "k"]]},
        }  # fmt: skip
        assert (await admin.post("/api/v1/providers", json=provider)).status_code == 201
    found = await programs.dialplan("admin", "OUT")
    assert found is not None
    assert found == await own.dialplan("admin", "out")
    assert await programs.dialplan("admin", "other") is None
    assert await programs.dialplan("admin", "\udc80") is None
    async with await world.rig.admin() as admin:
        assert (
            await admin.patch("/api/v1/customers/admin", json={"max_calls": 7})
        ).status_code == 200
    assert await programs.customer("admin") == Customer("admin", 7)
    assert await programs.customer("nobody") is None
    (known,) = await programs.providers("admin")
    assert known.password == "pässword"
    assert [known] == await own.providers("admin")
    holding = await programs.lease("a", [])
    (lease,) = holding.leases
    assert (lease.provider, lease.last) == (known, None)
    told = RegistrationReport(provider=known.id, registered=True, expires_at=4e9, tried_at=1.5)
    (lease,) = (await programs.lease("a", [told])).leases
    assert lease.last == told
    assert await programs.lease("a", [], known=holding.version) == Holding(
        version=holding.version, unchanged=True
    )
    assert await programs.lease("a", [], leaving=True) == Holding()
    contact = await RemoteDirectory(world.channel()).account("ME", "office.example")
    assert contact is not None
    assert (contact.contact_only, contact.in_dialplan, contact.ha1) == (True, "out", {})


async def test_an_appserver_keeps_values_for_dialplans(world: World) -> None:
    programs = RemotePrograms(world.channel())
    assert await programs.read_value("admin", "key") is None
    assert await programs.write_value("admin", "key", "") is True
    assert await programs.read_value("admin", "key") == ""
    assert await programs.value_keys("admin") == ["key"]
    assert await programs.write_value("admin", "key", None) is True
    assert await programs.write_value("admin", "key", None) is False
    for key, value in (("k" * 65, "x"), ("k", "x" * 1025), ("\udc80", "x"), ("k", "\udc80")):
        with pytest.raises(ValueError, match=r"characters|Unicode"):
            await programs.write_value("admin", key, value)
    assert await programs.read_value("admin", "\udc80") is None


async def test_what_programs_hold_is_for_services_alone(world: World) -> None:
    async with await world.rig.admin() as admin:
        stub = DirectoryStub(world.channel(token_of(admin)))
    for call in (
        stub.GetDialplan(directory_pb2.GetDialplanRequest(owner="admin"), timeout=PATIENCE),
        stub.ListProviders(directory_pb2.ListProvidersRequest(owner="admin"), timeout=PATIENCE),
        stub.Lease(directory_pb2.LeaseRequest(node="a"), timeout=PATIENCE),
        stub.ReadValue(directory_pb2.ReadValueRequest(owner="admin", key="k"), timeout=PATIENCE),
        stub.WriteValue(directory_pb2.WriteValueRequest(owner="admin", key="k"), timeout=PATIENCE),
        stub.ListValueKeys(directory_pb2.ListValueKeysRequest(owner="admin"), timeout=PATIENCE),
    ):
        assert await refused(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_write_whose_answer_is_lost_is_not_sent_again(world: World) -> None:
    programs = RemotePrograms(world.channel())
    assert await programs.write_value("admin", "key", "1")
    await world.server.stop()
    with pytest.raises(OutcomeUnknown):
        await programs.write_value("admin", "key", "2")
    with pytest.raises(DirectoryUnavailable):
        await programs.dialplan("admin", "out")
