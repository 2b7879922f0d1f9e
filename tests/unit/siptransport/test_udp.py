"""Packed addresses. The sockets are in tests/integration/proxy."""

from __future__ import annotations

import socket
import sys

import pytest

from tandem.siptransport.udp import pack_address, unpack_address


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
