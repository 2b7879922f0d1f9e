"""Ruby dialplans that mean harm, or know no better: each is refused or ended, and nobody else
notices."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from tandem.dialplan.ruby import RubyRunner
from tandem.dialplan.ruby_server import MAX_RUNS
from tandem.dialplan.script import Limits
from tandem.dialplan.world import Ended
from tests.support.dialplans import NotingWorld
from tests.support.ruby import fault, no_runs, outcome, run_ruby
from tests.support.ruby import ruby as ruby

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = Limits(cpu_seconds=0.3)


# -- what is used without measure ------------------------------------------------------------------


async def test_an_endless_loop_is_ended(ruby: RubyRunner) -> None:
    caught = await fault(ruby, 'sys.Log "x"\nloop { 1 + 1 }', limits=SHORT)
    assert caught.limit == "time"
    assert "line 1" in str(caught.problem)  # of its last use of `sys`
    assert "more than 0.3 seconds without using sys" in str(caught)


async def test_a_loop_that_rescues_everything_is_ended(ruby: RubyRunner) -> None:
    source = """
begin; trap("PROF") { }; rescue Exception; end
begin; loop { 1 + 1 }; rescue Exception; retry; end while true
"""
    assert (await fault(ruby, source, limits=SHORT)).limit == "time"


async def test_a_loop_that_uses_sys_is_ended_too(ruby: RubyRunner) -> None:
    caught = await fault(ruby, "loop { sys.In }", limits=Limits(calls=50))
    assert (caught.limit, caught.problem.line) == ("calls", 1)


async def test_the_whole_run_has_an_end_to_its_computing(ruby: RubyRunner) -> None:
    source = "loop { 200_000.times { 1 + 1 }; sys.In }"
    caught = await fault(ruby, source, limits=Limits(total_cpu_seconds=1, calls=1_000_000))
    assert "more than 1 seconds in all" in str(caught)


async def test_a_sleep_beyond_its_time_is_refused_at_once(ruby: RubyRunner) -> None:
    assert (await fault(ruby, "sleep 100_000")).limit == "time"
    assert (await fault(ruby, "sleep")).limit == "time"
    assert "must be 0 or more" in str(await fault(ruby, "sleep(-1)"))


async def test_other_ways_to_sleep_are_loops(ruby: RubyRunner) -> None:
    caught = await fault(ruby, "IO.select(nil, nil, nil, 3600)", limits=SHORT)
    assert caught.limit == "time"


@pytest.mark.parametrize(
    "bomb",
    [
        "a = []; loop { a << 'x' * 100_000 }",
        "a = 'x'; loop { a += a }",
        "[0] * 500_000_000",
        "'x' * 2_000_000_000",
        "h = {}; 100_000_000.times { |i| h[i] = i.to_s }",
        "a = []; loop { begin; a << 'x' * 100_000; rescue NoMemoryError; a << 1; raise; end }",
        "10 ** 10 ** 8",
        "(1..Float::INFINITY).map { |i| 'x' * i }",
    ],
)
async def test_a_memory_bomb_is_ended(ruby: RubyRunner, bomb: str) -> None:
    caught = await fault(ruby, bomb, limits=Limits(cpu_seconds=5))
    assert caught.limit in {"memory", "time"} or "too big" in str(caught)


async def test_memory_within_bounds_may_be_used(ruby: RubyRunner) -> None:
    source = "a = (1..50_000).map { |i| i.to_s * 10 }\nsys.Log a.size"
    assert (await run_ruby(ruby, source)).logs == ["50000"]


@pytest.mark.parametrize(
    "source",
    [
        "def f(n) = f(n + 1)\nf(0)",
        "a = []; a << a; f = ->(x) { f.(x) }; f.(a)",
        "eval('[' * 100_000)",
        "x = 'eval(x)'; eval(x)",
        "Regexp.new('(' * 50_000)",
        "a = []; 100_000.times { a = [a] }; a.flatten; a.inspect",
        "a = []; 100_000.times { a = [a] }; sys.Log a",
        "a = []; 100_000.times { a = [a] }; sys.Dial a",
    ],
)
async def test_depth_ends_a_script_and_not_the_switch(ruby: RubyRunner, source: str) -> None:
    caught = await fault(ruby, source, limits=Limits(cpu_seconds=5))
    assert str(caught)
    assert (await run_ruby(ruby, "sys.Log 1")).logs == ["1"]


async def test_a_pattern_that_never_ends_is_ended(ruby: RubyRunner) -> None:
    source = "('a' * 40 + 'b') =~ /^(a|a|aa)*(?=c)\\1$/"
    assert await outcome(ruby, source, limits=SHORT) in {"", "time"}  # Ruby may see it by itself


# -- what is not there -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "File.read('/etc/passwd')",
        "File.open('/etc/passwd')",
        "open('/etc/passwd')",
        "IO.read('/proc/self/environ')",
        "File.write('/tmp/x', 'x')",
        "Dir.entries('/')",
        "Dir.glob('/*').fetch(0)",
        "Dir.mkdir('/tmp/x')",
        "File.symlink('/etc/passwd', '/x')",
        "File.unlink('/usr/local/lib/ruby/3.4.0/json.rb')",
        "File.new('../../../../etc/passwd')",
        "File.open('/dev/stdin', 'w')",
        "IO.for_fd(3).read",
        "IO.for_fd(6).write('x')",
        "IO.sysopen('/etc/passwd')",
        "system('id')",
        "Kernel.system('id')",
        "`id`",
        "%x(id)",
        "exec('id')",
        "spawn('id')",
        "Process.spawn('id')",
        "IO.popen('id')",
        "open('|id')",
        "Kernel.open('|id')",
        "IO.read('|id')",
        "fork { }",
        "Process.kill(9, 1)",
        "Process.setrlimit(Process::RLIMIT_CPU, 1000)",
        "syscall(39)",
        "Thread.new { }",
        "Thread.start { }.join",
        "Ractor.new { }.take",
        "require 'socket'",
        "TCPSocket.new('127.0.0.1', 22)",
        "require 'net/http'; Net::HTTP.get(URI('http://127.0.0.1/'))",
        "require 'open-uri'; URI.open('http://127.0.0.1/')",
        "require 'fiddle'",
        "require 'pty'",
        "load '/etc/passwd'",
        "require '/etc/passwd'",
        "System::IO::File.ReadAllText('/etc/passwd')",
    ],
)
async def test_what_a_dialplan_may_not_reach_is_not_there(ruby: RubyRunner, source: str) -> None:
    caught = await fault(ruby, source)
    assert "root:" not in str(caught)


async def test_nothing_of_the_process_is_to_be_seen(ruby: RubyRunner) -> None:
    source = """
