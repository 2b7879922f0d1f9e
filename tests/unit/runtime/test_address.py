from __future__ import annotations

import pytest

from tandem.runtime.address import HostPort


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5060", "127.0.0.1", 5060),
        ("example.org:0", "example.org", 0),
        ("[::1]:65535", "::1", 65535),
        (" [2001:db8::7]:80 ", "2001:db8::7", 80),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, host: str, port: int) -> None:
    address = HostPort.parse(text)
    assert address == HostPort(host, port)
    assert str(address) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", ":5060", "host", "host:", "host:x", "host:65536", "host:-1", "::1:5060", "[::1]", "[::1",
     "[::1]5060", "[host]:1", "a b:1", "user@host:1", "host:5060/udp", "host:٣"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"PORT|brackets"):
        HostPort.parse(text)


def test_a_default_port_stands_in_for_a_missing_one() -> None:
    assert HostPort.parse("host", default_port=5060) == HostPort("host", 5060)
    assert HostPort.parse("[::1]", default_port=5060) == HostPort("::1", 5060)
    assert HostPort.parse("host:7", default_port=5060) == HostPort("host", 7)
