"""TLS over loopback, with certificates made for the test."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from pathlib import Path

import pytest

from tandem.siptransport.tls import TlsFileError, client_context, server_context
from tests.integration.siptransport.conftest import QUICK, MakeSide, Side
from tests.integration.siptransport.test_tcp import ANSWER, MESSAGE, read, read_to_end
from tests.support.certificates import Certificate, make_certificate


async def listen(side: Side, certificate: Certificate, host: str = "127.0.0.1") -> tuple[str, int]:
    context = server_context(certificate.certificate, certificate.key)
    return await side.streams.listen("tls", host, 0, ssl=context)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("server_name", [None, "sip.example.com"])
async def test_both_sides_talk_over_tls(
    make_side: MakeSide, certificate: Certificate, host: str, server_name: str | None
) -> None:
    server, client = make_side(), make_side(client_tls=client_context(certificate.certificate))
    address = await listen(server, certificate, host)
    flow = client.streams.connect("tls", *address, server_name=server_name)
    assert flow.send(MESSAGE)
    data, incoming = await server.user.message()
    assert (data, incoming.transport) == (MESSAGE, "tls")
    assert incoming.send(ANSWER)
    assert await client.user.message() == (ANSWER, flow)
    assert client.streams.connect("tls", *address, server_name=server_name) is flow
    flow.keepalive()
    large = MESSAGE.replace(b"Length: 4", b"Length: 60000") + b"z" * 59_996
    assert flow.send(large)
    assert (await server.user.message())[0] == large
    assert server.streams.counters.keepalives == 1
    incoming.close("enough")
    assert await client.user.end() == (flow, "closed by peer")
    assert await server.user.end() == (incoming, "enough")


async def test_a_flow_is_not_reused_for_another_name(
    make_side: MakeSide, certificate: Certificate
) -> None:
    server, client = make_side(), make_side(client_tls=client_context(certificate.certificate))
    address = await listen(server, certificate)
    right = client.streams.connect("tls", *address, server_name="sip.example.com")
    wrong = client.streams.connect("tls", *address, server_name="sip.example.net")
    assert wrong is not right
    wrong.send(MESSAGE)
    flow, reason = await client.user.end()
    assert flow is wrong
    assert reason.startswith("TLS handshake failed: Hostname mismatch")
    right.send(MESSAGE)
    await server.user.message()
    assert client.streams.counters.handshake_failed == 1


async def test_an_expired_certificate_is_refused(make_side: MakeSide, tmp_path: Path) -> None:
    old = make_certificate(tmp_path, "127.0.0.1", expired=True)
    server, client = make_side(), make_side(client_tls=client_context(old.certificate))
    flow = client.streams.connect("tls", *await listen(server, old))
    assert await client.user.end() == (flow, "TLS handshake failed: certificate has expired")


async def test_a_certificate_from_nobody_we_trust_is_refused(
    make_side: MakeSide, certificate: Certificate
) -> None:
    server, client = make_side(), make_side()
    flow = client.streams.connect("tls", *await listen(server, certificate))
    ended, reason = await client.user.end()
    assert ended is flow
    assert "certificate" in reason
    assert server.user.messages.empty()


@pytest.mark.parametrize("name", [".example.com", "sip\0.example.com", "x" * 300])
async def test_a_name_that_no_certificate_can_be_for_ends_the_flow(
    make_side: MakeSide, certificate: Certificate, name: str
) -> None:
    server, client = make_side(), make_side(client_tls=client_context(certificate.certificate))
    address = await listen(server, certificate)
    flow = client.streams.connect("tls", *address, server_name=name)
    assert flow.send(MESSAGE)
    assert (await client.user.end())[0] is flow
    assert server.user.messages.empty()


async def test_a_client_byte_by_byte_and_one_in_plain_text(
    make_side: MakeSide, certificate: Certificate
) -> None:
    server = make_side()
    address = await listen(server, certificate)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(MESSAGE)
    await read_to_end(reader)  # the alert
    writer.close()
    assert (await server.user.end())[1].startswith("TLS handshake failed")
    assert server.streams.counters.handshake_failed == 1

    context = client_context(certificate.certificate)
    reader, writer = await asyncio.open_connection(
        *address, ssl=context, server_hostname="sip.example.com"
    )
    for byte in MESSAGE:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0)
    _, flow = await server.user.message()
    flow.send(ANSWER)
    assert await read(reader, len(ANSWER)) == ANSWER
    writer.close()
    await writer.wait_closed()
    assert (await server.user.end())[1] == "closed by peer"


async def test_a_handshake_that_does_not_go_on_times_out_and_counts_meanwhile(
    make_side: MakeSide, certificate: Certificate
) -> None:
    server = make_side(dataclasses.replace(QUICK, handshake=0.2, per_address=1))
    address = await listen(server, certificate)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"\x16\x03\x01")
    second, second_writer = await asyncio.open_connection(*address)
    with pytest.raises((EOFError, ConnectionResetError)):
        await read(second, 1)
    second_writer.close()
    await read_to_end(reader)
    writer.close()
    assert (await server.user.end())[1] == "handshake timed out"
    assert server.streams.counters.refused == 1
    assert server.streams.counters.handshake_failed == 1


async def test_bytes_that_are_no_tls_after_the_handshake_end_the_connection(
    make_side: MakeSide, certificate: Certificate
) -> None:
    server = make_side()
    address = await listen(server, certificate)
    reader, writer = await asyncio.open_connection(*address)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context(certificate.certificate).wrap_bio(
        incoming, outgoing, server_hostname="127.0.0.1"
    )
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    writer.write(outgoing.read())
    while True:
        incoming.write(await asyncio.wait_for(reader.read(65536), 5))
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            continue
    writer.write(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
    await read_to_end(reader)
    writer.close()
    assert (await server.user.end())[1].startswith("TLS failed: ")
    assert server.streams.counters.bad_framing == 1


async def test_a_listener_may_ask_for_a_clients_certificate(
    make_side: MakeSide, certificate: Certificate, tmp_path: Path
) -> None:
    ours = make_certificate(tmp_path, "client.example.com")
    server = make_side()
    context = server_context(certificate.certificate, certificate.key, client_ca=ours.certificate)
    address = await server.streams.listen("tls", "127.0.0.1", 0, ssl=context)
    stranger = make_side(client_tls=client_context(certificate.certificate))
    stranger.streams.connect("tls", *address).send(MESSAGE)
    assert (await server.user.end())[1].startswith("TLS handshake failed")
    known = make_side(
        client_tls=client_context(certificate.certificate, ours.certificate, ours.key)
    )
    known.streams.connect("tls", *address).send(MESSAGE)
    assert (await server.user.message())[0] == MESSAGE


def test_files_that_do_not_fit_are_one_clear_line(certificate: Certificate, tmp_path: Path) -> None:
    with pytest.raises(TlsFileError, match=r"^TLS: no such file: .*missing.pem$"):
        server_context(tmp_path / "missing.pem", certificate.key)
    with pytest.raises(TlsFileError, match="no certificate and its key"):
        server_context(certificate.key, certificate.key)
    with pytest.raises(TlsFileError, match="holds no certificates"):
        client_context(certificate.key)