sys.Log ENV.to_h.inspect
sys.Log ARGV.inspect
sys.Log $stdin.read.inspect
sys.Log Dir.pwd
sys.Log File.exist?("/etc/passwd")
$stderr.puts "nowhere"
STDOUT.syswrite("nowhere")
"""
    world = await run_ruby(ruby, source)
    assert world.logs == ["{}", "[]", '""', "/", "false"]


async def test_objects_of_other_runs_are_not_in_object_space(ruby: RubyRunner) -> None:
    await run_ruby(ruby, "$x = 'secret of joe'.dup")
    source = (
        "sys.Log ObjectSpace.each_object(String).count { |s| s.include?('secret of' + ' joe') }"
    )
    assert (await run_ruby(ruby, source)).logs == ["0"]


async def test_the_kernel_holds_a_run_too(ruby: RubyRunner) -> None:
    await no_runs(ruby)
    world = NotingWorld()
    world.gate = asyncio.Event()
    task = asyncio.create_task(run_ruby(ruby, 'sys.Dial("bob")', world))
    await world.dialled.wait()
    proc = Path("/proc")
    if proc.is_dir():
        parent = ruby.process_id
        children = (proc / f"{parent}/task/{parent}/children").read_text().split()
        confined = [child for child in children if is_confined(proc / child)]
        assert confined  # the last of those that are forked beforehand may not be so far
    world.gate.set()
    await task


def is_confined(process: Path) -> bool:
    limits = (process / "limits").read_text()
    return (
        all(re.search(rf"Max {w} +0 +0 ", limits) for w in ("file size", "processes"))
        and "NoNewPrivs:\t1" in (process / "status").read_text()
        and len(os.listdir(process / "fd")) == 4  # one connection beside the standard three
    )


# -- what is said to the switch --------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "nonsense",
        "[]",
        "[1, 2, 3, 4]",
        '["Log", 1, "x", {}]',
        '["__class__", 0, [], {}]',
        '["world", 0, [], {}]',
        '["_set", 0, [], {}]',
        '["Log", 0, [{"text": 1}], {}]',
        '["Dial", 0, [[1]], {}]',
        '["Dial", 0, ["x"], {"sys": 1}]',
        '["set_from", 0, [], {"self": 1}]',
        '["web_get", 0, [1, [], {}], {}]',
        '["Respond", 0, [NaN], {}]',
        '["Respond", 0, [1e400], {}]',
        '["Respond", 0, [' + "9" * 5_000 + "], {}]",
        '["Log", 0, [' + "[" * 500 + "]" * 500 + "], {}]",
        '["start", 0, [], {}]',
        '["fault", 0, ["made up"], {}]',
        '["fault", 0, [], {}]',
        '["problems", 0, [1], {}]',
    ],
)
async def test_what_a_script_makes_up_harms_nobody(ruby: RubyRunner, said: str) -> None:
    """A script may speak to the switch without the prelude."""
    source = f"JS.eval({said!r}).to_s"
    world = NotingWorld()
    await outcome(ruby, source, world=world)
    assert not world.dials
    assert (await run_ruby(ruby, "sys.Log 1")).logs == ["1"]


async def test_a_very_long_question_is_not_taken(ruby: RubyRunner) -> None:
    caught = await fault(ruby, "sys.Log('x' * 3_000_000)", limits=Limits(memory_bytes=64 << 20))
    assert caught.limit == "memory"
    assert "more than 1 MB at once" in str(caught)


async def test_a_line_end_gets_into_no_header(ruby: RubyRunner) -> None:
    for source in (
        'sys.SetCustomSIPHeader("X-A", "b\\r\\nRoute: <sip:evil.example>")',
        'sys.SetFromHeader("a\\r\\nX: y", "u", "h")',
        'sys.Respond(480, "a\\r\\nX: y")',
        'sys.SetCustomSIPHeader("Route", "<sip:evil.example>")',
    ):
        assert "header" in str(await fault(ruby, source)) or "line ends" in str(
            await fault(ruby, source)
        )


async def test_a_script_that_changes_everything_harms_only_itself(ruby: RubyRunner) -> None:
    source = """
