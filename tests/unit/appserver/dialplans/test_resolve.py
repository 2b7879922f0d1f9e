"""Where the legs of a dial string lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.appserver.domain.fence import Fence
from services.appserver.domain.plan import NextHop
from services.appserver.handlers import outside
from services.appserver.handlers.dialplans.resolve import MAX_DEPTH, Run
from services.appserver.handlers.outside import BARRED, PRIVATE
from tandem.dialplan.world import DialplanError, DialStatus
from tandem.rpc.programs import CallbackForm
from tests.support.appserver import PROXY, Address, Phone, account
from tests.support.dialling import FAR, SELF, Desk, provider


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk() as made:
        yield made


def way(address: Address, *routes: str) -> NextHop:
    """The way to an address outside."""
    text = f"{address.transport}:{address.host}:{address.port}"
    reliable = address.transport != "udp"
    return NextHop(PROXY, (f"<sip:{PROXY};lr;dst={text}>", *routes), reliable, False, text)


# -- accounts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leg",
    ["bob@example.com", "sip:bob@alias.example", "BOB@EXAMPLE.COM", "any.thing.bob@192.0.2.1"],
)
async def test_a_host_of_ours_is_an_account_whose_phones_ring(desk: Desk, leg: str) -> None:
    target = await desk.target(leg)
    assert (target.uri, target.account) == ("sip:bob@192.168.1.2:5060", "bob@example.com")
    assert target.hops[0].text == "udp:203.0.113.8:5060"
    assert target.options.name == leg
    assert target.options.from_value == ""
    assert desk.asked == []


async def test_all_phones_of_an_account_ring_with_the_options_of_its_leg(desk: Desk) -> None:
    await Phone(desk.site, "bob", contact="sip:bob@h2", host="203.0.113.9").registered()
    targets = await desk.targets("bob@example.com[dt=5,cd=60,rt=9,rm=a,ma=false,tr=n]")
    assert {target.uri for target in targets} == {"sip:bob@192.168.1.2:5060", "sip:bob@h2"}
    for options in (target.options for target in targets):
        assert (options.delay, options.max_seconds, options.ring_seconds) == (5, 60, 9)
        assert (options.follow_redirects, options.mangle, options.transfer) == (True, False, "n")


@pytest.mark.parametrize(
    ("leg", "status", "reason"),
    [
        ("alice@example.com", 480, "Not registered"),
        ("nobody@example.com", 404, "There is no account nobody@example.com"),
        ("off@example.com", 403, "Account is disabled"),
        ("poor@example.com", 604, "Customer is suspended"),
        ("example.com", 484, "No user before example.com"),
    ],
)
async def test_accounts_that_can_t_be_rung(leg: str, status: int, reason: str) -> None:
    accounts = (
        account("alice"),
        account("bob"),
        account("off", enabled=False),
        account("poor", owner_enabled=False),
    )
    async with Desk(*accounts) as desk:
        assert await desk.nowhere(leg) == (status, reason)


async def test_when_the_directory_is_away_the_other_legs_ring(desk: Desk) -> None:
    desk.site.directory.away = True
    outcome = await desk.dial("carol@example.com & bob@example.com", 486)
    assert desk.rung == [["bob@example.com"]]
    assert [(leg.target, leg.status) for leg in outcome.legs] == [
        ("carol@example.com", 503),
        ("bob@example.com", 486),
    ]
    assert await desk.nowhere("carol@example.com") == (503, "The directory does not answer")


async def test_a_telephone_number_is_a_user_of_the_accounts_domain() -> None:
    async with Desk(account("alice"), account("bob"), account("+4412345")) as desk:
        await Phone(desk.site, "+4412345").registered()
        target = await desk.target("tel:+44-123.45;x=y")
        assert target.account == "+4412345@example.com"
        desk.run.req = replace(desk.run.req, account="")
        assert (await desk.target("tel:+4412345")).account == "+4412345@example.com"


async def test_a_telephone_number_without_any_domain_leads_nowhere(desk: Desk) -> None:
    desk.run.req = replace(desk.run.req, account="")
    desk.site.app.tools.domains.load(())
    assert (await desk.nowhere("tel:1"))[0] == 404


# -- accounts with a dialplan of their own -----------------------------------------------------


async def test_an_account_with_an_incoming_dialplan_is_called_through_it() -> None:
    async with Desk(account("alice"), account("bob", in_dialplan="in")) as desk:
        target = await desk.target("x.bob@alias.example[fd=Z]")
        assert target.uri == "sip:x.bob@example.com"
        assert target.hops == (SELF,)
        assert target.account == "bob@example.com"
        assert target.options.from_value == '"Z" <sip:alice@example.com>'


async def test_the_dialplan_that_runs_rings_the_phones_of_its_accounts() -> None:
    bob = account("bob", owner="owner-alice", in_dialplan="main")
    async with Desk(account("alice"), bob) as desk:
        assert (await desk.target("bob@example.com")).hops != (SELF,)


async def test_anothers_dialplan_of_the_same_name_is_not_the_one_that_runs() -> None:
    async with Desk(account("alice"), account("bob", in_dialplan="main")) as desk:
        assert (await desk.target("bob@example.com")).hops == (SELF,)


async def test_without_a_way_back_the_phones_ring() -> None:
    async with Desk(account("alice"), account("bob", in_dialplan="in"), to_self=None) as desk:
        assert (await desk.target("bob@example.com")).account == "bob@example.com"


async def test_accounts_that_forward_to_each_other_do_not_do_so_for_ever() -> None:
    alice = account("alice", in_dialplan="a")
    async with Desk(alice, account("bob", in_dialplan="b")) as desk:
        called = await desk.target("bob@example.com")
        for plan, user, leg in (("b", "bob", "alice"), ("a", "alice", "bob")):
            owner = f"owner-{user}"
            req = desk.incoming(
                direction="in", uri=called.uri, customer=owner, account=f"{user}@example.com"
            )
            desk.run = Run.of(req, plan, PROXY)
            if leg == "alice":
                called = await desk.target("alice@example.com")
                assert called.uri == "sip:alice@example.com;ran=bob%40example.com"
        assert desk.run.ran == ("bob@example.com", "alice@example.com")
        status, reason = await desk.nowhere("bob@example.com")
        assert status == 482
        assert "runs for this call already" in reason


async def test_dialplans_inside_of_dialplans_have_an_end() -> None:
    async with Desk(account("alice"), account("bob", in_dialplan="b")) as desk:
        ran = "+".join(f"u{number}%40x" for number in range(MAX_DEPTH + 3))
        desk.run = Run.of(desk.incoming(uri=f"sip:x@example.com;ran={ran}"), "main", PROXY)
        assert len(desk.run.ran) == MAX_DEPTH
        assert (await desk.nowhere("bob@example.com"))[0] == 482


def test_a_request_without_a_proper_uri_has_run_nothing() -> None:
    assert Run.of(Desk.incoming(uri="sip:@@"), "main", PROXY).ran == ()


# -- where nobody is called --------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x@10.0.0.7", "x@prov", "user,pw,x@10.0.0.7"])
async def test_no_leg_goes_to_a_private_network_that_is_closed(text: str) -> None:
    near = Address("udp", "10.0.0.7", 5060)
    for private, status in (("deny", 403), ("10.0.0.0/24", None)):
        async with Desk(fence=Fence([private])) as desk:
            desk.site.resolver.known |= {"10.0.0.7": [near], "sip.prov.example": [near]}
            if status is None:
                assert len(await desk.targets(text)) == 1
            else:
                assert await desk.nowhere(text) == (403, PRIVATE)


@pytest.mark.parametrize(
    "text", ["x@sip.prov.example", "x@prov", "x@1.example;maddr=sip.prov.example"]
)
async def test_no_leg_goes_to_a_host_that_the_operator_bars(text: str) -> None:
    async with Desk(fence=Fence(barred=r"PROV\.example$")) as desk:
        assert await desk.nowhere(text) == (403, BARRED)


async def test_no_leg_goes_by_an_outbound_proxy_that_the_operator_bars() -> None:
    async with Desk(fence=Fence(barred="^edge")) as desk:
        desk.site.resolver.known["edge.example"] = [FAR]
        desk.providers = [provider(outbound_proxy="sip:edge.example")]
        assert await desk.nowhere("x@prov") == (403, BARRED)


# -- providers ---------------------------------------------------------------------------------


async def test_a_provider_is_called_with_its_credentials_and_from(desk: Desk) -> None:
    desk.providers = [provider(auth_username="auth", realm="r", custom_headers=("X-P: 1",))]
    target = await desk.target("00441@PROV;x=y?X-A=%201&Subject=hi[fd=Z]")
    assert target.uri == "sip:00441@sip.prov.example;x=y"
    assert target.hops == (way(FAR),)
    assert target.account == ""
    options = target.options
    assert options.from_value == '"Z" <sip:me@sip.prov.example>'
    assert options.headers == ("X-P: 1", "X-A: 1", "Subject: hi")
    assert options.credentials is not None
    login = options.credentials
    assert (login.username, login.password, login.realm) == ("auth", "pw", "r")
    assert (options.provider, options.name) == ("prov", "00441@PROV;x=y?X-A=%201&Subject=hi")
    assert desk.asked == ["owner-alice"]


async def test_a_bare_provider_gets_the_number_that_was_dialled(desk: Desk) -> None:
    assert (await desk.target("prov")).uri == "sip:5551234@sip.prov.example"
    desk.run.values = replace(desk.run.values, dst="#1")
    assert (await desk.target("prov")).uri == "sip:%231@sip.prov.example"
    desk.run.values = replace(desk.run.values, dst="")
    assert await desk.nowhere("prov") == (484, "No number for prov")


async def test_parameters_of_the_leg_go_before_those_of_the_server(desk: Desk) -> None:
    desk.providers = [provider(server="sips:sip.prov.example:5071;transport=tcp;lr;a=b")]
    target = await desk.target("1@prov;transport=tls")
    assert target.uri == "sips:1@sip.prov.example:5071;a=b;transport=tls"


async def test_an_outbound_proxy_is_where_it_goes(desk: Desk) -> None:
    edge = Address("tcp", "198.51.100.77", 5060)
    desk.site.resolver.known = {"edge.prov.example": [edge]}
    desk.providers = [provider(outbound_proxy="sip:edge.prov.example;transport=tcp")]
    target = await desk.target("1@prov")
    assert target.uri == "sip:1@sip.prov.example"
    assert target.hops == (way(edge, "<sip:edge.prov.example;transport=tcp;lr>"),)


@pytest.mark.parametrize(
    ("given", "dial", "options", "from_value"),
    [
        ("", {}, "", "<sip:me@sip.prov.example>"),
        ("", {"from_name": "N", "from_user": "u"}, "", '"N" <sip:u@sip.prov.example>'),
        ("", {"from_user": "u", "from_host": "h"}, "[fu=v]", "<sip:v@h>"),
        ("sip:1@own.example", {"from_name": "N", "from_user": "u"}, "", "<sip:1@own.example>"),
        ("sip:1@own.example", {}, "[fd=D,fu=2]", '"D" <sip:2@own.example>'),
        ('"${fromname}" <sip:${fromuriuser}@own.example>', {}, "",
         '"Alice" <sip:alice@own.example>'),
    ],
)  # fmt: skip
async def test_whose_from_it_is(
    desk: Desk, given: str, dial: dict[str, str], options: str, from_value: str
) -> None:
    desk.providers = [provider(from_header=given)]
    assert (await desk.target(f"1@prov{options}", **dial)).options.from_value == from_value


async def test_who_calls_anonymously_stays_so(desk: Desk) -> None:
    desk.run.values = replace(desk.run.values, from_name="anonymous")
    target = await desk.target("1@prov")
    assert target.options.from_value == '"Anonymous" <sip:me@sip.prov.example>'


async def test_a_from_of_a_provider_that_makes_no_sense_is_told(desk: Desk) -> None:
    desk.providers = [provider(from_header="${nobody}")]
    with pytest.raises(DialplanError, match="From of the provider"):
        await desk.dial("1@prov")


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"enabled": False}, 403, "Provider prov is disabled"),
        ({"owner_enabled": False}, 403, "Provider prov is disabled"),
        ({"server": "nothing at all"}, 500, "The server of provider prov is no URI"),
        ({"server": "sip:gone.example"}, 404, "Destination cannot be resolved"),
        ({"name": "other"}, 404, "There is no provider and no domain prov"),
        ({"owner": "owner-bob"}, 404, "There is no provider and no domain prov"),
    ],
)
async def test_providers_that_can_t_be_called(
    desk: Desk, change: dict[str, object], status: int, reason: str
) -> None:
    desk.providers = [replace(provider(), **change)]  # type: ignore[arg-type]
    assert await desk.nowhere("1@prov") == (status, reason)


async def test_nobody_can_say_who_the_providers_are(desk: Desk) -> None:
    desk.providers = None
    outcome = await desk.dial("1@prov & bob@example.com", 486)
    assert desk.rung == [["bob@example.com"]]
    assert (outcome.legs[0].status, outcome.legs[0].reason) == (
        503, "Providers are not known just now",
    )  # fmt: skip


async def test_a_provider_that_calls_back_is_not_dialled(desk: Desk) -> None:
    desk.providers = [provider("gv", callback=CallbackForm())]
    with pytest.raises(DialplanError, match=r'use sys\.provider_callback\("gv", number\)'):
        await desk.dial("bob@example.com | 1@GV")
    assert desk.ringer.forks == []


async def test_a_header_of_a_provider_that_can_t_leave_is_left_out(desk: Desk) -> None:
    desk.providers = [provider(custom_headers=("X-A: 1\r\nVia: x", "To: x", "nonsense", "X-B: 2"))]
    assert (await desk.target("1@prov")).options.headers == ("X-B: 2",)


async def test_a_provider_without_a_password_gets_no_credentials(desk: Desk) -> None:
    desk.providers = [provider(password="")]
    assert (await desk.target("1@prov")).options.credentials is None


# -- anywhere else -----------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True])
async def test_any_other_uri_is_looked_up(desk: Desk, slow: bool) -> None:
    where = desk.site.resolver.slow if slow else desk.site.resolver.known
    where["pbx.example"] = [FAR, Address("tls", "2001:db8::1", 5061)]
    target = await desk.target("<sip:bob@pbx.example;transport=tcp?X-A=b>")
    assert target.uri == "sip:bob@pbx.example;transport=tcp"
    assert [hop.text for hop in target.hops] == ["udp:198.51.100.4:5060", "tls:[2001:db8::1]:5061"]
    assert target.options.headers == ("X-A: b",)
    assert target.options.from_value == ""
    assert target.options.credentials is None


@pytest.mark.parametrize(
    ("leg", "status", "reason"),
    [
        ("bob@nowhere.example", 404, "Destination cannot be resolved"),
        ("bob@typo", 404, "There is no provider and no domain typo"),
        ("bob@typo:5060", 404, "typo is no host outside"),
        ("sip:typo", 404, "typo is no host outside"),
        ("typo", 404, "There is no provider and no domain typo"),
    ],
)
async def test_hosts_that_lead_nowhere(desk: Desk, leg: str, status: int, reason: str) -> None:
    assert await desk.nowhere(leg) == (status, reason)


async def test_too_many_look_ups_lead_nowhere(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "MAX_RESOLVING", 0)
    desk.site.resolver.slow["pbx.example"] = [FAR]
    assert (await desk.nowhere("bob@pbx.example"))[0] == 404


async def test_the_form_of_asterisk_brings_its_own_credentials(desk: Desk) -> None:
    target = await desk.target("user,pass,${exten:3}@sip.prov.example", asterisk_form=True)
    assert target.uri == "sip:1234@sip.prov.example"
    assert target.options.from_value == "<sip:user@sip.prov.example>"
    assert target.options.credentials is not None
    assert target.options.credentials.username == "user"
    text = 'user,pass,1@sip.prov.example,"${fromname}" <sip:z@y.example>'
    target = await desk.target(text, asterisk_form=True)
    assert target.options.from_value == '"Alice" <sip:z@y.example>'
    target = await desk.target("user,pass,sip.prov.example", asterisk_form=True)
    assert target.uri == "sip:5551234@sip.prov.example"


# -- what legs carry ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dial", "options", "from_value"),
    [
        ({}, "", ""),
        ({"from_name": "N"}, "", '"N" <sip:alice@example.com>'),
        ({"from_name": ""}, "", "<sip:alice@example.com>"),
        ({"from_user": "#5", "from_host": "h.example"}, "", '"Alice" <sip:%235@h.example>'),
        ({"from_user": "5"}, "[fu=6,fh=x.example]", '"Alice" <sip:6@x.example>'),
        ({}, '[fd="A \\" B"]', '"A \\" B" <sip:alice@example.com>'),
        ({}, "[fu=${exten:3}]", '"Alice" <sip:1234@example.com>'),
        ({"from_name": "a\r\nVia: x"}, "", '"a  Via: x" <sip:alice@example.com>'),
    ],
)
async def test_from_is_the_callers_but_for_what_is_set(
    desk: Desk, dial: dict[str, str], options: str, from_value: str
) -> None:
    target = await desk.target(f"bob@example.com{options}", **dial)
    assert target.options.from_value == from_value


async def test_a_caller_without_a_user_is_nobody(desk: Desk) -> None:
    desk.run.values = replace(desk.run.values, from_user="", from_host="", from_name="")
    target = await desk.target("bob@example.com[fd=N]")
    assert target.options.from_value == '"N" <sip:anonymous.invalid>'


@pytest.mark.parametrize(
    "dial",
    [
        {"from_user": "a>\r\nVia: x"},
        {"from_host": "h;tag=1"},
        {"headers": (("X-A", "a\r\nVia: x"),)},
        {"headers": (("Via", "x"),)},
        {"failover": "bussy"},
    ],
)
async def test_what_would_break_a_message_is_refused(desk: Desk, dial: dict[str, object]) -> None:
    with pytest.raises(DialplanError):
        await desk.dial("bob@example.com", **dial)
    assert desk.ringer.forks == []


async def test_headers_of_the_leg_go_before_those_of_provider_and_script(desk: Desk) -> None:
    desk.providers = [provider(custom_headers=("X-B: 2", "X-C: 2", "X-C: 3"))]
    headers = (("X-A", "1"), ("X-B", "1"), ("x-c", "1"))
    target = await desk.target("1@prov?X-A=3", headers=headers)
    assert target.options.headers == ("X-A: 3", "X-B: 2", "X-C: 2", "X-C: 3")


async def test_body_and_limits_of_the_dial_go_to_every_leg(desk: Desk) -> None:
    text = "bob@example.com & 1@prov[cd=9]"
    await desk.dial(text, body=b"x", content_type="text/plain", max_seconds=60, ring_seconds=20)
    (fork,) = desk.ringer.forks
    assert (fork.ring_seconds, fork.max_seconds) == (20, 60)
    assert [target.options.max_seconds for target in fork.targets] == [60, 9]
    assert {(t.options.body, t.options.content_type) for t in fork.targets} == {
        (b"x", "text/plain")
    }


async def test_the_same_twice_rings_once(desk: Desk) -> None:
    desk.providers = [provider(), provider("two", server="sip:sip.prov.example", username="you")]
    text = "bob@example.com & sip:bob@alias.example[dt=5] & 1@prov & 1@two & 1@PROV"
    await desk.dial(text)
    assert desk.rung == [["bob@example.com", "1@prov", "1@two"]]


async def test_legs_are_looked_up_at_once_and_ring_in_their_order(desk: Desk) -> None:
    desk.site.resolver.slow["pbx.example"] = [FAR]
    desk.site.resolver.gate.clear()
    dialling = asyncio.create_task(desk.dial("1@pbx.example & bob@example.com & 1@prov"))
    await desk.site.settle()
    assert not dialling.done()
    desk.site.resolver.gate.set()
    await dialling
    assert desk.rung == [["1@pbx.example", "bob@example.com", "1@prov"]]


async def test_a_run_that_is_cancelled_while_it_looks_up_leaves_nothing(desk: Desk) -> None:
    desk.site.resolver.slow["pbx.example"] = [FAR]
    desk.site.resolver.gate.clear()
    dialling = asyncio.create_task(desk.dial("1@pbx.example & carol@example.com"))
    await desk.site.settle()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    desk.site.resolver.gate.set()
    await desk.site.settle()
    assert desk.tasks == set()
    assert desk.ringer.forks == []


async def test_a_bad_dial_string_is_told_with_a_caret(desk: Desk) -> None:
    with pytest.raises(DialplanError, match=r"there is no option 'zz'(.|\n)*\^"):
        await desk.dial("1@prov[zz=1]")


async def test_a_leg_that_leads_nowhere_is_told_beside_those_that_rang(desk: Desk) -> None:
    outcome = await desk.dial("alice@example.com & bob@example.com", 302)
    assert outcome.status is DialStatus.FAILED
    nowhere, rung = outcome.legs
    assert (nowhere.target, nowhere.uri, nowhere.status) == ("alice@example.com", "", 480)
    assert (rung.target, rung.uri) == ("bob@example.com", "sip:bob@192.168.1.2:5060")
    assert (rung.status, rung.contacts) == (302, ("sip:new@there.example",))
