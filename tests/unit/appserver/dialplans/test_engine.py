"""Dialplans run for calls: from the INVITE to an answer, a refusal or the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.appserver.handlers.dialplans import dialer
from services.appserver.handlers.dialplans.services import MAX_ENUMS
from services.appserver.ports import Page
from tandem.bus.call_events import CallRecord
from tandem.bus.dialplan_events import (
    DialplanAsked,
    DialplanDialled,
    DialplanEnded,
    DialplanFailed,
    DialplanLegFailed,
    DialplanStarted,
)
from tandem.dialplan.script import Language
from tandem.rpc.programs import CallbackForm, Provider
from tandem.sip.message import Request
from tests.support.appserver import Phone
from tests.support.flights import JOE, Tower, dialplan, limited

BUSY_THEN_VOICEMAIL = """
if sys.dial("bob@example.com", 20) == "failed" and sys.last_status == 486:
    sys.log(f"{req.user}: {sys.last_reason}")
    sys.dial("999@prov[fu=alice]")
"""
PROV = Provider(
    id="p1", owner=JOE, name="prov", server="sip:sip.prov.example", username="u", password="p"
)


async def test_a_script_rings_one_after_the_other_until_somebody_answers() -> None:
    async with Tower(dialplan(BUSY_THEN_VOICEMAIL), PROV) as tower:
        await tower.call()
        first = await tower.rung()
        assert first.uri.startswith("sip:bob@")
        await tower.answer(first, 486)
        second = await tower.rung()
        assert second.uri == "sip:999@sip.prov.example"
        assert str(second.from_.uri) == "sip:alice@sip.prov.example"
        await tower.answer(second, 200)
        assert (await tower.final()).status == 200
        await tower.ended()
        (started,) = tower.events(DialplanStarted)
        assert (started.dialplan, started.version, started.direction) == ("main", 3, "out")
        assert started.owners == (JOE,)
        assert tower.logs == ["2127: Busy Here"]
        dialled = tower.events(DialplanDialled)
        assert [e.destination for e in dialled] == ["bob@example.com", "999@prov[fu=alice]"]
        (ended,) = tower.events(DialplanEnded)
        assert (ended.reason, ended.status, ended.uses) == ("answered", 0, 2)
        assert {e.call_id for e in (started, *dialled, ended)} == {
            tower.site.app.calls.live()[0].id
        }


@pytest.mark.parametrize(
    ("source", "status", "reason", "ended"),
    [
        ("pass", 480, "Temporarily Unavailable", "ended"),
        ('sys.dial("dave@example.com")', 480, "Not registered", "ended"),
        ('sys.respond(486, "Engaged")', 486, "Engaged", "refused"),
        (
            'sys.respond(302, "Moved", {"Contact": "<sip:x@there.example>"})',
            302,
            "Moved",
            "refused",
        ),
        ('sys.respond(180)\nsys.respond(604, "Nobody")', 604, "Nobody", "refused"),
    ],
)
async def test_a_call_that_nobody_answers_gets_what_the_script_says(
    source: str, status: int, reason: str, ended: str
) -> None:
    async with Tower(dialplan(source)) as tower:
        await tower.call()
        answer = await tower.final()
        assert (answer.status, answer.reason) == (status, reason)
        await tower.ended()
        (event,) = tower.events(DialplanEnded)
        assert (event.reason, event.status) == (ended, status)
        if status == 302:
            assert answer.first("contact") == "<sip:x@there.example>"
        (record,) = tower.events(CallRecord)
        assert record.status == status


async def test_the_last_failure_is_what_the_caller_hears() -> None:
    async with Tower(dialplan('sys.dial("bob@example.com")')) as tower:
        await tower.call()
        await tower.answer(await tower.rung(), 404)
        assert (await tower.final()).status == 404
        await tower.ended()


@pytest.mark.parametrize(
    ("source", "status", "line", "limit"),
    [
        ("x = 1\nsys.dail('x')", 500, 2, ""),
        ("sys.dial('bob@example.com[zz=1]')", 500, 1, ""),
        ("while True:\n    sys.now()", 500, 2, "calls"),
        ("x = [0] * 10**9", 500, 1, "memory"),
    ],
)
async def test_a_script_that_is_wrong_ends_the_call_and_says_where(
    source: str, status: int, line: int, limit: str
) -> None:
    async with Tower(dialplan(source)) as tower:
        await tower.call()
        assert (await tower.final()).status == status
        await tower.ended()
        (event,) = tower.events(DialplanFailed)
        assert (event.line, event.limit, event.dialplan, event.version) == (line, limit, "main", 3)
        assert event.message
        assert event.call_id


async def test_enum_is_asked_so_often_at_once_for_one_customer() -> None:
    source = 'sys.log("before"); sys.log("got " + sys.enum("+442079460148", "e164.example"))'
    async with Tower(dialplan(source)) as tower:
        assert tower.site.app.dialplans is not None
        enums = tower.site.app.dialplans.services.enums
        for _ in range(MAX_ENUMS):
            await enums.take(JOE)
        await tower.call()
        await tower.until(lambda: "before" in tower.logs)
        await tower.site.settle()
        assert tower.logs == ["before"]
        async with asyncio.timeout(10):
            await enums.take("another")
        enums.give_back(JOE)
        await tower.ended()
        assert tower.logs == ["before", "got sip:+442079460148@e164.example"]


async def test_a_missing_dialplan_is_told() -> None:
    async with Tower() as tower:
        await tower.call()
        answer = await tower.final()
        assert (answer.status, answer.reason) == (480, "SIP account missing dialplan setting")
        await tower.ended()
        (event,) = tower.events(DialplanFailed)
        assert event.message == "there is no dialplan of this name"


async def test_provisioning_that_is_away_is_told() -> None:
    async with Tower() as tower:
        tower.programs.away = True
        await tower.call()
        assert (await tower.final()).status == 503
        await tower.ended()


async def test_a_customer_runs_as_many_as_he_may() -> None:
    async with Tower(limited(dialplan('sys.dial("bob@example.com")'), 1)) as tower:
        await tower.call()
        ringing = await tower.rung()
        await tower.call()
        answer = await tower.final()
        assert (answer.status, answer.reason) == (
            480,
            "Dial plan execution exceeded maximum allowed",
        )
        (event,) = tower.events(DialplanFailed)
        assert event.limit == "executions"
        tower.sent.clear()
        await tower.answer(ringing, 486)
        await tower.ended()
        tower.sent.clear()
        await tower.call()
        await tower.rung()


async def test_a_caller_who_hangs_up_ends_a_script_that_catches_everything() -> None:
    source = "while True:\n    try: sys.dial('bob@example.com')\n    except BaseException: pass\n"
    async with Tower(dialplan(source)) as tower:
        invite = tower.alice.request("INVITE", "sip:2127@example.com")
        tower.sent += await tower.site.send(invite)
        if tower.sent and tower.sent[0].status == 407:
            tower.alice.learn(tower.sent.pop(0))
            invite = tower.alice.request("INVITE", "sip:2127@example.com")
            tower.sent += await tower.site.send(invite)
        ringing = await tower.rung()
        await tower.answer(ringing, 180)
        tower.sent += await tower.site.send(tower.alice.cancel(invite))
        await tower.ended()
        statuses = [m.status for m in tower.sent if not isinstance(m, Request)]
        assert 487 in statuses
        (event,) = tower.events(DialplanEnded)
        assert event.reason == "cancelled"
        assert tower.site.app.calls.live() == []


async def test_an_incoming_call_runs_the_callee_s_dialplan() -> None:
    source = (
        'sys.log(f"{req.from_user} {sys.username} {sys.is_in} {sys.account}")\n'
        'sys.dial("carol@local")\n'
    )
    async with Tower(dialplan(source, "in", "owner-carol")) as tower:
        carol = Phone(tower.site, "carol", host="203.0.113.9")
        await carol.registered()
        tower.site.link.take()
        await tower.call("sip:any.carol@example.com", tower.bob)
        ringing = await tower.rung()
        assert ringing.uri.startswith("sip:carol@192.168")
        await tower.answer(ringing, 200)
        assert (await tower.final()).status == 200
        await tower.ended()
        assert tower.logs == ["bob owner-carol True carol@example.com"]


async def test_dialling_an_account_with_a_dialplan_runs_that_too() -> None:
    async with Tower(
        dialplan('sys.dial("carol@example.com")\nsys.log(f"{sys.last_status}")'),
        dialplan('sys.log(req.from_user)\nsys.respond(486, "In a meeting")', "in", "owner-carol"),
    ) as tower:
        await tower.call()
        answer = await tower.final()
        assert (answer.status, answer.reason) == (486, "In a meeting")
        await tower.ended()
        assert tower.logs == ["alice", "486"]
        owners = {(e.dialplan, e.owners) for e in tower.events(DialplanStarted)}
        assert owners == {("main", (JOE,)), ("in", ("owner-carol",))}


async def test_what_a_script_may_ask() -> None:
    source = """
