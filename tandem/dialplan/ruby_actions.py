"""What Ruby dialplans call by the names of the original, done by `Sys`: with the arguments that
could be left out or out of bounds then, and with the results that scripts expect."""

from __future__ import annotations

import contextlib
import datetime
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tandem.dialplan import sysapi
from tandem.dialplan.outside import MAX_WEB_SECONDS
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError, DialStatus, LegResult

CALLBACK_PROVIDER: Final = "googlevoice"
"""Whose form GoogleVoiceCall uses, unless another is named in place of the e-mail address."""

_STATUSES: Final = {
    DialStatus.ANSWERED: "Answered",
    DialStatus.NO_ANSWER: "NoAnswer",
    DialStatus.FAILED: "Failed",
    DialStatus.ERROR: "Error",
}

_PATTERN_PART_RE: Final = re.compile(r"\.\*|\\d|\[0-9\]|\\[+.]|[\w+@.-]")
_PATTERN_PARTS: Final = {".*": "*", "\\d": "?", "[0-9]": "?", ".": "?"}

Action = Callable[..., Awaitable[object]]
Dialling = Callable[..., Awaitable[str]]


# -- the call --------------------------------------------------------------------------------------


async def dial(
    sys: Sys, data: object, ring: object = 0, limit: object = 0, stay: object = False
) -> object:
    """An error is a result here, as it was, and is told in the log. `stay: true` is new."""
    return await _dialled(sys, sys.dial, data, ring, limit, stay=bool(stay))


async def transfer(sys: Sys, data: object, ring: object = 0, limit: object = 0) -> object:
    """New, and like `dial`."""
    return await _dialled(sys, sys.transfer, data, ring, limit)


async def _dialled(
    sys: Sys, method: Dialling, data: object, ring: object, limit: object, **more: bool
) -> object:
    try:
        ringing = min(max(_number(ring), 0), sysapi.MAX_RING_SECONDS)
        longest = min(max(int(_number(limit)), 0), sysapi.MAX_CALL_SECONDS)
        status = await method(_text(data), ringing, longest, **more)
    except DialplanError as error:
        await sys.log(f"Dial: {error}")
        status = DialStatus.ERROR
    return {"dialled": _STATUSES[DialStatus(status)]}


async def respond(sys: Sys, code: object, reason: object = "", headers: object = None) -> None:
    given: dict[str, str] = {}
    for one in _text(headers).split("|"):
        if one.strip():
            name, colon, value = one.partition(":")
            if not colon:
                raise DialplanError(f"{one!r} is no header: it has no colon")
            given[name.strip()] = value.strip()
    await sys.respond(int(_number(code)), _text(reason), given or None)


async def log(sys: Sys, message: object = "") -> None:
    await sys.log(_text(message))


async def callback(sys: Sys, first: object, second: object, delay: object = 0) -> None:
    wait = min(max(_number(delay), 0), sysapi.MAX_CALLBACK_DELAY)
    await sys.callback(_text(first), _text(second), wait)


async def google_voice_call(
    sys: Sys,
    email: object,
    password: object,
    number: object,
    destination: object,
    pattern: object = None,
    phone_type: object = None,
    longest: object = 30,
) -> None:
    """Name, password and number are the provider's, where they are kept encrypted. What was given a
    wait out of bounds waited 30 s."""
    wait = int(_number(longest))
    wait = wait if 3 <= wait <= sysapi.MAX_CALLBACK_SECONDS else 30
    named = _text(email)
    provider = CALLBACK_PROVIDER if "@" in named or not named else named
    await sys.provider_callback(provider, _text(destination), glob(_text(pattern)), wait)


def glob(regex: str) -> str:
    """A caller's pattern as the switch takes it, of a regular expression of the simple kind that
    was used for numbers. Raises DialplanError for any other."""
    if not regex:
        return ""
    start, end = regex.startswith("^"), regex.endswith("$")
    parts = _PATTERN_PART_RE.findall(regex[start : len(regex) - end])
    if "".join(parts) != regex[start : len(regex) - end]:
        raise DialplanError(f"the caller's pattern {regex!r} is too involved; use * and ? alone")
    inner = "".join(_PATTERN_PARTS.get(part, part[-1]) for part in parts)
    return re.sub(r"\*+", "*", ("" if start else "*") + inner + ("" if end else "*"))


# -- what the next dials carry ---------------------------------------------------------------------


async def set_from(sys: Sys, name: object = None, user: object = None, host: object = None) -> None:
    await sys.set_from(*(_text(part) or None for part in (name, user, host)))


async def set_header(sys: Sys, name: object, value: object = None) -> None:
    header, content = _text(name), _text(value)
    if value is None:
        header, _, content = header.partition(":")
    await sys.set_header(header.strip(), content.strip())


async def remove_header(sys: Sys, name: object) -> None:
    await sys.remove_header(_text(name).partition(":")[0].strip())


