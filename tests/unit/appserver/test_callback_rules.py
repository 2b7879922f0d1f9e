"""The rules of callbacks that are values alone: callers, ranks, names, session descriptions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.appserver.domain.callbacks import Trigger, caller_of, tails
from services.appserver.domain.sdp import HELD, MAX_STREAMS, crossed, held_answer
from tandem.bus.hints import Hint, rank
from tandem.sip.message import Request

AUDIO = b"v=0\r\no=a 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP %s\r\n"
VIDEO = b"m=video 6000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


def audio(formats: bytes, *lines: bytes) -> bytes:
    return AUDIO % formats + b"".join(line + b"\r\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["From: <sip:+1555@a>"], "+1555"),
        (["From: <tel:+1555;phone-context=x>"], "+1555"),
        (["From: <sip:anonymous@anonymous.invalid>"], "anonymous"),
        (["From: <sip:Anonymous@a>", "P-Asserted-Identity: <sip:+1@a>"], "+1"),
        (["From: <sip:a>", 'P-Asserted-Identity: "X" <sip:+1@a>, <tel:+2>'], "+1"),
        (["From: <sip:+1555@a>", "P-Asserted-Identity: <sip:+1@a>"], "+1555"),
        (["From: <sip:a>", "P-Asserted-Identity: <<<"], ""),
    ],
)
def test_the_caller_is_who_from_names_or_else_the_network(lines: list[str], expected: str) -> None:
    assert caller_of(Request("INVITE", "sip:b@c", lines)) == expected


@pytest.mark.parametrize(
    ("user", "names"),
    [
        ("Bob", ["bob"]), ("x.bob", ["x.bob", "bob"]), ("a.b.c", ["a.b.c", "b.c", "c"]),
        ("bob.", ["bob."]), ("." * 50 + "x", ["." * n + "x" for n in range(50, 41, -1)]),
    ],
)  # fmt: skip
def test_a_user_part_names_what_stands_behind_its_dots(user: str, names: list[str]) -> None:
    assert tails(user) == names


def test_the_most_specific_hint_comes_first_then_the_one_that_ends_first() -> None:
    hint = Hint(id="a", node="n", appserver="x", customer="c", users=("u",), expires_at=10)
    ordered = [
        replace(hint, pattern="15551234"),
        replace(hint, pattern="1555????"),
        replace(hint, pattern="1555*"),
        replace(hint, pattern="1*", domains=("d",)),
        replace(hint, pattern="1*"),
        hint,
        replace(hint, expires_at=11),
    ]
    assert sorted(reversed(ordered), key=rank) == ordered


def test_a_trigger_shows_nothing_but_its_host() -> None:
    trigger = Trigger("https://u:p@Host.example/p?key=s", "GET", (("K", "s"),), b"s", (("f", "s"),))
    assert repr(trigger) == "Trigger(method='GET')"
    assert trigger.host == "host.example"


def test_two_offers_answer_each_other() -> None:
    one, two = audio(b"0 8"), audio(b"8", b"a=sendrecv")
    assert crossed(one, two) == (two, one)


def test_offers_of_more_streams_than_anybody_has_are_not_matched() -> None:
    many = audio(b"0") + VIDEO * (MAX_STREAMS - 1)
    assert crossed(many, audio(b"0")) is not None
    assert crossed(many + VIDEO, audio(b"0")) is None
    assert crossed(audio(b"0"), many + VIDEO) is None


def test_dynamic_formats_are_compared_by_name() -> None:
    one = audio(b"96 101", b"a=rtpmap:96 opus/48000/2", b"a=rtpmap:101 telephone-event/8000")
    two = audio(b"111 101", b"a=rtpmap:111 OPUS/48000/2", b"a=rtpmap:101 telephone-event/8000")
    other = audio(b"96 101", b"a=rtpmap:96 iLBC/8000", b"a=rtpmap:101 telephone-event/8000")
    assert crossed(one, two) == (two, one)
    assert crossed(one, other) is None
    assert crossed(audio(b"0"), audio(b"97", b"a=rtpmap:97 PCMU/8000/1")) is not None


def test_each_answer_has_as_many_streams_as_its_offer_in_the_same_order() -> None:
    one, two = audio(b"0") + VIDEO, audio(b"0")
    to_one, to_two = crossed(one, two) or (b"", b"")
    assert to_one == audio(b"0") + b"m=video 0 RTP/AVP 96\r\n"
    assert to_two == audio(b"0")
    swapped = AUDIO.partition(b"m=")[0] + VIDEO + b"m=audio 4000 RTP/AVP 0\r\n"
    to_one, _ = crossed(swapped, one) or (b"", b"")
    assert [line[:7] for line in to_one.split(b"\r\n") if line[:2] == b"m="] == [
        b"m=video", b"m=audio",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        audio(b"0").replace(b"RTP/AVP", b"RTP/SAVP"),
        audio(b"0").replace(b"4000", b"0"),
        b"",
        b"nonsense",
        b"m=audio\r\n",
        b"\xff\xfe",
    ],
)
def test_what_has_nothing_in_common_makes_no_session(other: bytes) -> None:
    assert crossed(audio(b"0"), other) is None
    assert crossed(other, audio(b"0")) is None


@pytest.mark.parametrize(
    ("one", "two", "to_one", "to_two"),
    [
        (b"a=sendonly", b"a=sendrecv", b"a=recvonly", b"a=sendonly"),
        (b"a=inactive", b"a=sendrecv", b"a=inactive", b"a=inactive"),
        (b"a=recvonly", b"a=recvonly", b"a=inactive", b"a=inactive"),
        (b"a=sendonly", b"a=recvonly", b"a=recvonly", b"a=sendonly"),
    ],
)
def test_who_only_sends_is_only_listened_to(
    one: bytes, two: bytes, to_one: bytes, to_two: bytes
) -> None:
    assert crossed(audio(b"0", one), audio(b"0", two)) == (
        audio(b"0", to_one),
        audio(b"0", to_two),
    )


def test_a_direction_of_the_whole_session_counts_too() -> None:
    held = audio(b"0").replace(b"t=0 0\r\n", b"t=0 0\r\na=sendonly\r\n")
    to_held, to_other = crossed(held, audio(b"0")) or (b"", b"")
    assert to_held == audio(b"0", b"a=recvonly")
    assert to_other == held


def test_lines_may_end_with_a_bare_line_feed() -> None:
    loose = audio(b"0").replace(b"\r\n", b"\n")
    assert crossed(loose, audio(b"0")) == (audio(b"0"), audio(b"0"))


def test_who_is_held_gets_one_inactive_stream_and_no_other() -> None:
    answer = held_answer(audio(b"0 96", b"a=rtpmap:96 opus/48000/2", b"a=sendrecv") + VIDEO)
    assert answer.startswith(HELD.partition(b"m=")[0])
    assert answer.endswith(
        b"m=audio 9 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\na=inactive\r\n"
        b"m=video 0 RTP/AVP 96\r\n"
    )
