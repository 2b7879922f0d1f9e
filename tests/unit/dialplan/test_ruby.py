"""Ruby dialplans as people have them: what they call, and what comes of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.script import Limits, ScriptFault
from tandem.dialplan.world import DialplanError, DialStatus, Ended, HttpAnswer, LegResult, Outcome
from tests.support.dialplans import NotingWorld, incoming
from tests.support.ruby import fault, no_runs, run_ruby
from tests.support.ruby import ruby as ruby

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAMOUS = """#Ruby
case req.URI.User
when /^232$/ then sys.Dial("999142xxx@sip.tropo.com[fu=uniqueidxxx]")
else sys.Respond(404, "Not found")
end
"""


# -- the call --------------------------------------------------------------------------------------


async def test_the_famous_line_dials_tropo(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, FAMOUS, NotingWorld(Ended()), req=incoming(user="232"))
    assert [dial.text for dial in world.dials] == ["999142xxx@sip.tropo.com[fu=uniqueidxxx]"]
    assert world.logs == ["(ended)"]


async def test_another_number_is_answered_with_404(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, FAMOUS)
    assert world.responses == [(404, "Not found", ())]


async def test_a_failed_dial_is_told_by_its_result_and_by_last_dialled(ruby: RubyRunner) -> None:
    legs = (
        LegResult("bob", "sip:bob@example.com", 486, "Busy Here"),
        LegResult("carol", "sip:carol@example.com", 503, "Service Unavailable"),
    )
    source = """
result = sys.Dial("bob & carol", 300)
sys.Log("#{result} #{result == "Failed"} #{result == 3} #{result == DialPlanAppResult::Failed}")
sys.LastDialled.each do |tried|
  answer = tried.TransactionFinalResponse
  sys.Log "#{answer.StatusCode} #{answer.ReasonPhrase}"
end
sys.Respond(sys.LastFailureStatus, sys.LastFailureReason)
"""
    failed = Outcome(DialStatus.FAILED, 486, "Busy Here", legs)
    world = await run_ruby(ruby, source, NotingWorld(failed))
    assert world.dials[0].ring_seconds == 180  # more than that was possible, and without effect
    assert world.logs[:3] == [
        "Failed true true true",
        "486 Busy Here",
        "503 Service Unavailable",
    ]
    assert world.responses == [(486, "Busy Here", ())]


async def test_a_wrong_dial_string_is_a_result_and_a_line_in_the_log(ruby: RubyRunner) -> None:
    world = await run_ruby(
        ruby, 'sys.Log(sys.Dial("bob["))', NotingWorld(DialplanError("character 4: no option"))
    )
    assert world.logs == ["Dial: character 4: no option", "Error"]


async def test_a_script_can_not_rescue_its_own_end(ruby: RubyRunner) -> None:
    source = """
begin
  sys.Dial("bob")
rescue Exception => e
  sys.Log("** Error: " + e.message)
ensure
  sys.Log("ensured")
end
sys.Log("after")
"""
    world = await run_ruby(ruby, source, NotingWorld(Ended()))
    assert world.logs == ["(ended)"]


async def test_an_answer_may_carry_headers(ruby: RubyRunner) -> None:
    world = await run_ruby(
        ruby, 'sys.Respond(302, "Moved", "Contact: <sip:bob@example.org>|X-Why: away")'
    )
    contact, why = ("Contact", "<sip:bob@example.org>"), ("X-Why", "away")
    assert world.responses == [(302, "Moved", (contact, why))]


async def test_headers_of_later_dials_are_set_and_taken_back(ruby: RubyRunner) -> None:
    source = """
sys.SetFromHeader("Bob", nil, "example.org")
sys.SetCustomSIPHeader("X-One", "1")
sys.SetCustomSIPHeader("X-Two: 2")
sys.RemoveCustomSIPHeader("X-One")
sys.PrintCustomSIPHeaders
sys.Dial("a")
sys.ClearFromHeader
sys.ClearCustomSIPHeaders
sys.Dial("b")
"""
    world = await run_ruby(ruby, source)
    first, second = world.dials
    assert (first.from_name, first.from_user, first.from_host) == ("Bob", None, "example.org")
    assert first.headers == (("X-Two", "2"),)
    assert (second.from_name, second.headers) == (None, ())
    assert world.logs == ["X-Two: 2"]


async def test_a_callback_goes_on_without_the_script(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, 'sys.Callback("a@b", "c@d", 99)')
    assert world.callbacks == [("a@b", "c@d", 15.0)]


async def test_a_google_voice_call_asks_the_callback_provider(ruby: RubyRunner) -> None:
    world = await run_ruby(
        ruby,
        'sys.GoogleVoiceCall("me@gmail.com", "secret", "17475551234", "14155551234", "^1415.*")\n'
        'sys.GoogleVoiceCall("office", "", "", "14155551234", nil, 2, 45)\n'
        'sys.Log "nothing came"',
    )
    first, second = world.wishes
    assert (first.provider, first.destination) == ("googlevoice", "14155551234")
    assert (first.pattern, first.seconds) == ("1415*", 30)
    assert (second.provider, second.pattern, second.seconds) == ("office", "", 45)
    assert world.logs == ["nothing came"]


# -- what is known ---------------------------------------------------------------------------------


async def test_sys_and_req_are_known_by_all_their_names(ruby: RubyRunner) -> None:
    source = """