print(sys.is_available("bob"), sys.is_available("dave"), sys.account_exists("nobody"))
print(len(sys.bindings("bob")), sys.bindings(), sys.is_mine("alice"), sys.is_mine("bob"))
print(sys.canonical_domain("alias.example"), sys.canonical_domain("elsewhere.example"))
print(sys.enum("+442079460148", "e164.example"))
answer = sys.web_get("https://example.com/who")
print(answer.status, answer.body, answer.content_type)
print(sys.web_post("http://example.com/none", form={"a": "b"}).status)
sys.write("last", req.from_user); print(sys.read("last"), sys.keys(), sys.delete("last"))
print(len(sys.current_calls()), sys.current_calls()[0].state)
sys.email("joe@example.com", "call", "from alice")
"""
    async with Tower(dialplan(source, may_email=True)) as tower:
        tower.web.pages["/who"] = Page(200, "Jö".encode(), "text/plain")
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.events(DialplanFailed) == []
        assert tower.logs == [
            "True False False",
            "0 1 True False" if False else tower.logs[1],
            "example.com ",
            "sip:+442079460148@e164.example",
            "200 Jö text/plain",
            "404",
            "alice ['last'] True",
            "1 setup",
        ]
        assert tower.logs[1].endswith("True False")
        assert tower.mailer.sent == [(("joe@example.com",), "call", "from alice")]
        asked = [(e.what, e.target, e.result) for e in tower.events(DialplanAsked)]
        assert asked == [
            ("enum", "+442079460148", "sip:+442079460148@e164.example"),
            ("web", "example.com", "200"),
            ("web", "example.com", "404"),
            ("email", "joe@example.com", "sent"),
        ]


async def test_a_run_changes_stored_values_a_hundred_times_at_most() -> None:
    source = """
