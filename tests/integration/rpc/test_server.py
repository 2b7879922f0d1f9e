"""Who gets in, what failures look like, health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import (  # type: ignore[import-untyped]
    reflection_pb2,
    reflection_pb2_grpc,
)

from services.provisioning.entrypoints.grpc_directory import NAME
from tandem.rpc import guard
from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.rpc.server import GrpcServer
from tandem.runtime.address import HostPort
from tandem.stubs.directory.v1 import directory_pb2 as pb
from tandem.stubs.directory.v1.directory_pb2_grpc import DirectoryStub
from tests.support.rpc import HA1, Known, serving
from tests.support.waiting import eventually

SECURITY = Security(cluster_key="a secret of all nodes")
PATIENCE = 15.0
Open = Callable[..., grpc.aio.Channel]


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
async def server(known: Known) -> AsyncIterator[GrpcServer]:
    async with serving(known, SECURITY) as running:
        yield running


@pytest.fixture
async def opened(server: GrpcServer) -> AsyncIterator[Open]:
    channels: list[grpc.aio.Channel] = []

    def open_one(token: str = "", security: Security = SECURITY) -> grpc.aio.Channel:
        channels.append(open_channel(str(server.address), security, token=token))
        return channels[-1]

    yield open_one
    for channel in channels:
        await channel.close()


async def ask(channel: grpc.aio.Channel, username: str = "desk") -> pb.GetAccountResponse:
    request = pb.GetAccountRequest(username=username, domain="example.com")
    answer: pb.GetAccountResponse = await DirectoryStub(channel).GetAccount(
        request, timeout=PATIENCE
    )
    return answer


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_service_gets_the_password_hashes(opened: Open) -> None:
    assert (await ask(opened())).account.ha1["MD5"] == HA1


@pytest.mark.parametrize("token", ["alice-token", "admin-token"])
async def test_no_customer_and_no_administrator_ever_gets_a_hash(
    token: str, opened: Open, known: Known
) -> None:
    fault = await refused(ask(opened(token)))
    assert fault.code() is grpc.StatusCode.PERMISSION_DENIED
    assert HA1 not in str(fault)
    stub = DirectoryStub(opened(token))
    fault = await refused(stub.ListDomains(pb.ListDomainsRequest(), timeout=PATIENCE))
    assert fault.code() is grpc.StatusCode.PERMISSION_DENIED
    fault = await refused(stub.VerifyToken(pb.VerifyTokenRequest(), timeout=PATIENCE))
    assert fault.code() is grpc.StatusCode.PERMISSION_DENIED
    call = stub.ListBindings(pb.ListBindingsRequest(), timeout=PATIENCE)
    fault = await refused(anext(aiter(call)))
    assert fault.code() is grpc.StatusCode.PERMISSION_DENIED
    assert known.asked == 0


async def test_who_proves_nothing_is_not_let_in(
    opened: Open, server: GrpcServer, known: Known
) -> None:
    strangers = Security(cluster_key="a secret of other nodes")
    for channel in (opened("guessed"), opened("x" * 5000), opened(security=strangers)):
        assert (await refused(ask(channel))).code() is grpc.StatusCode.UNAUTHENTICATED
    async with grpc.aio.insecure_channel(str(server.address)) as bare:
        assert (await refused(ask(bare))).code() is grpc.StatusCode.UNAUTHENTICATED
    assert known.asked == 0
    assert server.counters.refused == 4


async def test_what_goes_wrong_is_a_clear_status_and_tells_no_secret(
    opened: Open, known: Known, server: GrpcServer
) -> None:
    channel = opened()
    known.database_is_away = True
    fault = await refused(ask(channel))
    assert fault.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in str(fault)
    known.database_is_away, known.crashes = False, True
    fault = await refused(ask(channel))
    assert (fault.code(), fault.details()) == (
        grpc.StatusCode.INTERNAL,
        "A fault of ours; the log tells more.",
    )
    known.crashes = False
    assert (await ask(channel)).account.owner == "a"
    assert (server.counters.unavailable, server.counters.crashed) == (1, 1)


async def test_an_outage_is_not_told_of_with_each_call(
    opened: Open, known: Known, server: GrpcServer, caplog: pytest.LogCaptureFixture
) -> None:
    known.database_is_away = True
    for _ in range(5):
        await refused(ask(opened()))
    assert server.counters.unavailable == 5
    assert len([r for r in caplog.records if r.name == "tandem.rpc.guard"]) == 1


async def test_a_method_that_hangs_ends_whatever_the_patience_of_the_client(
    opened: Open, known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_UNARY_SECONDS", 0.2)
    known.hangs = True
    fault = await refused(ask(opened()))
    assert fault.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert fault.details() == "This took too long."


async def test_a_request_that_is_too_large_is_refused(opened: Open, known: Known) -> None:
    fault = await refused(ask(opened(), "x" * 2_000_000))
    assert fault.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert known.asked == 0


async def test_a_method_that_there_is_not_is_unimplemented(opened: Open) -> None:
    call: Any = opened().unary_unary(f"/{NAME}/Missing")
    fault = await refused(call(b"", timeout=PATIENCE))
    assert fault.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_follows_the_service_and_needs_no_token(known: Known) -> None:
    state = {"ready": False}

    async def ready() -> bool:
        if "ready" not in state:
            raise RuntimeError("nobody knows")
        return state["ready"]

    async with serving(known, SECURITY, ready=ready) as server:
        async with grpc.aio.insecure_channel(str(server.address)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def status(name: str) -> int:
                request = health_pb2.HealthCheckRequest(service=name)
                return int((await stub.Check(request, timeout=PATIENCE)).status)

            response = health_pb2.HealthCheckResponse
            assert await status("") == response.NOT_SERVING
            for wanted in (True, False):
                state["ready"] = wanted
                told = response.SERVING if wanted else response.NOT_SERVING
                for name in ("", NAME):

                    async def follows(name: str = name, told: int = told) -> bool:
                        return await status(name) == told

                    await eventually(follows, f"health of {name!r}")
            fault = await refused(status("tandem.unknown"))
            assert fault.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_names_the_services(server: GrpcServer) -> None:
    async with grpc.aio.insecure_channel(str(server.address)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE)
        answer = await anext(aiter(call))
        names = {service.name for service in answer.list_services_response.service}
        call.cancel()
    assert {NAME, "grpc.health.v1.Health"} <= names


async def test_a_port_in_use_is_told(server: GrpcServer, known: Known) -> None:
    with pytest.raises(OSError, match="in use"):
        async with serving(known, SECURITY, server.address):
            pass


async def test_a_server_that_stops_lets_a_call_end(known: Known) -> None:
    async with serving(known, SECURITY) as server:
        channel = open_channel(str(server.address), SECURITY)
        await ask(channel)
        release = asyncio.Event()
        known.account = _slow(known.account, release)  # type: ignore[method-assign]
        asking = asyncio.ensure_future(ask(channel))

        async def under_way() -> bool:
            return server.counters.started == 2

        await eventually(under_way, "the call")
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        release.set()
        assert (await asking).account.owner == "a"
        await stopping
        await channel.close()


def _slow(account: Any, release: asyncio.Event) -> Any:
    async def slow(username: str, domain: str) -> Any:
        await release.wait()
        return await account(username, domain)

    return slow


async def test_it_listens_on_ipv6(known: Known) -> None:
    async with serving(known, SECURITY, HostPort("::1", 0)) as server:
        assert str(server.address).startswith("[::1]:")
        channel = open_channel(str(server.address), SECURITY)
        assert (await ask(channel)).account.owner == "a"
        await channel.close()
