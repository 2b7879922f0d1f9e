"""The short way of a refresh must never take what the long way would not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from services.appserver.handlers.refresher import dissect
from tandem.bus.ports import Topic
from tandem.rpc.directory import DirectoryChanged
from tests.support.appserver import Phone, Site, account


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice")) as made:
        yield made


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


@pytest.mark.parametrize(
    "change",
    [
        replaced(b"\r\nCSeq:", b"\r\ncseq:"),
        replaced(b"\r\nVia:", b"\r\nv:"),
        replaced(b"Authorization: Digest", b"authorization:  digest"),
        replaced(b"username=", b"\r\n username="),
        replaced(b", realm=", b",realm="),
        replaced(b"qop=auth", b'qop="auth"'),
        replaced(b", cnonce=", b', opaque="a\\"b", cnonce='),
    ],
)
async def test_unusual_forms_go_the_long_way_to_the_same_end(
    site: Site, change: Callable[[bytes], bytes]
) -> None:
    phone = Phone(site)
    await phone.registered()
    for _ in range(2):
        data = change(phone.register(f"<{phone.contact}>").to_bytes())
        (response,) = await site.send(data)
        assert response.start_line == "SIP/2.0 200 OK"
    (binding,) = site.app.location.bindings(phone.aor)
    assert binding.cseq == phone.cseq


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (replaced(b'username="alice"', b'username="alicia"'), 401),
        (replaced(b"nc=0000000", b"nc=1000000"), 401),
        (replaced(b'realm="example.com"', b'realm="other"'), 401),
        (replaced(b"qop=auth", b"qop=auth-int"), 401),
        (replaced(b" REGISTER\r\nContact", b" INVITE\r\nContact"), 400),
        (replaced(b"CSeq: ", b"CSeq: x"), 400),
        (replaced(b"\r\nAuthorization:", b"\r\nX-Authorization:"), 401),
    ],
)
async def test_what_is_wrong_is_refused_as_on_the_long_way(
    site: Site, change: Callable[[bytes], bytes], status: int
) -> None:
    phone = Phone(site)
    await phone.registered()
    data = phone.register(f"<{phone.contact}>").to_bytes()
    (response,) = await site.send(change(data))
    assert response.start_line.startswith(f"SIP/2.0 {status} ")
    assert site.app.counters.refreshed == 0


async def test_a_disabled_account_is_not_refreshed(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    site.directory.accounts[phone.aor] = account("alice", enabled=False)
    await site.bus.deliver(Topic.DIRECTORY, DirectoryChanged("sip-account", phone.aor))
    response = await phone.send(phone.register(f"<{phone.contact}>"))
    assert response.status == 403
    assert site.app.location.count == 0


async def test_a_refresh_after_the_binding_expired_makes_it_anew(site: Site) -> None:
    phone = Phone(site)
    await phone.registered(expires=60)
    site.advance(70)
    assert (await phone.registered(expires=60)).status == 200
    assert site.app.counters.registered == 2


async def test_a_refresh_with_a_right_password_passes_while_others_guess(site: Site) -> None:
    phone = Phone(site)
    await phone.registered()
    guesser = Phone(site, "nobody", host="198.51.100.1")
    guesser.learn(await guesser.send(guesser.register("<sip:x@h>")))
    await guesser.send(guesser.register("<sip:x@h>"))
    assert (await phone.registered()).status == 200
    assert site.app.counters.refreshed == 1


def test_only_the_usual_form_is_taken_apart() -> None:
    good = b"REGISTER sip:h SIP/2.0\r\nVia: a\r\nCSeq: 1 REGISTER\r\nAuthorization: x\r\n\r\n"
    parts = dissect(good)
    assert parts is not None
    assert parts == (
        b"REGISTER sip:h SIP/2.0\r\n\r\n", [b"Via: a"], b"CSeq: 1 REGISTER", b"Authorization: x"
    )  # fmt: skip
    assert dissect(good + b"body") is None
    assert dissect(good.replace(b"CSeq: 1 REGISTER\r\n", b"")) is None
    assert dissect(good.replace(b"Via", b"CSeq: 1 REGISTER\r\nVia")) is None
    assert dissect(good.replace(b"Via", b"Authorization: y\r\nVia")) is None