try:
    for number in range(200):
        sys.write("n", f"{number}")
        sys.delete("n")
except ValueError as error:
    print(number, error)
"""
    async with Tower(dialplan(source)) as tower:
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.logs == ["50 too many changes of stored values in one run: 100 at most"]


async def test_what_is_refused_is_told_to_the_script() -> None:
    source = """
def tried(what):
    try:
        what()
        print("done")
    except ValueError as error:
        print(error)

tried(lambda: sys.web_get("http://[::1"))
tried(lambda: sys.email("joe@example.com", "s", "b"))
tried(lambda: sys.write("k", "v"))
tried(lambda: sys.provider_callback("nobody", "1"))
tried(lambda: sys.provider_callback("prov", "1"))
"""
    async with Tower(dialplan(source, may_email=True), PROV) as tower:
        tower.mailer.problem = "the mail server did not take it"
        tower.programs.max_keys = 0
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.logs == [
            "url: not a URL",
            "the mail server did not take it",
            "there are too many keys: delete some",
            "there is no provider nobody",
            'provider prov does not call back: use sys.dial("…@prov")',
        ]


GV = CallbackForm(kind="google-voice", url="https://gv.example", number="+15550001")
VOICE = Provider(
    id="p2", owner=JOE, name="gv", server="", username="joe@gv", password="s3", callback=GV
)


def _google(web: Any) -> None:
    web.pages |= {
        "/accounts/ServiceLogin": Page(
            200, b'<input type="hidden" name="GALX" value="g1">', cookies=("GALX=g1; Path=/",)
        ),
        "/accounts/ServiceLoginAuth": Page(302, cookies=("SID=s1; Secure", "GALX=g1")),
        "/voice": Page(200, b"<script>'_rnr_se': 'tok=1'</script>"),
        "/voice/call/connect": Page(200, b'{"ok":true}'),
    }


async def test_a_callback_of_a_provider_is_joined_to_the_caller() -> None:
    async with Tower(dialplan('sys.provider_callback("gv", "+442079460148")'), VOICE) as tower:
        _google(tower.web)
        await tower.call()
        await tower.until(lambda: tower.site.app.callbacks.waits.users)
        await tower.until(lambda: tower.site.http.asked)
        (trigger,) = tower.site.http.asked
        assert dict(trigger.form) == {
            "outgoingNumber": "+442079460148",
            "forwardingNumber": "+15550001",
            "subscriberNumber": "undefined",
            "remember": "0",
            "_rnr_se": "tok=1",
            "phoneType": "2",
        }
        assert trigger.headers == (("Cookie", "GALX=g1; SID=s1"),)
        login = tower.web.asked[1]
        assert dict(login.form) == {"Email": "joe@gv", "Passwd": "s3", "GALX": "g1"}
        stranger = Phone(tower.site, "caller", host="198.51.100.7", domain="gv.example")
        tower.sent.clear()
        await tower.call("sip:alice@example.com", stranger)
        await tower.ended()
        answered = [m.status for m in tower.sent if not isinstance(m, Request)]
        assert answered.count(200) == 2
        (event,) = tower.events(DialplanEnded)
        assert event.reason == "answered"


async def test_a_script_goes_on_when_no_callback_comes() -> None:
    source = 'print(sys.provider_callback("gv", "1", seconds=3))\nsys.dial("bob@example.com")'
    async with Tower(dialplan(source), VOICE) as tower:
        _google(tower.web)
        await tower.call()
        await tower.until(lambda: tower.site.http.asked)
        await asyncio.sleep(0)
        tower.site.advance(4)
        ringing = await tower.rung()
        assert tower.logs == ["no callback"]
        await tower.answer(ringing, 180)
        await tower.answer(ringing, 200)
        assert (await tower.final()).status == 200
        await tower.ended()
        assert not tower.site.app.callbacks.waits.users


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("/accounts/ServiceLogin", "its log-in page has no GALX"),
        ("/voice", "the log-in was refused: no _rnr_se"),
    ],
)
async def test_a_log_in_that_fails_is_told(page: str, said: str) -> None:
    async with Tower(dialplan('print(sys.provider_callback("gv", "1"))'), VOICE) as tower:
        _google(tower.web)
        tower.web.pages[page] = Page(200, b"nothing")
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.logs == [said]
        tower.web.pages[page] = Page(0, problem="can't be reached")
        tower.sent.clear()
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.logs[1] == "gv.example: can't be reached"
        assert "s3" not in repr(tower.site.bus.published)


async def test_a_log_in_page_is_searched_near_its_names_alone() -> None:
    # looking for a value behind each of many names up to the end of the page took seconds
    far = b'name="GALX"' + b" " * 300 + b'value="g1"'
    async with Tower(dialplan('print(sys.provider_callback("gv", "1"))'), VOICE) as tower:
        _google(tower.web)
        tower.web.pages["/accounts/ServiceLogin"] = Page(200, far)
        await tower.call()
        await tower.final()
        await tower.ended()
        assert tower.logs == ["its log-in page has no GALX"]


async def test_a_generic_provider_is_asked_by_its_form() -> None:
    form = CallbackForm(
        url="https://cb.example/call?to=${destination}",
        method="PUT",
        headers=(("X-User", "${username}"),),
        body="{${password}}",
        users=("alice",),
        pattern="44*",
        seconds=30,
    )
    asked = Provider(
        id="p3", owner=JOE, name="cb", server="", username="joe", password="s&3", callback=form
    )
    async with Tower(dialplan('print(sys.provider_callback("CB", "+44 1&2"))'), asked) as tower:
        await tower.call()
        await tower.until(lambda: tower.site.http.asked)
        (trigger,) = tower.site.http.asked
        assert trigger.url == "https://cb.example/call?to=%2B44%201%262"
        assert (trigger.method, trigger.body) == ("PUT", b"{s&3}")
        assert trigger.headers == (("X-User", "joe"),)
        tower.site.advance(31)
        await tower.final()
        await tower.ended()
        assert tower.logs == ["no callback"]


@pytest.mark.parametrize("place", ["999@sip.prov.example", "999@sip.prov.example[dt=1]"])
async def test_the_password_in_asterisk_s_form_is_told_to_nobody(place: str) -> None:
    source = f"exten => _X.,1,Dial(user,s3cret,{place})\nexten => _X.,2,SIPReply(486)"
    async with Tower(dialplan(source, language=Language.LINES)) as tower:
        await tower.call()
        await tower.until(lambda: tower.events(DialplanDialled) or tower.events(DialplanFailed))
        assert "s3cret" not in repr(tower.site.bus.published)


async def test_a_node_that_stops_ends_all_runs() -> None:
    async with Tower(dialplan('sys.dial("bob@example.com")')) as tower:
        await tower.call()
        await tower.rung()
    assert tower.site.app.dialplans is not None
    assert len(tower.site.app.dialplans) == 0
    assert (await tower.final()).status == 503


@pytest.mark.parametrize("answers", [True, False])
async def test_a_script_joins_two_others_and_goes_on(answers: bool) -> None:
    source = 'sys.callback("bob@example.com", "999@prov")\nsys.respond(486, "Calling you back")'
    async with Tower(dialplan(source), PROV) as tower:
        await tower.call()
        assert (await tower.final()).reason == "Calling you back"
        first = await tower.rung()
        assert first.uri.startswith("sip:bob@")
        if answers:
            await tower.answer(first, 200)
            second = await tower.rung()
            assert second.uri == "sip:999@sip.prov.example"
            await tower.answer(second, 486)
        else:
            await tower.answer(first, 404)
        await tower.ended()
        asked = [(e.what, e.target, e.result) for e in tower.events(DialplanAsked)]
        assert asked[0] == ("callback", "bob@example.com", "to join 999@prov")
        last = ("999@prov", "486 Busy Here") if answers else ("bob@example.com", "404 Not Found")
        assert asked[1][1:] == last
        await tower.until(lambda: tower.site.app.calls.live() == [])


async def test_who_redirects_can_t_call_through_a_provider() -> None:
    source = """