sys.Log "#{sys.Username} #{sys.In} #{sys.Out} #{$sys.out} #{sys.DialPlanName}"
sys.Log "#{req.URI.User} #{$req.uri.user} #{req.URI.Host} #{req.URI} #{req.Method} #{req.method}"
sys.Log req.Header.From
from = req.Header.from
sys.Log "#{from.FromURI.User}/#{req.Header.From.FromURI.Host}/#{from.FromName}"
sys.Log req.Header.From.FromURI.ToString()
sys.Log req.Header.UnknownHeaders.join(",")
sys.Log req.URI.User.Substring(1, 2)
def helper = sys.Log("from a method: #{req.URI.User}")
helper
"""
    world = await run_ruby(ruby, source)
    assert world.logs == [
        "joe false true true office",
        "2127 2127 example.com sip:2127@example.com INVITE INVITE",
        '"Alice" <sip:alice@example.com>',
        "alice/example.com/Alice",
        "sip:alice@example.com",
        "x-trunk: a,x-trunk: b",
        "12",
        "from a method: 2127",
    ]


async def test_what_the_request_does_not_have_is_nil(ruby: RubyRunner) -> None:
    source = "sys.Log [req.Header.From.FromName, req.Body, req.Header.UserAgent].inspect"
    world = await run_ruby(ruby, source, req=incoming(from_name=""))
    assert world.logs == ["[nil, nil, nil]"]


async def test_accounts_are_asked_for_as_then(ruby: RubyRunner) -> None:
    source = """
sys.Log sys.IsAvailable?
sys.Log sys.IsAvailable("bob", "local")
sys.Log sys.DoesSIPAccountExist("bob")
sys.Log sys.IsMine("carol")
sys.Log sys.GetBindings("bob", "local").first.ContactURI
sys.Log sys.GetCanonicalDomain("local").inspect
sys.Log sys.GetCanonicalDomain("elsewhere.example").inspect
sys.Log sys.GetCanonicalDomain("no host!").inspect
"""
    world = await run_ruby(ruby, source)
    assert world.logs == [
        "false",
        "true",
        "true",
        "false",
        "sip:bob@192.0.2.7",
        '"example.com"',
        "nil",
        "nil",
    ]
    assert world.accounts[:2] == [("alice", "example.com"), ("bob", "local")]


async def test_the_world_outside_is_asked_as_then(ruby: RubyRunner) -> None:
    source = """
sys.Log sys.ENUMLookup("4412345.e164.org")
sys.Log sys.WebGet("http://example.com/?n=#{req.URI.User}", 400)
sys.Log sys.GetCurrentCallCount
sys.Log sys.GetTimezoneOffsetMinutes
sys.ExtendScriptTimeout(60)
sys.Trace = true
"""
    world = await run_ruby(ruby, source)
    assert world.logs == ["sip:4412345@e164.org", "yes", "1", "60"]
    assert world.questions[0].url == "http://example.com/?n=2127"
    assert world.questions[0].seconds == 60


async def test_a_page_that_is_not_to_be_had_is_nil(ruby: RubyRunner) -> None:
    world = NotingWorld()
    world.answer = HttpAnswer(0, problem="it is on a private address")
    await run_ruby(ruby, 'sys.Log sys.WebGet("http://127.0.0.1/").inspect', world)
    assert world.logs == ["WebGet: it is on a private address", "nil"]


async def test_the_store_keeps_values(ruby: RubyRunner) -> None:
    source = """