module Tandem
  def self.exchange(*) = { "value" => nil }
  def self.plain(x) = x
end
class << JSON; def generate(*) = "["; end
class String; def ==(_) = raise; end
class Object; def method_missing(*) = sys; end
sys.Log 1
"""
    await outcome(ruby, source)
    assert (await run_ruby(ruby, "sys.Log 1")).logs == ["1"]


async def test_a_check_of_hostile_text_comes_to_an_end(ruby: RubyRunner) -> None:
    for source in ("[" * 60_000, "a." * 30_000, "\0\xff" * 100, "\ud800", "__END__", "BEGIN {"):
        assert isinstance(await ruby.check(source), list)


# -- and the others --------------------------------------------------------------------------------


async def test_loops_of_one_customer_leave_turns_for_another(ruby: RubyRunner) -> None:
    limits = Limits(cpu_seconds=1.0)
    loops = [
        asyncio.create_task(fault(ruby, "loop {}", limits=limits, owner="mallory"))
        for _ in range(6)
    ]
    await asyncio.sleep(0)
    world = await run_ruby(ruby, 'sys.Dial("bob")', NotingWorld(Ended()), owner="joe")
    assert world.logs == ["(ended)"]
    assert not any(loop.done() for loop in loops[2:])
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_runs_beyond_the_bound_are_refused_and_the_others_go_on(ruby: RubyRunner) -> None:
    worlds = [NotingWorld(Ended()) for _ in range(MAX_RUNS)]
    gate = asyncio.Event()
    for world in worlds:
        world.gate = gate
    await no_runs(ruby)
    tasks = [
        asyncio.create_task(run_ruby(ruby, 'sys.Dial("bob")', world, owner=f"c{index % 50}"))
        for index, world in enumerate(worlds)
    ]
    await asyncio.gather(*(world.dialled.wait() for world in worlds))
    assert (await fault(ruby, "sys.Log 1")).limit == "queue"
    gate.set()
    await asyncio.gather(*tasks)
    assert all(world.logs == ["(ended)"] for world in worlds)
