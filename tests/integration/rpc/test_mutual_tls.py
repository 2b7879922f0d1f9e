"""Mutual TLS: with the right certificate, the wrong one, none, and by name."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from tandem.rpc.channel import open_channel
from tandem.rpc.directory import DirectoryUnavailable
from tandem.rpc.remote import RemoteDirectory
from tandem.rpc.security import Security
from tests.support.certificates import Authority
from tests.support.rpc import Known, serving

KEY = "a secret of all nodes"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def security_of(authority: Authority, node: str, *names: str, common: str = "") -> Security:
    made = authority.issue(node, *(names or ("127.0.0.1",)))
    return Security(made.certificate, made.key, authority.certificate, KEY, common)


async def asked(address: object, security: Security) -> bool:
    channel = open_channel(str(address), security)
    try:
        return await RemoteDirectory(channel).account("desk", "example.com") is not None
    except DirectoryUnavailable:
        return False
    finally:
        await channel.close()


async def test_nodes_with_certificates_of_one_authority_talk(authority: Authority) -> None:
    async with serving(Known(), security_of(authority, "server")) as server:
        assert await asked(server.address, security_of(authority, "client"))


async def test_a_client_with_anothers_certificate_or_none_is_not_let_in(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger-node", "127.0.0.1")
    known = Known()
    async with serving(known, security_of(authority, "server")) as server:
        wrong = Security(stranger.certificate, stranger.key, authority.certificate, KEY)
        assert not await asked(server.address, wrong)
        assert not await asked(server.address, Security(cluster_key=KEY)), "in the clear"
        trusting = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        async with grpc.aio.secure_channel(str(server.address), trusting) as channel:
            with pytest.raises(DirectoryUnavailable, match="UNAVAILABLE"):
                await RemoteDirectory(channel).account("desk", "example.com")
    assert known.asked == 0


async def test_a_server_of_another_authority_is_not_asked(
    authority: Authority, tmp_path: Path
) -> None:
    known = Known()
    impostor = security_of(Authority(tmp_path, "impostor"), "impostor-node")
    async with serving(known, impostor) as server:
        assert not await asked(server.address, security_of(authority, "client"))
    assert known.asked == 0


async def test_a_certificate_must_have_the_host_that_is_dialled_or_the_common_name(
    authority: Authority,
) -> None:
    async with serving(Known(), security_of(authority, "server", "node.tandem")) as server:
        assert not await asked(server.address, security_of(authority, "client"))
        named = security_of(authority, "named", common="node.tandem")
        assert await asked(server.address, named)


async def test_a_certificate_alone_is_no_service(authority: Authority) -> None:
    made = authority.issue("client", "127.0.0.1")
    keyless = Security(made.certificate, made.key, authority.certificate, KEY + "!")
    known = Known()
    async with serving(known, security_of(authority, "server")) as server:
        assert not await asked(server.address, keyless)
    assert known.asked == 0
