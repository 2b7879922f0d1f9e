"""Dial strings: what they say, and where they are wrong."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tandem.dialplan.dialstring import (
    MAX_LEGS,
    MAX_LENGTH,
    DialString,
    DialStringError,
    one_leg,
    parse,
)
from tandem.dialplan.failover import Policy
from tandem.dialplan.options import Options
from tandem.dialplan.substitute import Values
from tandem.sip.uri import Uri, unescape


def only(text: str) -> tuple[Uri, Options]:
    """The one leg of a dial string."""
    (leg,) = parse(text).legs
    return leg.uri, leg.options


def fault(text: str, asterisk_form: bool = False) -> tuple[str, str]:
    """What is wrong with it, and the text from where the caret points."""
    with pytest.raises(DialStringError) as caught:
        parse(text, asterisk_form)
    return caught.value.message, text[caught.value.position :]


def test_attempts_hold_legs_and_legs_hold_options() -> None:
    text = "1234@blueface[dt=5,fu=5551212,tr=n] & me@local[cd=600] | voicemail@prov"
    first, second = parse(text).attempts
    one, two = first.legs
    (three,) = second.legs
    assert (one.name, one.options) == (
        "1234@blueface",
        Options(delay=5, from_user="5551212", transfer="n"),
    )
    assert (two.name, two.options) == ("me@local", Options(max_seconds=600))
    assert (three.name, three.options, three.position) == ("voicemail@prov", Options(), 57)
    assert second.failover is None


def test_the_dial_string_of_the_seed_is_read() -> None:
    uri, options = only("999142xxx@sip.tropo.com[fu=uniqueidxxx]")
    assert str(uri) == "sip:999142xxx@sip.tropo.com"
    assert options == Options(from_user="uniqueidxxx")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("prov", "sip:prov"),
        ("bob@example.com", "sip:bob@example.com"),
        ("any.thing.bob@local", "sip:any.thing.bob@local"),
        ("*97@prov", "sip:*97@prov"),
        ("#31#555@prov", "sip:%2331%23555@prov"),
        ("sip:bob:secret@192.0.2.1:5070", "sip:bob:secret@192.0.2.1:5070"),
        ("SIPS:bob@example.com", "sips:bob@example.com"),
        ("bob@[2001:db8::1]:5070[cd=5]", "sip:bob@[2001:db8::1]:5070"),
        ("<sip:bob@[2001:db8::1]>[cd=5]", "sip:bob@[2001:db8::1]"),
        ("b@x;transport=tcp;lr?X-A=1&X-B=b%20c", "sip:b@x;transport=tcp;lr?X-A=1&X-B=b%20c"),
        ("<sip:a&b@x;p=[1]&2?X-A=[1]|>", None),
        ("<sip:a&b@x;p=[1]&2?X-A=[1]>", "sip:a&b@x;p=[1]&2?X-A=[1]"),
        ("tel:+1-201-555-0123;phone-context=x", "tel:+1-201-555-0123;phone-context=x"),
        ("1;phone-context=+44@prov", "sip:1;phone-context=+44@prov"),
        ("a?b=c@d", "sip:a?b=c@d"),
    ],
)  # fmt: skip
def test_a_leg_leads_where_it_says(text: str, uri: str | None) -> None:
    if uri is None:
        assert fault(text)[1][0] == "|"
    else:
        assert str(only(text)[0]) == uri


@pytest.mark.parametrize(
    ("text", "legs"),
    [
        ("a@x?X-A=1&X-B=2&b@y", ["a@x?X-A=1&X-B=2", "b@y"]),
        ("a@x?X-A=1&prov[fd=q]", ["a@x?X-A=1", "prov"]),
        ("a@x?X-A=1 & X-B=2@y", ["a@x?X-A=1", "X-B=2@y"]),
        ("a@x[fd=A & B | C]&b@y", ["a@x", "b@y"]),
        ('a@x[fd="A ] & , B"]&b@y', ["a@x", "b@y"]),
        ("<a&b@x>&c@y", ["<a&b@x>", "c@y"]),
    ],
)
def test_separators_inside_of_something_do_not_separate(text: str, legs: list[str]) -> None:
    assert [leg.name for leg in parse(text).legs] == legs


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("[]", Options()),
        ("[ DT = 0 , rt=180 ]", Options(ring_seconds=180)),
        ("[rm=a,ma=true]", Options(redirect="a", mangle=True)),
        ("[RM=M,ma=FALSE]", Options(redirect="m", mangle=False)),
        ("[fd=Bob Doe,fu=b.d+1,fh=x.example]",
         Options(from_name="Bob Doe", from_user="b.d+1", from_host="x.example")),
        ('[fd="Müller, \\"B\\"",fu="1,2",fh=[::1]]',
         Options(from_name='Müller, "B"', from_user="1,2", from_host="[::1]")),
        ('[fd=""]', Options(from_name="")),
        ("[fu=#1&2;x=/?$%41]", Options(from_user="%231&2;x=/?$%41")),
        *((f"[tr={letter}]", Options(transfer=letter)) for letter in "npocdba"),
    ],
)  # fmt: skip
def test_options_are_read(text: str, options: Options) -> None:
    assert only(f"a@p{text}")[1] == options
    assert only(f"a@p {text} ")[1] == options


@pytest.mark.parametrize(
    ("text", "message", "rest"),
    [
        ("", "a leg is expected", ""),
        ("  ", "a leg is expected", ""),
        ("a@p |", "a leg is expected", ""),
        ("a@p && b", "a leg is expected", "& b"),
        ("[dt=1]", "a leg is expected", "[dt=1]"),
        ("a@p b@q", "'b' can't stand here", "b@q"),
        ("a@", "a host or provider is expected", ""),
        ("a@b@c", "'@' can't stand here", "@c"),
        ("http://x", "':' can't stand here", "://x"),
        ('"A" <sip:a@b>', "is given by the option fd", '"A" <sip:a@b>'),
        ("<sip:a@b", "this < is not closed", "<sip:a@b"),
        ("ä@p", "'ä' can't stand here", "ä@p"),
        ("a@p:0", "a port is a number", "0"),
        ("tel:x", "a telephone number is expected", "x"),
        ("a@p;method=BYE", "always an INVITE", "method=BYE"),
        ("a@p?Via=x", "header Via is set by the switch", "Via=x"),
        ("a@p?f=x", "header f (from) is set by the switch", "f=x"),
        ("a@p?X-A=1&record-route=x", "header record-route is set", "record-route=x"),
        ("a@p?X-A=%0D%0AX-B:1", "line break", "X-A=%0D%0AX-B:1"),
        ("a@p?body=x", "a body can't be given", "body=x"),
        ("a@p\r\nX: y", "character U+000D", "\r\nX: y"),
        ("a@p[fd=\x00]", "character U+0000", "\x00]"),
        ("a@p\u2028", "character U+2028", "\u2028"),
        ("${dst}", "'$' can't stand here", "${dst}"),
        ("a@${dst}", "${...} may stand in a user part", "${dst}"),
        ("${nothing}@p", "there is no ${nothing}", "${nothing}@p"),
        ("${dst:3}@p", "there is no ${dst:3}", "${dst:3}@p"),
        ("a@p[fd=x ${no} y]", "there is no ${no}", "${no} y]"),
        ("a@p[dt=5", "this bracket is not closed", "[dt=5"),
        ("a@p[dt=1][cd=2]", "one pair of brackets", "[cd=2]"),
        ("a@p[dt=1;cd=2]", "a whole number of seconds", "1;cd=2]"),
        ("a@p[dt=1,]", None, None),
        ("a@p[,]", "an option is expected", ",]"),
        ("a@p[dt]", "= is expected", "]"),
        ("a@p[dt=]", "a value is expected", "]"),
        ("a@p[dt=1,DT=2]", "dt was given before", "DT=2]"),
        ("a@p[dt=121]", "from 0 to 120", "121]"),
        ("a@p[dt=-1]", "from 0 to 120", "-1]"),
        ("a@p[dt=1.5]", "from 0 to 120", "1.5]"),
        ("a@p[dt=٣]", "from 0 to 120", "٣]"),
        ("a@p[cd=0]", "from 1 to", "0]"),
        ("a@p[rt=0]", "from 1 to 180", "0]"),
        ("a@p[rcd=5]", "there is no option 'rcd'", "rcd=5]"),
        ("a@p[cid=5]", "options are dt, rt, cd, rm, ma, fd, fu, fh, tr", "cid=5]"),
        ("a@p[rm=r]", "rm=r is not offered", "r]"),
        ("a@p[rm=n]", "rm=n is not offered", "n]"),
        ("a@p[rm=x]", "a or m is expected", "x]"),
        ("a@p[ma=yes]", "true or false", "yes]"),
        ("a@p[tr=x]", "n (refused)", "x]"),
        ("a@p[fu=a@b]", "fh is the host", "@b]"),
        ("a@p[fu=a b]", "write %20", " b]"),
        ("a@p[fu=ä]", "write %C3%A4", "ä]"),
        ('a@p[fu=""]', "a user part is expected", '"]'),
        ("a@p[fd=x y=z", "this bracket is not closed", "[fd=x y=z"),
        ("a@p[fh=[::1]x]", "here a comma or ]", "x]"),
        ("a@p?" + "&".join(f"X-{n}=1" for n in range(21)), "20 headers at most", "X-20=1"),
        ("a@p[fh=a b]", "a host name or address", "a b]"),
        ('a@p[fd="x]', "this quote is not closed", '"x]'),
        ("a@p[fd=" + "x" * 129 + "]", "128 characters at most", "x]"),
        ("a@p |{} b", "here a status", "} b"),
        ("a@p |{busi} b", "here a status", "busi} b"),
        ("a@p |{busy b", "here a comma or }", "b"),
        ("a@p |{busy", "this { is not closed", "{busy"),
        ("x" * (MAX_LENGTH + 1), f"{MAX_LENGTH} characters at most", "x"),
        ("&".join("a" * (MAX_LEGS + 1)), f"{MAX_LEGS} legs at most", "a"),
        ("|".join("a" * (MAX_LEGS + 1)), f"{MAX_LEGS} legs at most", "a"),
    ],
)
def test_faults_point_at_the_character(text: str, message: str | None, rest: str | None) -> None:
    if message is None:
        assert parse(text)
        return
    said, from_caret = fault(text)
    assert message in said
    if rest is not None:
        assert from_caret == rest


def test_a_fault_shows_the_text_with_a_caret() -> None:
    with pytest.raises(DialStringError) as caught:
        parse("1234@p[xx=5]")
    assert str(caught.value).splitlines()[1:] == ["  1234@p[xx=5]", "         ^"]


def test_a_fault_of_a_long_text_shows_the_part_around_it() -> None:
    with pytest.raises(DialStringError) as caught:
        parse("a@p[dt=5]&" * 15 + "b@p[xx=5]\n")
    _, shown, caret = str(caught.value).splitlines()
    assert len(shown) < 80
    assert shown.endswith("[xx=5]?")
    assert shown[caret.index("^")] == "?"


def test_as_many_legs_as_there_may_be() -> None:
    assert len(parse("&".join("a" * MAX_LEGS)).legs) == MAX_LEGS


def test_the_bar_says_after_which_failures_it_goes_on() -> None:
    dial = parse("a@p |{Busy, -5xx} b@p | c@p")
    assert [attempt.failover for attempt in dial.attempts] == [
        None, Policy.parse("busy,-5xx"), None,
    ]  # fmt: skip
    assert str(dial) == "a@p |{busy,-5xx} b@p | c@p"


# -- substitutions -----------------------------------------------------------------------------

CALL = Values("00441234", "Ann", "ann", "example.com", "customer")
EVIL = Values(
    "1&premium@prov2|x@y[fu=z]?Via=1",
    'A" <sip:boss@bank.example>\r\nX-Evil: 1',
    'a;tag=1>\r\nVia: "x',
    "example.com",
    "customer",
)


def test_substitutions_are_filled_in_where_they_stand() -> None:
    text = (
        "${DST}@p & ${exten:2}@p;x=${username}?X-A=${fromaor}&X-B=1"
        "[fd=${FromName} at home,fu=${fromUriUser}]"
    )
    one, two = parse(text).filled(CALL).legs
    assert str(one.uri) == "sip:00441234@p"
    assert str(two.uri) == "sip:441234@p;x=customer?X-A=ann%40example.com&X-B=1"
    assert two.headers == (("X-A", "ann@example.com"), ("X-B", "1"))
    assert (two.options.from_name, two.options.from_user) == ("Ann at home", "ann")


def test_what_a_caller_sends_adds_nothing_to_a_dial_string() -> None:
    text = "${dst}@p;x=${dst}?X-A=${fromname}&X-B=1[fd=${fromname},fu=${fromuriuser}] | tel:${dst}"
    dial = parse(text).filled(EVIL)
    leg, phone = dial.legs
    assert len(dial.attempts) == 2
    assert leg.uri.unescaped_user == EVIL.dst
    assert leg.uri.host == "p"
    assert [name for name, _ in leg.headers] == ["X-A", "X-B"]
    assert all(value.isprintable() for _, value in leg.headers)
    assert leg.options.from_name == 'A" <sip:boss@bank.example>  X-Evil: 1'
    assert leg.options.from_user == "a%3Btag%3D1%3E%20%20Via%3A%20%22x"
    assert unescape(phone.uri.opaque) == EVIL.dst


@pytest.mark.parametrize("text", ["${exten:8}@p", "tel:${exten:8}", "a@p[fu=${exten:8}]"])
def test_a_substitution_of_which_nothing_is_left_is_a_fault(text: str) -> None:
    with pytest.raises(DialStringError, match="nothing is left"):
        parse(text).filled(CALL)


# -- the form of Asterisk ----------------------------------------------------------------------


def test_the_form_of_asterisk_names_credentials_and_from() -> None:
    text = 'user,se(c)ret!,${EXTEN:1}@sip.prov.example,"Me, too" <sip:${fromuriuser}@x>,,true'
    (leg,) = parse(text, asterisk_form=True).legs
    assert leg.login is not None
    assert (leg.login.username, leg.login.password) == ("user", "se(c)ret!")
    assert leg.login.from_text == '"Me, too" <sip:${fromuriuser}@x>'
    assert leg.name == "${EXTEN:1}@sip.prov.example"


def test_passwords_are_not_shown() -> None:
    dial = parse("user,secret,1@sip.prov.example", asterisk_form=True)
    assert "secret" not in repr(dial)
    assert str(dial) == "user,***,1@sip.prov.example"
    with pytest.raises(DialStringError) as caught:
        parse("user,secret,${no}@sip.prov.example", asterisk_form=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message", "rest"),
    [
        ("user,secret,", "a leg is expected", ""),
        ("user,,1@x.example", "user name and password", "user,,1@x.example"),
        ("user,secret,1@x y", "'y' can't stand here", "y"),
        ("user,secret,1@x,nobody nowhere", "an address is expected", "nobody nowhere"),
        ("user,secret,1@x,,udp:192.0.2.1:5060", "a socket to send from", "udp:192.0.2.1:5060"),
        ("a,b@p", "',' can't", None),
    ],
)
def test_faults_of_the_form_of_asterisk(text: str, message: str, rest: str | None) -> None:
    if rest is None:
        assert parse(text, asterisk_form=True).legs[0].login is None
        return
    said, from_caret = fault(text, asterisk_form=True)
    assert message in said
    assert from_caret == rest


def test_credentials_with_options_are_refused_and_not_sent_as_a_user_part() -> None:
    said, from_caret = fault("user,s3cret,1@sip.prov.example[dt=1,rt=5]", asterisk_form=True)
    assert (said, from_caret[:4]) == ("a leg with credentials has no options", "[dt=")


def test_only_a_line_dialplan_knows_the_form_of_asterisk() -> None:
    assert parse("user,secret,1@p").legs[0].uri.user == "user,secret,1"
    assert parse("a@p[fd=x,fu=y,dt=1]", asterisk_form=True).legs[0].login is None


# -- what others wrote -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("sip:a@b.example", "sip:a@b.example"),
        ("sip:a@b.example;transport=tcp", "sip:a@b.example;transport=tcp"),
        ("sip:a&0900123@b.example", "<sip:a&0900123@b.example>"),
        ("sip:a@b.example;x=1&0900123@prov", ""),
        ("sip:a@b.example|c@d.example", ""),
        ("sip:a@b.example[fu=boss]", ""),
        ("a> & <sip:0900@prov", ""),
        ("", ""),
    ],
)
def test_a_uri_from_outside_rings_nobody_else(uri: str, text: str) -> None:
    assert one_leg(uri) == text


# -- whatever comes ----------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["a@p", "prov", "sip:", "tel:", "<", ">", "[", "]", "dt=5", "fd=", "fu=", "fh=", '"', "\\", "&",
     "|", "{busy}", "{", ";", "?X-A=", "=", ",", "${dst}", "${exten:2}", "${", "}", ":", "@", "%41",
     "%", "[::1]", " ", "ä", "\r\n", "#", "rm=a", "ma=true", "tr=n", "1", "user,pass,1@x.example"]
)  # fmt: skip
TEXTS = st.text(max_size=60) | st.lists(PIECES, max_size=14).map("".join)


@given(TEXTS, st.booleans())
def test_parsing_ends_in_a_dial_string_or_its_fault(text: str, asterisk_form: bool) -> None:
    found: DialString | DialStringError
    try:
        found = parse(text, asterisk_form)
    except DialStringError as error:
        found = error
    assert str(found)
    if isinstance(found, DialStringError):
        assert 0 <= found.position <= len(text)
    else:
        assert found.legs


WORDS = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=8)
DISPLAYS = st.text(max_size=12).filter(str.isprintable)
OPTIONS = st.builds(
    Options,
    delay=st.integers(0, 120),
    ring_seconds=st.integers(0, 180),
    max_seconds=st.integers(0, 9999),
    redirect=st.sampled_from(["", "a", "m"]),
    mangle=st.none() | st.booleans(),
    from_name=st.none() | DISPLAYS,
    from_user=st.none() | WORDS | st.just("a,b") | st.just("${exten:1}"),
    from_host=st.none() | WORDS,
    transfer=st.sampled_from(["", *"npocdb"]),
)


@st.composite
def dial_strings(draw: st.DrawFn) -> str:
    """Ones that make sense."""
    legs = draw(st.lists(leg_texts(), min_size=1, max_size=6))
    text = legs[0]
    for leg in legs[1:]:
        text += (
            draw(st.sampled_from(["&", " & ", "|", " | ", "|{busy,-404}", " |{ none,5xx }"])) + leg
        )
    return text


@st.composite
def leg_texts(draw: st.DrawFn) -> str:
    scheme = draw(st.sampled_from(["", "sip:", "sips:"]))
    user = draw(st.sampled_from(["", "a@", "1+2;x=y@", "#3@", "u:p@", "${dst}@", "%41@"]))
    rest = draw(st.sampled_from(["", ":5070", ";lr;a=b", "?X-A=1&X-B=", ";a=b?X-A=${fromname}"]))
    place = f"{scheme}{user}{draw(WORDS)}{rest}"
    return draw(st.sampled_from([place, f"<{place}>", "tel:+1-5;x=y"])) + str(draw(OPTIONS))


@given(dial_strings())
@example("a@p|{all}b@p")
def test_a_dial_string_written_anew_says_the_same(text: str) -> None:
    dial = parse(text)
    again = parse(str(dial))
    assert again == dial
    assert str(again) == str(dial)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_filled_in_leaves_its_place_alone(dst: str, name: str, user: str) -> None:
    template = parse("${dst}@p;x=${dst}?X-A=${fromname}[fd=${fromname},fu=x${fromuriuser}]|b@q")
    try:
        dial = template.filled(Values(dst, name, user, "h", "c"))
    except DialStringError:
        assert not dst
        return
    assert isinstance(dial, DialString)
    leg, other = dial.legs
    assert (leg.uri.host, other.name, [n for n, _ in leg.headers]) == ("p", "b@q", ["X-A"])
    assert all(value.isprintable() for _, value in leg.headers)
    assert parse(str(dial)) == dial


def test_what_is_filled_in_for_one_call_is_not_there_in_the_next() -> None:
    for number in ("1234", "5678"):
        string = parse("${exten}@provider & bob").filled(Values(dst=number))
        assert [str(leg.uri) for leg in string.legs] == [f"sip:{number}@provider", "sip:bob"]


def test_a_dial_string_without_substitutions_is_the_same_for_all_calls() -> None:
    string = parse("bob@local | carol")
    assert string.filled(Values(dst="1234")) is string is parse("bob@local | carol")
