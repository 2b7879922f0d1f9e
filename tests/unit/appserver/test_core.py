"""The core: methods outside of dialogs, what goes to the calls, bad input, the last resort."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.appserver.config import AppServerConfig
from tandem.bus.node_events import NodeStarted
from tandem.runtime.config import ConfigError
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import PROXY, Address, Phone, Site, account

OUTSIDER: dict[str, Any] = {"from_": "<sip:carol@outside.example>;tag=c"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(account("alice"), account("bob")) as made:
        yield made


async def test_the_node_announces_itself(site: Site) -> None:
    (event,) = site.bus.take(NodeStarted)
    assert (event.service, event.what) == ("appserver", "appserver")


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("SUBSCRIBE", 489), ("REFER", 403), ("PUBLISH", 405), ("FOO", 405),
        ("BYE", 481), ("INFO", 481), ("UPDATE", 481), ("PRACK", 481), ("CANCEL", 481),
    ],
)  # fmt: skip
async def test_methods_that_need_a_dialog_or_are_not_served(
    site: Site, method: str, status: int
) -> None:
    (response,) = await Phone(site).asked(method, "sip:bob@example.com")
    assert response.status == status
    assert response.to.tag
    assert (response.first("allow") is not None) == (status == 405)


@pytest.mark.parametrize("uri", ["sip:example.com", "sip:10.0.0.9:5070", "sip:bob@example.com"])
async def test_options_are_answered_with_what_we_can(site: Site, uri: str) -> None:
    (response,) = await Phone(site).asked("OPTIONS", uri)
    assert response.status == 200
    assert "replaces" in response.tokens("supported")
    assert "invite" in response.tokens("allow")


async def test_options_for_somebody_elsewhere_are_404(site: Site) -> None:
    (response,) = await Phone(site).asked("OPTIONS", "sip:x@elsewhere.example")
    assert response.status == 404


async def test_an_unknown_extension_that_is_required_is_420(site: Site) -> None:
    (response,) = await Phone(site).asked("INVITE", "sip:bob@example.com", "Require: 100rel, x-y")
    assert response.status == 420
    assert response.first("unsupported") == "x-y"


async def test_no_hops_left_is_483(site: Site) -> None:
    request = Phone(site).request("INVITE", "sip:bob@example.com")
    request.set("Max-Forwards", "0")
    (response,) = await site.send(request)
    assert response.start_line == "SIP/2.0 483 Too Many Hops"


@pytest.mark.parametrize("method", ["INVITE", "BYE", "OPTIONS", "NOTIFY", "REFER", "FOO"])
async def test_what_is_in_a_dialog_goes_to_the_calls(site: Site, method: str) -> None:
    request = Phone(site).request(method, "sip:x@10.0.0.9:5070", to="<sip:b@example.com>;tag=t")
    assert await site.send(request) == []
    ((what, tx),) = site.calls.heard
    assert what == "in_dialog"
    assert tx.request.method == method


async def test_an_ack_goes_to_the_calls_and_is_never_answered(site: Site) -> None:
    request = Phone(site).request("ACK", "sip:x@10.0.0.9:5070", to="<sip:b@example.com>;tag=t")
    assert await site.send(request) == []
    assert site.calls.heard[0][0] == "ack"


async def test_a_cancel_of_a_started_call_goes_to_the_calls(site: Site) -> None:
    await Phone(site, "bob").registered()
    phone = Phone(site)
    invite = phone.request("INVITE", "sip:bob@example.com", **OUTSIDER)
    await site.send(invite)
    answers = await site.send(phone.cancel(invite))
    assert [m.start_line for m in answers] == ["SIP/2.0 200 OK"]
    assert site.calls.heard[0] == ("cancel", site.calls.started[0][0])


async def test_a_stray_response_goes_to_the_calls(site: Site) -> None:
    request = Phone(site).request("INVITE", "sip:bob@example.com")
    assert await site.send(response_to(request, 200, tag="x").to_bytes()) == []
    assert site.calls.heard[0][0] == "stray"


async def test_the_hop_of_a_request_is_reliable_only_with_its_outer_transport(site: Site) -> None:
    await Phone(site, "bob").registered()
    for transport in ("udp", "tcp"):
        phone = Phone(site, transport=transport)
        await phone.asked("INVITE", "sip:bob@example.com", **OUTSIDER)
    assert [tx.hop.reliable for tx, _ in site.calls.started] == [False, True]


# -- MESSAGE and NOTIFY ------------------------------------------------------------------------


async def forwarded(site: Site, method: str = "MESSAGE", *headers: str) -> list[Any]:
    """The copies of a request to bob from outside."""
    sent = await Phone(site).asked(
        method, "sip:bob@example.com", "Content-Type: text/plain", *headers, body=b"hi", **OUTSIDER
    )
    return sent


async def answer(site: Site, copy: Request, status: int, *headers: str) -> list[Any]:
    response = response_to(copy, status, tag=f"t{status}", headers=headers)
    return list(await site.send(response.to_bytes()))


async def test_a_message_reaches_all_bindings_and_the_first_2xx_comes_back(site: Site) -> None:
    one, two = Phone(site, "bob"), Phone(site, "bob", contact="sip:bob@h2", host="203.0.113.8")
    await one.registered()
    await two.registered()
    copies = await forwarded(site)
    assert [c.uri for c in copies] == [one.contact, two.contact]
    assert copies[0].values("route") == [f"<sip:{one.token}@{PROXY};lr;ob>"]
    assert copies[0].body == b"hi"
    assert copies[0].max_forwards == 68
    assert len(copies[0].vias) == 1
    assert copies[0].values("record-route") == []
    assert await answer(site, copies[0], 486) == []
    (response,) = await answer(site, copies[1], 200, "X-Id: 7")
    assert response.status == 200
    assert response.first("x-id") == "7"
    assert len(response.vias) == 2


async def test_a_late_answer_to_a_message_is_not_passed_on(site: Site) -> None:
    await Phone(site, "bob").registered("<sip:bob@h1>", "<sip:bob@h2>")
    copies = await forwarded(site)
    assert len(await answer(site, copies[0], 202)) == 1
    assert await answer(site, copies[1], 200) == []


async def test_the_best_failure_comes_back_when_all_have_failed(site: Site) -> None:
    await Phone(site, "bob").registered("<sip:bob@h1>", "<sip:bob@h2>")
    copies = await forwarded(site)
    assert await answer(site, copies[0], 500) == []
    (response,) = await answer(site, copies[1], 415)
    assert response.status == 415


async def test_a_phone_that_does_not_answer_makes_408(site: Site) -> None:
    await Phone(site, "bob").registered()
    await forwarded(site)
    site.advance(33)
    final = site.link.take()[-1]
    assert isinstance(final, Response)
    assert final.status == 408


async def test_a_challenge_of_a_phone_is_not_passed_to_the_sender(site: Site) -> None:
    await Phone(site, "bob").registered()
    (copy,) = await forwarded(site)
    (response,) = await answer(site, copy, 401, 'WWW-Authenticate: Digest realm="x", nonce="n"')
    assert response.status == 403
    assert response.first("www-authenticate") is None


async def test_a_message_to_outside_fails_over_to_the_next_address(site: Site) -> None:
    site.resolver.known["pbx.example"] = [
        Address("udp", "198.51.100.4", 5060), Address("udp", "198.51.100.5", 5060),
    ]  # fmt: skip
    phone = Phone(site)
    (first,) = await phone.asked("MESSAGE", "sip:x@pbx.example")
    assert first.first("route") == f"<sip:{PROXY};lr;dst=udp:198.51.100.4:5060>"
    assert first.first("proxy-authorization") is None
    (second,) = await answer(site, first, 503)
    assert second.first("route") == f"<sip:{PROXY};lr;dst=udp:198.51.100.5:5060>"
    (response,) = await answer(site, second, 503)
    assert response.status == 500


@pytest.mark.parametrize("event", ["check-sync", "message-summary-x", ""])
async def test_a_stranger_may_not_notify_phones_of_any_event(site: Site, event: str) -> None:
    await Phone(site, "bob").registered()
    (response,) = await forwarded(site, "NOTIFY", *([f"Event: {event}"] if event else []))
    assert response.status == 489
    assert response.first("allow-events") == "dialog, message-summary, presence"


async def test_an_account_may_notify_phones_of_its_customer_of_any_event() -> None:
    async with Site(account("alice", owner="we"), account("bob", owner="we")) as site:
        await Phone(site, "bob").registered()
        (copy,) = await Phone(site).asked("NOTIFY", "sip:bob@example.com", "Event: check-sync")
        assert copy.first("event") == "check-sync"


async def test_a_keep_alive_notify_is_answered_by_us(site: Site) -> None:
    (response,) = await forwarded(site, "NOTIFY", "Event: keep-alive")
    assert response.status == 200


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"CSeq": "1 BYE"}, "CSeq method differs from the request's"),
        ({"CSeq": "x"}, "Malformed CSeq"),
        ({"From": "rubbish"}, "Malformed address"),
        ({"Max-Forwards": "999"}, "Max-Forwards out of range"),
    ],
)
@pytest.mark.parametrize("method", ["REGISTER", "OPTIONS"])
async def test_a_malformed_request_is_answered_400(
    site: Site, method: str, change: dict[str, str], reason: str
) -> None:
    phone = Phone(site)
    request = phone.register() if method == "REGISTER" else phone.request(method, "sip:example.com")
    for name, value in change.items():
        request.set(name, value)
    (response,) = await site.send(request)
    assert response.start_line == f"SIP/2.0 400 {reason}"
    assert site.app.counters.malformed == 1


async def test_a_malformed_ack_or_response_is_dropped_and_counted(site: Site) -> None:
    ack = Phone(site).request("ACK", "sip:x@example.com")
    ack.set("CSeq", "x")
    assert await site.send(ack) == []
    assert await site.send(b"SIP/2.0 200 OK\r\n\r\n") == []
    assert site.app.counters.malformed == 2


async def test_another_version_of_sip_is_505(site: Site) -> None:
    data = Phone(site).request("OPTIONS", "sip:example.com").to_bytes()
    (response,) = await site.send(data.replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia", 1))
    assert response.start_line.startswith("SIP/2.0 505 ")


async def test_a_fault_of_ours_costs_one_message_and_is_answered_500(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(account("bob"))
    await site.app.start()

    def broken(*args: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(site.calls, "in_dialog", broken)
    request = Phone(site).request("BYE", "sip:x@example.com", to="<sip:b@example.com>;tag=t")
    (response,) = await site.send(request)
    assert response.start_line == "SIP/2.0 500 Server Internal Error"
    assert site.app.counters.errors == 1
    site.app.deadlines.at(site.now, broken)
    met: list[float] = []
    site.app.deadlines.at(site.now, met.append)
    site.app.run_deadlines(site.now)
    assert met == [site.now]
    assert site.app.counters.errors == 2
    await site.app.stop()


async def test_random_bytes_never_raise(site: Site) -> None:
    source = random.Random(1)
    seeds = [
        Phone(site).register("<sip:a@h>").to_bytes(),
        Phone(site).request("INVITE", "sip:bob@example.com", **OUTSIDER).to_bytes(),
        Phone(site).request("MESSAGE", "sip:bob@example.com", body=b"hello").to_bytes(),
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\n\r\n",
        b"\x01FLOW-CLOSED abc",
    ]
    for n in range(3000):
        data = bytearray(source.choice(seeds))
        for _ in range(source.randrange(1, 8)):
            at = source.randrange(len(data))
            if source.random() < 0.5:
                data[at] = source.randrange(256)
            else:
                del data[at : at + source.randrange(1, 30)]
            data = data or bytearray(b"x")
        if n % 10 == 0:
            data = bytearray(source.randbytes(source.randrange(200)))
        site.link.receiver(bytes(data), PROXY)
    await site.settle()
    site.link.take_control()
    assert site.app.counters.received == 3000
    assert site.app.counters.malformed > 100
    assert site.app.counters.errors == 0
    (response,) = await Phone(site).asked("OPTIONS", "sip:example.com")
    assert response.status == 200


# -- settings ----------------------------------------------------------------------------------


def test_settings_come_from_the_environment() -> None:
    config = AppServerConfig.from_env(
        {
            "TANDEM_NODE_ID": "as7",
            "TANDEM_DOMAINS": "a.example, b.example",
            "TANDEM_MIN_EXPIRES": "30",
        }
    )
    assert (config.node_id, config.domains, config.min_expires) == (
        "as7", ("a.example", "b.example"), 30,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIN_EXPIRES", "x"), ("MIN_EXPIRES", "0"), ("MAX_EXPIRES", "10"), ("MAX_CALLS", "-1"),
        ("KEEPALIVE_SECONDS", "0"), ("DIGEST_ALGORITHMS", "MD4"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_one_clear_line(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"TANDEM_{name}") as caught:
        AppServerConfig.from_env({f"TANDEM_{name}": value})
    assert "\n" not in str(caught.value)