sys.DBWrite("last", 42)
sys.Log sys.DBRead("last") + sys.DBGetKeys.join
sys.Log sys.DBDelete("last")
sys.Log sys.DBRead("last").inspect
sys.DBRead("mysql", "server=x", "select 1")
"""
    caught = await fault(ruby, source, world=(world := NotingWorld()))
    assert world.logs == ["42last", "true", "nil"]
    assert "own databases are not offered" in str(caught)


async def test_names_of_python_dialplans_work_too(ruby: RubyRunner) -> None:
    source = """
sys.log sys.e164("01 679 9000", region: "IE")
sys.log sys.is_out
sys.provider_callback("office", "100", seconds: 5)
"""
    world = await run_ruby(ruby, source)
    assert world.logs == ["+35316799000", "true"]
    assert world.wishes[0].seconds == 5


async def test_what_sys_does_not_have_is_an_error_with_its_line(ruby: RubyRunner) -> None:
    caught = await fault(ruby, "x = 1\nsys.Tropo(x)")
    assert str(caught.problem) == "line 2, column 0: sys has no Tropo (NoMethodError)"
    assert "Google closed" in str(await fault(ruby, 'sys.GTalk("a", "b", "c", "d")'))
    assert "sys.Dial: missing" in str(await fault(ruby, "sys.Dial"))
    assert "a number is wanted" in str(await fault(ruby, 'sys.Respond("busy", "x")'))
    assert "a number is wanted" in str(await fault(ruby, 'sys.Callback("a", "b", 0.0/0)'))


async def test_a_refusal_can_be_rescued(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, 'begin; sys.Respond(200, "OK"); rescue => e; sys.Log e; end')
    assert world.logs == ["a 2xx answer is for who is called, not for a dialplan"]


# -- time, and what else Ruby is made to do --------------------------------------------------------


async def test_the_time_is_the_worlds_in_the_customers_zone(ruby: RubyRunner) -> None:
    source = """
sys.Log Time.now.strftime("%H:%M %z")
sys.Log Time.now.utc.hour
sys.Log Time.local(2026, 7, 1, 13, 0) == Time.at(1782907200)
before = Time.now
sleep 90
sys.Log((Time.now - before).round)
"""
    world = await run_ruby(ruby, source)
    assert world.logs == ["13:00 +0100", "12", "true", "90"]
    assert world.slept == 90


async def test_what_is_printed_is_logged(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, 'puts "one", 2\nprint "thr"\nprint "ee"\n')
    assert world.logs == ["one", "2", "three"]


async def test_the_habits_of_old_ruby_and_net_go_on(ruby: RubyRunner) -> None:
    source = """
require 'rubygems'
Speed = { "1" => "100" }
sys.Log Speed.ContainsKey("1")
sys.Log 5.is_a?(Fixnum)
req.URI.User =~ /^(2)(1)/ and sys.Log("#$1-#{$2}-#{$'}")
num = req.URI.User.to_s
num << "@" << req.URI.Host
num.gsub!(/%([0-9A-F]{2})/) { $1.to_i(16).chr }
sys.Log num
sys.Log "a b".to_a.size
sys.Log "Thread was being aborted." if $!.to_s =~ /aborted/
@x ||= 3
sys.Log @x
"""
    world = await run_ruby(ruby, source)
    assert world.logs == ["true", "true", "2-1-27", "2127@example.com", "1", "3"]


async def test_the_colon_of_old_ruby_still_means_then(ruby: RubyRunner) -> None:
    source = """case req.URI.User
  when /^1/ : sys.Log("one: 1")
  when /^2/ : sys.Log("two: 2")