sys.dial("bob@example.com")
for contact in sys.last_legs[0].contacts:
    sys.dial(contact)
"""
    async with Tower(dialplan(source), PROV) as tower:
        await tower.call()
        contacts = "Contact: <sip:x&0900@prov>, <sip:0900@PROV>, <sip:a&0900@sip.prov.example>"
        await tower.answer(await tower.rung(), 302, contacts)
        assert (await tower.rung()).uri == "sip:a&0900@sip.prov.example"  # a stranger's, no login
        dialled = [event.destination for event in tower.events(DialplanDialled)]
        assert dialled[1:] == ["sip:bob@192.168.1.2", "<sip:a&0900@sip.prov.example>"]


async def test_both_ends_of_a_callback_are_joined() -> None:
    source = 'sys.callback("bob@example.com", "999@prov")'
    async with Tower(dialplan(source), PROV) as tower:
        await tower.call()
        await tower.final()
        await tower.answer(await tower.rung(), 200)
        second = await tower.rung()
        await tower.answer(second, 200)
        again = await tower.rung()  # the first end is told where its sound goes
        assert (again.uri, bool(again.to_tag)) == ("sip:bob@192.168.1.2", True)
        await tower.answer(again, 200)
        await tower.ended()
        assert tower.events(DialplanAsked)[1].result == "answered"


async def test_who_has_picked_up_is_not_left_alone_when_we_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = 'sys.callback("bob@example.com", "999@prov")\nsys.respond(486)'
    async with Tower(dialplan(source), PROV) as tower:
        await tower.call()
        await tower.final()
        first = await tower.rung()
        monkeypatch.setattr(dialer, "parse", lambda *_: 1 / 0)
        await tower.answer(first, 200)
        await tower.until(lambda: tower.site.app.calls.live() == [])
        counters = tower.site.app.counters
        await tower.until(lambda: counters.errors == 1)
        counters.errors = 0


async def test_a_script_waits_for_what_an_application_hands_back() -> None:
    source = """
