"""What Ruby dialplans call by the names of the original (and by those of the Python ones), done by
`Sys`. Names are compared without case, `_` and `?`, as .NET and Ruby spell them differently:
`IsAvailable?`, `is_available` and `IsAvailable` are one."""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Final

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


class NoSuchName(Exception):
    """`sys` has nothing of this name."""


# -- the call --------------------------------------------------------------------------------------


async def _dial(sys: Sys, data: object, ring: object = 0, limit: object = 0) -> object:
    """An error is a result here, as it was, and is told in the log."""
    try:
        seconds = min(max(_number(ring), 0), sysapi.MAX_RING_SECONDS)
        longest = min(max(int(_number(limit)), 0), sysapi.MAX_CALL_SECONDS)
        status = await sys.dial(_text(data), seconds, longest)
    except DialplanError as error:
        await sys.log(f"Dial: {error}")
        status = DialStatus.ERROR
    return {"dialled": _STATUSES[DialStatus(status)]}


async def _respond(sys: Sys, code: object, reason: object = "", headers: object = None) -> None:
    given: dict[str, str] = {}
    for one in _text(headers).split("|"):
        if one.strip():
            name, colon, value = one.partition(":")
            if not colon:
                raise DialplanError(f"{one!r} is no header: it has no colon")
            given[name.strip()] = value.strip()
    await sys.respond(int(_number(code)), _text(reason), given or None)


async def _log(sys: Sys, message: object = "") -> None:
    await sys.log(_text(message))


async def _callback(sys: Sys, first: object, second: object, delay: object = 0) -> None:
    seconds = min(max(_number(delay), 0), sysapi.MAX_CALLBACK_DELAY)
    await sys.callback(_text(first), _text(second), seconds)


async def _google_voice_call(
    sys: Sys,
    email: object,
    password: object,
    number: object,
    destination: object,
    pattern: object = None,
    phone_type: object = None,
    seconds: object = 30,
) -> None:
    """Name, password and number are the provider's, where they are kept encrypted. What was given a
    wait out of bounds waited 30 s."""
    wait = int(_number(seconds))
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
    return ("" if start else "*") + inner + ("" if end else "*")


# -- what the next dials carry ---------------------------------------------------------------------


async def _set_from(
    sys: Sys, name: object = None, user: object = None, host: object = None
) -> None:
    await sys.set_from(
        *(None if part is None or part == "" else _text(part) for part in (name, user, host))
    )


async def _set_header(sys: Sys, name: object, value: object = None) -> None:
    header, content = _text(name), _text(value)
    if value is None:
        header, _, content = header.partition(":")
    await sys.set_header(header.strip(), content.strip())


async def _remove_header(sys: Sys, name: object) -> None:
    await sys.remove_header(_text(name).partition(":")[0].strip())


async def _print_headers(sys: Sys) -> None:
    for header in await sys.custom_headers():
        await sys.log(header)


async def _set_content(sys: Sys, first: object, second: object = None) -> None:
    if second is None:
        await sys.set_body(_text(first))
    else:
        await sys.set_body(_text(second), _text(first))


# -- accounts, the world outside, the store --------------------------------------------------------


async def _is_available(sys: Sys, user: object = "", domain: object = "") -> bool:
    return await sys.is_available(_text(user), _text(domain))


async def _account_exists(sys: Sys, user: object, domain: object = "") -> bool:
    return await sys.account_exists(_text(user), _text(domain))


async def _bindings(sys: Sys, user: object = "", domain: object = "") -> object:
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


async def _is_mine(sys: Sys, user: object, domain: object = "") -> bool:
    return await sys.is_mine(_text(user), _text(domain))


async def _canonical_domain(sys: Sys, domain: object) -> str | None:
    try:
        return await sys.canonical_domain(_text(domain)) or None
    except DialplanError:
        return None


async def _enum(sys: Sys, name: object) -> str | None:
    number, _, zone = _text(name).partition(".")
    return await sys.enum(number, zone or "e164.arpa") or None


async def _web_get(sys: Sys, url: object, seconds: object = 10) -> str | None:
    """The page, nil if there is none; why is told in the log."""
    wait = min(max(_number(seconds), 0.1), MAX_WEB_SECONDS)
    answer = await sys.web_get(_text(url), wait)
    if 200 <= answer.status <= 299:
        return answer.body
    await sys.log(f"WebGet: {answer.problem or f'the server answered {answer.status}'}")
    return None


async def _email(sys: Sys, to: object, subject: object, body: object) -> None:
    await sys.email(_text(to), _text(subject), _text(body))


async def _write(sys: Sys, key: object, value: object, *others: object) -> None:
    _only_own_store(others)
    await sys.write(_text(key), _text(value))


async def _read(sys: Sys, key: object, *others: object) -> str | None:
    _only_own_store(others)
    return await sys.read(_text(key))


async def _delete(sys: Sys, key: object, *others: object) -> bool:
    _only_own_store(others)
    return await sys.delete(_text(key))


def _only_own_store(others: Sequence[object]) -> None:
    if others:
        raise DialplanError(
            "databases of one's own are not offered, only the store of keys and values"
        )


async def _count_calls(sys: Sys) -> int:
    return len(await sys.current_calls())


async def _sleep(sys: Sys, seconds: object = 60) -> int:
    wait = min(max(_number(seconds), 0), 600)
    await sys.world.sleep(wait)
    return round(wait)


# -- what is known ---------------------------------------------------------------------------------


async def _nothing(sys: Sys, *_: object) -> None:
    """Once needed, now without effect: ExtendScriptTimeout, Trace."""


