"""What a service believes of a token while provisioning is there, and while it is away."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tandem.rpc import remote
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.remote import (
    FRESH_SECONDS,
    PAUSE_SECONDS,
    STALE_SECONDS,
    UNKNOWN_SECONDS,
    RemoteSessions,
)
from tandem.rpc.sessions import Principal
from tandem.stubs.directory.v1 import directory_pb2 as pb

ALICE = Principal("alice")


class Provisioning:
    """A channel to a Directory that knows some tokens, and a clock."""

    def __init__(self) -> None:
        self.tokens = {"right": ALICE}
        self.away = False
        self.asked = 0
        self.now = 1000.0

    def unary_unary(self, method: str, *_args: Any, **_given: Any) -> Any:
        return self._verify if method.endswith("/VerifyToken") else None

    def unary_stream(self, *_args: Any, **_given: Any) -> Any:
        return None

    async def _verify(self, request: pb.VerifyTokenRequest, timeout: float) -> Any:
        assert 0 < timeout <= 2
        self.asked += 1
        if self.away:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, details="gone")
        holder = self.tokens.get(request.token)
        if holder is None:
            return pb.VerifyTokenResponse()
        found = pb.Principal(username=holder.username, admin=holder.admin)
        return pb.VerifyTokenResponse(principal=found)


@pytest.fixture
def provisioning() -> Provisioning:
    return Provisioning()


@pytest.fixture
def sessions(provisioning: Provisioning) -> RemoteSessions:
    return RemoteSessions(provisioning, lambda: provisioning.now)  # type: ignore[arg-type]


async def test_a_token_is_asked_about_once_in_a_while(
    provisioning: Provisioning, sessions: RemoteSessions
) -> None:
    for _ in range(3):
        assert await sessions.verify("right") == ALICE
    assert provisioning.asked == 1
    provisioning.now += FRESH_SECONDS
    del provisioning.tokens["right"]
    assert await sessions.verify("right") is None


async def test_an_unknown_token_is_not_asked_about_at_each_request(
    provisioning: Provisioning, sessions: RemoteSessions
) -> None:
    for _ in range(3):
        assert await sessions.verify("wrong") is None
    assert provisioning.asked == 1
    provisioning.tokens["wrong"] = ALICE
    provisioning.now += UNKNOWN_SECONDS
    assert await sessions.verify("wrong") == ALICE


async def test_a_known_token_outlives_a_restart_of_provisioning(
    provisioning: Provisioning, sessions: RemoteSessions
) -> None:
    await sessions.verify("right")
    provisioning.away = True
    provisioning.now += STALE_SECONDS - 1
    assert await sessions.verify("right") == ALICE
    asked = provisioning.asked
    assert await sessions.verify("right") == ALICE
    assert provisioning.asked == asked, "not at each request"
    provisioning.now += PAUSE_SECONDS
    with pytest.raises(DirectoryUnavailable):
        await sessions.verify("right")
    provisioning.away = False
    assert await sessions.verify("right") == ALICE


async def test_nobody_gets_in_by_an_unknown_token_while_provisioning_is_away(
    provisioning: Provisioning, sessions: RemoteSessions
) -> None:
    assert await sessions.verify("wrong") is None
    provisioning.away = True
    with pytest.raises(DirectoryUnavailable):
        await sessions.verify("right")
    provisioning.now += UNKNOWN_SECONDS
    with pytest.raises(DirectoryUnavailable):
        await sessions.verify("wrong")


async def test_tokens_that_somebody_tries_push_out_nobody_elses(
    provisioning: Provisioning, sessions: RemoteSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_TOKENS", 3)
    await sessions.verify("right")
    for number in range(10):
        assert await sessions.verify(f"wrong{number}") is None
    provisioning.away = True
    assert await sessions.verify("right") == ALICE
    assert await sessions.verify("wrong9") is None
    with pytest.raises(DirectoryUnavailable):
        await sessions.verify("wrong0")