end
"""
    assert await ruby.check(source) == []
    assert (await run_ruby(ruby, source)).logs == ["two: 2"]
    caught = await fault(ruby, "case 1\nwhen 1 : 2\n")
    assert caught.problem.line == 2


async def test_a_library_of_ruby_is_there_and_others_are_not(ruby: RubyRunner) -> None:
    world = await run_ruby(ruby, 'require "uri"\nrequire "time"\nsys.Log URI("http://a/b").path')
    assert world.logs == ["/b"]
    caught = await fault(ruby, "require 'mikesgem'")
    assert "cannot load such file -- mikesgem" in str(caught)
    assert caught.problem.line == 1


async def test_a_script_ends_where_it_says_so(ruby: RubyRunner) -> None:
    for last in ("exit", "return", "abort 'x'", "raise SystemExit"):
        world = await run_ruby(ruby, f'sys.Log "before"\n{last}\nsys.Log "after"')
        assert world.logs == ["before"], last


async def test_every_run_begins_anew(ruby: RubyRunner) -> None:
    await run_ruby(ruby, "$left = 1\nLEFT = 1\nclass String; def upcase = 'x'; end")
    world = await run_ruby(
        ruby, 'sys.Log [$left, defined?(LEFT), "a".upcase].inspect\nsys.Log rand(1_000_000)'
    )
    again = await run_ruby(ruby, "sys.Log rand(1_000_000)")
    assert world.logs[0] == '[nil, nil, "A"]'
    assert world.logs[1] != again.logs[0]


# -- saving ----------------------------------------------------------------------------------------


async def test_a_good_dialplan_is_found_good(ruby: RubyRunner) -> None:
    assert await ruby.check(FAMOUS) == []
    assert await ruby.check("$sys.Log(1) if sys.IsAvailable?\nsys.is_mine('x')") == []


async def test_a_fault_is_told_with_its_place(ruby: RubyRunner) -> None:
    problems = await ruby.check('if true\n  sys.Log("x"\nend\n')
    assert (problems[0].line, problems[0].column) == (3, 1)
    assert "unexpected 'end'" in problems[0].message


async def test_a_name_that_sys_does_not_have_is_told_with_its_place(ruby: RubyRunner) -> None:
    problems = await ruby.check('x = 1\n  sys.Dail("x")\nfoo.Dail\n$sys.Frobnicate 1\n')
    assert [(p.message, p.line, p.column) for p in problems] == [
        ("sys has no Dail", 2, 7),
        ("sys has no Frobnicate", 4, 6),
    ]


async def test_a_library_that_is_missing_is_told_with_its_place(ruby: RubyRunner) -> None:
    problems = await ruby.check("require 'rubygems'\nrequire 'time'\nrequire 'mikesgem'")
    assert [str(p) for p in problems] == [
        "line 3, column 1: there is no library mikesgem here",
    ]


async def test_a_dialplan_that_is_too_long_is_refused(ruby: RubyRunner) -> None:
    assert "65536 characters" in (await ruby.check("#" * 70_000))[0].message
    assert "65536 characters" in str(await fault(ruby, "#" * 70_000))


async def test_without_ruby_saving_and_running_say_what_to_do(tmp_path: Path) -> None:
    runner = RubyRunner(tmp_path)
    await runner.start()
    assert "make ruby" in (await runner.check("sys.Log 1"))[0].message
    assert "make ruby" in str(await fault(runner, "sys.Log 1"))
    await runner.stop()


# -- coming and going ------------------------------------------------------------------------------


async def test_a_cancelled_run_leaves_no_process(ruby: RubyRunner) -> None:
    world = NotingWorld()
    world.gate = asyncio.Event()
    task = asyncio.create_task(run_ruby(ruby, 'sys.Dial("bob")', world))
    await world.dialled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await no_runs(ruby)


async def test_a_process_that_is_lost_is_started_again(ruby: RubyRunner) -> None:
    world = NotingWorld()
    world.gate = asyncio.Event()
    task = asyncio.create_task(run_ruby(ruby, 'sys.Dial("bob")', world))
    await world.dialled.wait()
    os.kill(ruby.process_id, signal.SIGKILL)
    await no_runs(ruby)
    world.gate.set()
    with pytest.raises(ScriptFault, match="its process died"):
        await task
    assert (await run_ruby(ruby, "sys.Log 1")).logs == ["1"]


async def test_a_script_that_waits_for_a_call_has_its_time_afterwards(ruby: RubyRunner) -> None:
    world = NotingWorld()

    def ring(_: object) -> None:
        world.time += 170

    world.dialling = ring
    source = '2.times { sys.Dial("bob") }\nsys.Log "after"\nsleep 11'
    caught = await fault(ruby, source, world=world, limits=Limits(wall_seconds=10))
    assert world.logs == ["after"]
    assert (caught.limit, caught.problem.line) == ("time", 3)


async def test_a_script_stays_beside_its_call_and_transfers_it(ruby: RubyRunner) -> None:
    world = NotingWorld(Outcome(DialStatus.ANSWERED, 200, "OK"))
    world.values["signal:menu"] = "1234"
    await run_ruby(
        ruby,
        "if sys.Dial('ivr@company', 20, stay: true) == 'Answered'\n"
        "  number = sys.wait_for_signal('menu', 60)\n"
        '  sys.Log(sys.transfer("#{number}@prov", 30))\n'
        "  sys.hang_up\n"
        "end\n",
        world,
    )
    assert [dial.text for dial in world.transfers] == ["1234@prov"]
    assert (world.logs, world.hung_up) == (["Failed", "(ended)"], True)