async def _false(sys: Sys) -> bool:
    return False


async def _last_dialled(sys: Sys) -> object:
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


def _known(get: Callable[[Sys], object]) -> Action:
    async def read(sys: Sys) -> object:
        return get(sys)

    return read


def _gone(name: str, why: str) -> Action:
    async def refuse(sys: Sys, *_: object) -> None:
        raise DialplanError(f"sys.{name} is not offered: {why}")

    return refuse


def _offset_minutes(sys: Sys) -> int:
    offset = sys.local_now().utcoffset() or datetime.timedelta()
    return int(offset.total_seconds() // 60)


ORIGINAL: Final[dict[str, Action]] = {
    "Log": _log,
    "Dial": _dial,
    "GoogleVoiceCall": _google_voice_call,
    "Respond": _respond,
    "Out": _known(lambda sys: sys.is_out),
    "In": _known(lambda sys: sys.is_in),
    "Username": _known(lambda sys: sys.username),
    "WebGet": _web_get,
    "SetFromHeader": _set_from,
    "LastDialled": _last_dialled,
    "ExtendScriptTimeout": _nothing,
    "ENUMLookup": _enum,
    "IsAvailable": _is_available,
    "Callback": _callback,
    "DoesSIPAccountExist": _account_exists,
    "GetBindings": _bindings,
    "IsMine": _is_mine,
    "GetCanonicalDomain": _canonical_domain,
    "ClearFromHeader": lambda sys: sys.clear_from(),
    "SetCustomSIPHeader": _set_header,
    "RemoveCustomSIPHeader": _remove_header,
    "ClearCustomSIPHeaders": lambda sys: sys.clear_headers(),
    "PrintCustomSIPHeaders": _print_headers,
    "SetCustomContent": _set_content,
    "ClearCustomBody": lambda sys: sys.clear_body(),
    "Email": _email,
    "DBWrite": _write,
    "DBRead": _read,
    "DBDelete": _delete,
    "DBGetKeys": lambda sys: sys.keys(),
    "GetCurrentCallCount": _count_calls,
    "GetCurrentCalls": lambda sys: sys.current_calls(),
    "LastFailureReason": _known(lambda sys: sys.last_reason),
    "LastFailureMessage": _known(lambda sys: sys.last_reason),
    "LastFailureStatus": _known(lambda sys: sys.last_status),
    "DialPlanName": _known(lambda sys: sys.dialplan_name),
    "FromSIPAccount": _known(lambda sys: sys.account),
    "GetTimezone": _known(lambda sys: sys.timezone),
    "GetTimezoneOffsetMinutes": _known(_offset_minutes),
    "Trace": _nothing,
    "Redirect": _false,
    "sleep": _sleep,
    "GTalk": _gone("GTalk", "Google closed its service"),
    "GoogleVoiceSMS": _gone("GoogleVoiceSMS", "Google closed its service"),
    "Switchboard": _gone("Switchboard", "see docs/api.md for live calls and transfers"),
    "DBExecuteNonQuery": _gone("DBExecuteNonQuery", "only the store of keys and values is"),
    "DBExecuteScalar": _gone("DBExecuteScalar", "only the store of keys and values is"),
    "SendRequest": _gone("SendRequest", "a dialplan places calls only"),
}
"""The most used first (ORIGINAL §3)."""


def fold(name: str) -> str:
    """A name as it is compared."""
    return name.replace("_", "").rstrip("?=").lower()


_ACTIONS: Final = {fold(name): action for name, action in ORIGINAL.items()}
_METHODS: Final = {fold(name): name for name in sysapi.METHODS}
_ATTRIBUTES: Final = {fold(name): name for name in sysapi.ATTRIBUTES}
_WAITING: Final = {fold(name) for name in sysapi.WAITING} | {"dial", "googlevoicecall"}

NAMES: Final = sorted({*_ACTIONS, *_METHODS, *_ATTRIBUTES})
"""All that `sys` answers to, folded."""


def waits(name: str) -> bool:
    """Whether the time that it takes is not the script's."""
    return fold(name) in _WAITING


async def call(sys: Sys, name: str, args: Sequence[object], named: dict[str, object]) -> object:
    """Do what a script asks. Raises NoSuchName, DialplanError, world.Ended."""
    key = fold(name)
    if key in _ACTIONS:
        return plain(await _applied(_ACTIONS[key], name, [sys, *args], named))
    if key in _METHODS:
        return plain(await _applied(getattr(sys, _METHODS[key]), name, args, named))
    if key in _ATTRIBUTES:
        return plain(getattr(sys, _ATTRIBUTES[key]))
    raise NoSuchName(f"sys has no {name}")


async def _applied(
    action: Action, name: str, args: Sequence[object], named: dict[str, object]
) -> object:
    try:
        inspect.signature(action).bind(*args, **named)
    except TypeError as error:
        raise DialplanError(f"sys.{name}: {error}") from None
    return await action(*args, **named)


def plain(value: object) -> Any:
    """A result in a form that can travel."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value


def _text(value: object) -> str:
    if isinstance(value, dict | list):
        raise DialplanError("a text is wanted, not a list")
    return "" if value is None else str(value)


def _number(value: object) -> float:
    """A number, or a text that is one."""
    if value is None:
        return 0
    try:
        return float(value) if isinstance(value, int | float | str) else float("nan")
    except (ValueError, OverflowError):
        raise DialplanError(f"a number is wanted, not {str(value)[:40]!r}") from None