async def print_headers(sys: Sys) -> None:
    for header in await sys.custom_headers():
        await sys.log(header)


async def set_content(sys: Sys, first: object, second: object = None) -> None:
    if second is None:
        await sys.set_body(_text(first))
    else:
        await sys.set_body(_text(second), _text(first))


# -- accounts, the world outside, the store --------------------------------------------------------


async def is_available(sys: Sys, user: object = "", domain: object = "") -> bool:
    return await sys.is_available(_text(user), _text(domain))


async def account_exists(sys: Sys, user: object, domain: object = "") -> bool:
    return await sys.account_exists(_text(user), _text(domain))


async def bindings(sys: Sys, user: object = "", domain: object = "") -> object:
    return [
        {
            "text": contact.uri,
            "ContactURI": contact.uri,
            "MangledContactURI": contact.received or contact.uri,
            "UserAgent": contact.user_agent,
            "Expiry": contact.expires,
        }
        for contact in await sys.bindings(_text(user), _text(domain))
    ]


async def is_mine(sys: Sys, user: object, domain: object = "") -> bool:
    return await sys.is_mine(_text(user), _text(domain))


async def canonical_domain(sys: Sys, domain: object) -> str | None:
    try:
        return await sys.canonical_domain(_text(domain)) or None
    except DialplanError:
        return None


async def enum(sys: Sys, name: object) -> str | None:
    number, _, zone = _text(name).partition(".")
    return await sys.enum(number, zone or "e164.arpa") or None


async def web_get(sys: Sys, url: object, longest: object = 10) -> str | None:
    """The page, nil if there is none; why is told in the log."""
    wait = min(max(_number(longest), 0.1), MAX_WEB_SECONDS)
    answer = await sys.web_get(_text(url), wait)
    if 200 <= answer.status <= 299:
        return answer.body
    await sys.log(f"WebGet: {answer.problem or f'the server answered {answer.status}'}")
    return None


async def email(sys: Sys, to: object, subject: object, body: object) -> None:
    await sys.email(_text(to), _text(subject), _text(body))


async def write(sys: Sys, key: object, value: object, *others: object) -> None:
    _only_own_store(others)
    await sys.write(_text(key), _text(value))


async def read(sys: Sys, key: object, *others: object) -> str | None:
    _only_own_store(others)
    return await sys.read(_text(key))


async def delete(sys: Sys, key: object, *others: object) -> bool:
    _only_own_store(others)
    return await sys.delete(_text(key))


def _only_own_store(others: Sequence[object]) -> None:
    if others:
        raise DialplanError("own databases are not offered, only the store of keys and values")


async def count_calls(sys: Sys) -> int:
    return len(await sys.current_calls())


async def sleep(sys: Sys, wanted: object = 0) -> int:
    wait = seconds([wanted])
    await sys.world.sleep(wait)
    return round(wait)


# -- what is known ---------------------------------------------------------------------------------


async def nothing(sys: Sys, *_: object) -> None:
    """Once needed, now without effect: ExtendScriptTimeout, Trace."""


async def never(sys: Sys) -> bool:
    return False


async def last_dialled(sys: Sys) -> object:
    return [_transaction(leg) for leg in sys.last_legs]


def _transaction(leg: LegResult) -> dict[str, object]:
    response = {
        "text": f"SIP/2.0 {leg.status} {leg.reason}",
        "StatusCode": leg.status,
        "Status": leg.status,
        "ReasonPhrase": leg.reason,
        "Contacts": list(leg.contacts),
    }
    return {
        "text": leg.uri or leg.target,
        "TransactionFinalResponse": response,
        "TransactionRequestURI": leg.uri,
        "Target": leg.target,
    }


def known(get: Callable[[Sys], object]) -> Action:
    async def read(sys: Sys) -> object:
        return get(sys)

    return read


def gone(name: str, why: str) -> Action:
    async def refuse(sys: Sys, *_: object) -> None:
        raise DialplanError(f"sys.{name} is not offered: {why}")

    return refuse


def offset_minutes(sys: Sys) -> int:
    offset = sys.local_now().utcoffset() or datetime.timedelta()
    return int(offset.total_seconds() // 60)


# -- arguments -------------------------------------------------------------------------------------


def seconds(args: Sequence[object]) -> float:
    """How long a script wants to sleep. Raises DialplanError."""
    wanted = _number(args[0]) if args else 0.0
    if wanted < 0:
        raise DialplanError("a time to sleep must be 0 or more")
    return wanted


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        raise DialplanError("a text is wanted, not a list")
    return "" if value is None else str(value)


def _number(value: object) -> float:
    """A number, or a text that is one."""
    if value is None:
        return 0
    number = math.nan
    if isinstance(value, int | float | str):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise DialplanError(f"a number is wanted, not {str(value)[:40]!r}")
    return number
