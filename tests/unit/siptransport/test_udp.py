"""Packed addresses, and what one socket sends another; more is in tests/integration/proxy."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from tandem.siptransport.udp import UdpSocket, pack_address, unpack_address


@pytest.mark.parametrize(
    ("host", "port"), [("203.0.113.7", 5060), ("::1", 1), ("2001:db8::1", 65535)]
)
def test_packing_is_reversible(host: str, port: int) -> None:
    assert unpack_address(pack_address(host, port)) == (host, port)


def test_it_is_the_kernels_form() -> None:
    packed = pack_address("127.0.0.1", 0x1234)
    assert packed == int(socket.AF_INET).to_bytes(2, sys.byteorder) + b"\x12\x34\x7f\0\0\1" + bytes(
        8
    )
    assert len(pack_address("[::1]", 5060)) == 28


@pytest.mark.parametrize(("host", "port"), [("localhost", 1), ("127.0.0.1", 0), ("::1", 65536)])
def test_what_is_no_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        pack_address(host, port)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_one_datagram_or_many_arrive_as_they_were_sent(host: str) -> None:
    ours, theirs = UdpSocket.open(host, 0), UdpSocket.open(host, 0)
    came: list[tuple[bytes, tuple[str, int]]] = []
    all_came = asyncio.Event()

    def receive(datagrams: list[bytes], sources: list[bytes]) -> None:
        came.extend(zip(datagrams, map(unpack_address, sources), strict=True))
        if len(came) >= 4:
            all_came.set()

    theirs.receiver = receive
    try:
        ours.start()
        theirs.start()
        target = pack_address(host, theirs.port)
        ours.send(b"alone", target)
        ours.flush()
        for data in (b"1", b"2", b"3"):
            ours.send(data, target)
        async with asyncio.timeout(5):
            await all_came.wait()
    finally:
        ours.close()
        theirs.close()
    assert came == [(data, (host, ours.port)) for data in (b"alone", b"1", b"2", b"3")]


async def test_a_datagram_that_can_not_be_sent_is_counted() -> None:
    ours = UdpSocket.open("127.0.0.1", 0)
    try:
        ours.start()
        ours.send(bytes(65_530), pack_address("127.0.0.1", 9))
        ours.flush()
    finally:
        ours.close()
    assert ours.lost == 1
