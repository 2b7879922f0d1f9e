"""Where nobody is called: addresses of private networks, and hosts that the operator bars."""

from __future__ import annotations

from typing import Any

import pytest

from services.appserver.config import AppServerConfig
from services.appserver.domain.fence import Fence
from services.appserver.handlers.outside import BARRED, PRIVATE
from tandem.runtime.config import ConfigError
from tandem.sip.message import Response
from tests.support.appserver import Address, Phone, Site, account

INSIDE = [
    "10.1.2.3", "127.0.0.1", "192.168.7.9", "172.31.0.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1%eth0", "fd00::1",
    "fec0::1", "ff02::1",
    "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1", "no address",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8", "172.32.0.1", "100.128.0.1", "203.0.113.7", "2606:4700::1111", "2001:db8::7",
    "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_closed_unless_all_is_open(address: str) -> None:
    assert not Fence().admits(address)
    assert not Fence(()).admits(address)
    assert Fence(["allow"]).admits(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_outside_is_open(address: str) -> None:
    assert Fence().admits(address)


def test_networks_may_be_open() -> None:
    fence = Fence(["10.1.0.0/16", "192.168.7.9", "fd00:1::/32"])
    for address in ("10.1.2.3", "192.168.7.9", "fd00:1::7", "::ffff:10.1.2.3", "8.8.8.8"):
        assert fence.admits(address)
    for address in ("10.2.0.1", "192.168.7.8", "127.0.0.1", "fd00:2::7"):
        assert not fence.admits(address)


def test_hosts_are_barred_by_what_matches_anywhere() -> None:
    fence = Fence(barred=r"premium\.example$|^10\.")
    assert fence.bars("SIP.Premium.example")
    assert fence.bars("sip.premium.example.")
    assert not fence.bars("premium.example.org")
    assert not Fence().bars("premium.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PRIVATE_TARGETS", "allow,10.0.0.0/8"),
        ("PRIVATE_TARGETS", "no"),
        ("BARRED_PROVIDERS", "("),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"TANDEM_{name}: "):
        AppServerConfig.from_env({f"TANDEM_{name}": value})


async def called(to: str, **settings: Any) -> tuple[int, str]:
    """What becomes of a phone's call to somebody outside: a refusal, or 0 and where it goes."""
    async with Site(account("alice"), **settings) as site:
        inside, outside = Address("udp", "10.0.0.7", 5060), Address("udp", "198.51.100.4", 5060)
        site.resolver.known |= {"10.0.0.7": [inside], "both.example": [inside, outside]}
        site.resolver.slow["slow.example"] = [Address("udp", "127.0.0.1", 5060)]
        sent = await Phone(site).asked("INVITE", to)
        await site.settle()
        if site.calls.started:
            (target,) = site.calls.started[0][1].targets
            return 0, " ".join(hop.text for hop in target.hops)
        answers = [each for each in [*sent, *site.link.take()] if isinstance(each, Response)]
        return answers[-1].status, answers[-1].reason


async def test_a_phone_calls_nobody_in_a_private_network() -> None:
    assert await called("sip:x@10.0.0.7") == (403, PRIVATE)
    assert (await called("sip:x@slow.example"))[0] == 404
    assert await called("sip:x@both.example") == (0, "udp:198.51.100.4:5060")
    opened = await called("sip:x@10.0.0.7", private_targets=("10.0.0.0/8",))
    assert opened == (0, "udp:10.0.0.7:5060")


@pytest.mark.parametrize("uri", ["sip:x@both.example", "sip:x@10.9.9.9;maddr=both.example"])
async def test_a_phone_calls_no_host_that_the_operator_bars(uri: str) -> None:
    assert await called(uri, barred_providers="^both") == (403, BARRED)
