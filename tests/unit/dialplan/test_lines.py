"""Line dialplans: which line a number finds, and what is wrong with a file."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.dialplan.lines import (
    MAX_LINES,
    MAX_NUMBER,
    MAX_REGEXES,
    DialApp,
    ReplyApp,
    number_of,
    read,
)

PLAN = r"""
; my own dialplan
exten => 100,1,Dial(bob@local)            ; the kitchen
exten = _0N[1-35]X.,1,Switch(${exten:1}@prov;transport=tcp[fd="A (b"])   ; abroad
  EXTEN =~ /^00(\d{3,5}),?$/i , n , dial(user,pass,${dst}@sip.prov.example)
exten =~ ^1\d{3,5}$,1,SIPReply(486, Gone (fishing))
exten => _ZXx,2,SIPReply(603)
exten => Alice,1,Dial(alice@local | voicemail@prov)
exten =~ 9/9,1,SIPReply(404,"Not here")
"""


def found(number: str) -> int | None:
    """The line that it finds."""
    return next((line.number for line in read(PLAN).lines if line.matches(number)), None)


@pytest.mark.parametrize(
    ("number", "line"),
    [
        ("100", 3),
        ("1000", 6),
        ("101", 7),
        ("012345", None),
        ("02512", 4),
        ("0251", None),
        ("04512", 4),
        ("04412", None),
        ("01512", None),
        ("00123", 5),
        ("00123,", 5),
        ("0012", None),
        ("1234567", None),
        ("001", None),
        ("alice", 8),
        ("xx9/9yy", 9),
        ("", None),
    ],
)
def test_the_first_line_that_matches_is_found(number: str, line: int | None) -> None:
    assert read(PLAN).problems == ()
    assert found(number) == line


def test_the_order_in_the_file_counts_not_the_priority() -> None:
    plan = read("exten => _1.,2,Dial(a@p)\nexten => 12,1,Dial(b@p)")
    assert [line.number for line in plan.lines if line.matches("12")] == [1, 2]


def test_applications_are_read() -> None:
    apps = [line.app for line in read(PLAN).lines]
    assert apps == [
        DialApp("bob@local"),
        DialApp('${exten:1}@prov;transport=tcp[fd="A (b"]'),
        DialApp("user,pass,${dst}@sip.prov.example"),
        ReplyApp(486, "Gone (fishing)"),
        ReplyApp(603, "Decline"),
        DialApp("alice@local | voicemail@prov"),
        ReplyApp(404, "Not here"),
    ]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("bla", 1, "a line begins with exten"),
        ("  bla", 3, "a line begins with exten"),
        ("exten", 1, "a line begins with exten"),
        ("exten => 5", 10, "a pattern, a priority and an application"),
        ("exten => 5,x,Dial(a@p)", 10, "a pattern, a priority and an application"),
        ("exten => ,1,Dial(a@p)", 10, "a pattern is expected"),
        ("exten => _,1,Dial(a@p)", 10, "a pattern is expected"),
        ("exten => _1.2,1,Dial(a@p)", 12, ". stands at the end"),
        ("exten => _1[,1,Dial(a@p)", 12, "a set is"),
        ("exten => _1[],1,Dial(a@p)", 12, "a set is"),
        ("exten => _1[9-1],1,Dial(a@p)", 12, "a set is"),
        ("exten => " + "1" * 257 + ",1,Dial(a@p)", 10, None),
        ("exten => _" + "1" * 256 + ",1,Dial(a@p)", 10, "256 characters"),
        ("exten =~ " + "1" * 257 + ",1,Dial(a@p)", 10, "256 characters"),
        ("exten =~ (,1,Dial(a@p)", 10, "can't be used"),
        ("exten =~ /(?=1)/,1,Dial(a@p)", 11, "look-around"),
        (r"exten =~ /(1)\1/,1,Dial(a@p)", 11, "back references"),
        ("exten =~ /1/g,1,Dial(a@p)", 13, "i is the only flag"),
        ("exten =~ /1/", 13, "a pattern, a priority"),
        ("exten => 5,1,", 14, "an application is expected"),
        ("exten => 5,1,Dial", 14, "an application is expected"),
        ("exten => 5,1,Dial(a@p", 18, "not closed"),
        ("exten => 5,1,Dial(a@p) x", 23, "nothing but a comment"),
        ("exten => 5,1,Playback(x)", 14, "there is no application Playback"),
        ("exten => 5,1,Dial(a@p[zz=1])", 23, "there is no option 'zz'"),
        ("exten => 5,1,Dial(${no}@p)", 19, "there is no ${no}"),
        ("exten => 5,1,SIPReply(200)", 23, "from 300 to 699"),
        ("exten => 5,1,SIPReply(180)", 23, "from 300 to 699"),
        ("exten => 5,1,SIPReply(486," + "x" * 129 + ")", 23, "128 characters"),
        ("exten => 5,1,SIPReply(486,a\x00b)", 28, "character U+0000"),
        ("exten => \ud800,1,Dial(a@p)", 10, "character U+D800"),
        ("exten => 5,1,Dial(a@p) ;" + "x" * 8192, 8193, "8192 characters"),
    ],
)
def test_faults_have_line_and_column(text: str, column: int, message: str | None) -> None:
    problems = read(f"; one\r\n{text}\n; three").problems
    if message is None:
        assert problems == ()
        return
    (problem,) = problems
    assert (problem.line, problem.column) == (2, column)
    assert message in problem.message


def test_all_faults_are_told_and_the_good_lines_kept() -> None:
    plan = read("exten => 1,1,Foo()\nexten => 2,1,Dial(a@p)\nexten")
    assert [problem.line for problem in plan.problems] == [1, 3]
    assert [line.number for line in plan.lines] == [2]


def test_a_dialplan_without_lines_is_a_fault() -> None:
    (problem,) = read("; nothing\n\n").problems
    assert "no line" in problem.message


def test_limits_of_a_dialplan() -> None:
    (problem,) = read("exten => 1,1,Dial(a@p)\n" * (MAX_LINES + 5)).problems
    assert problem.line == MAX_LINES + 1
    (problem,) = read("exten =~ 1,1,Dial(a@p)\n" * (MAX_REGEXES + 5)).problems
    assert problem.line == MAX_REGEXES + 1
    assert len(read("x\n" * 500).problems) == 50


def test_a_long_number_matches_nothing() -> None:
    plan = read("exten => _X.,1,Dial(a@p)\nexten =~ 1,1,Dial(a@p)")
    assert [bool(line.matches("1" * MAX_NUMBER)) for line in plan.lines] == [True, True]
    assert [bool(line.matches("1" * (MAX_NUMBER + 1))) for line in plan.lines] == [False, False]


def test_numbers_are_tried_without_escapes_and_parameters() -> None:
    assert number_of("%2331%23555;phone-context=x") == "#31#555"
    assert number_of("a%0D%FFb") == "a  b"


@pytest.mark.parametrize(
    "regex",
    [
        "(a+)+$",
        "(x+x+)+y",
        "(a|aa)+$",
        "(.*a){12}b",
        "((a{0,9}){0,9}){0,9}x",
        "^(([a-z])+.)+[A-Z]$",
        "(?:a?){30}a{30}",
        r"(\w{1,30}){0,9}$",
    ],
)
def test_an_evil_expression_is_refused_or_fast(regex: str) -> None:
    """With backtracking some of these take longer than the universe has. Time of the thread, and
    a thousand times what was measured: no clock of a busy machine decides."""
    plan = read(f"exten =~ {regex},1,Dial(a@p)")
    number = "a" * (MAX_NUMBER - 1) + "!"
    began = time.thread_time()
    for line in plan.lines:
        line.matches(number)
    assert time.thread_time() - began < 1.0


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            ["exten ", "=> ", "=~ ", "_X.", "[", "]", "/", "\\", "(", ")", ",", "1", "Dial", "a@p",
             ";", "SIPReply", "486", "\n", '"', "i", "${dst}", "*", "+", "|"]
        ),
        max_size=25,
    ).map("".join)
)  # fmt: skip
def test_reading_never_raises(source: str) -> None:
    plan = read(source)
    lines = source.split("\n")
    for problem in plan.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
    for line in plan.lines:
        line.matches("12345")