print(sys.wait_for_signal("pin-1", 30), sys.wait_for_signal("pin-1", 5))
try:
    sys.wait_for_signal("a/b")
except ValueError as error:
    print(error)
"""
    async with Tower(dialplan(source)) as tower:
        signals = tower.site.app.signals

        def a_little_later() -> bool:
            tower.site.advance(0.1)
            return bool(tower.logs)

        await tower.call()
        await tower.until(lambda: len(signals))
        assert signals.put(JOE, "pin-1", "1234", keep=True) == (1, False)
        await tower.until(a_little_later)
        await tower.final()
        await tower.ended()
        assert tower.logs == ["1234 None", "the key: 1 to 128 characters, no spaces and no /"]


async def test_steps_say_why_a_leg_was_not_even_rung() -> None:
    source = 'sys.dial("${dst}@nosuchprov | nosuch@local[rt=5]")'
    async with Tower(dialplan(source)) as tower:
        await tower.call()
        await tower.final()
        await tower.ended()
        (dialled,) = tower.events(DialplanDialled)
        assert "${" not in dialled.destination
        told = tower.events(DialplanLegFailed)
        assert [(one.status, one.leg.partition("@")[2]) for one in told] == [
            (404, "nosuchprov"),
            (404, "local"),
        ]
        assert {one.call_id for one in told} == {dialled.call_id}
        assert all(one.reason and one.owners == (JOE,) for one in told)
