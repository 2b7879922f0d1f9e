"""The names that Ruby dialplans know `sys` by: the original's, and those of the Python ones. Names
are compared without case, `_` and `?`, as .NET and Ruby spell them differently: `IsAvailable?`,
`is_available` and `IsAvailable` are one."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any, Final

from tandem.dialplan import ruby_actions as actions
from tandem.dialplan import sysapi
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError


class NoSuchName(Exception):
    """`sys` has nothing of this name."""


ORIGINAL: Final[dict[str, actions.Action]] = {
    "Log": actions.log,
    "Dial": actions.dial,
    "Transfer": actions.transfer,
    "GoogleVoiceCall": actions.google_voice_call,
    "Respond": actions.respond,
    "Out": actions.known(lambda sys: sys.is_out),
    "In": actions.known(lambda sys: sys.is_in),
    "Username": actions.known(lambda sys: sys.username),
    "WebGet": actions.web_get,
    "SetFromHeader": actions.set_from,
    "LastDialled": actions.last_dialled,
    "ExtendScriptTimeout": actions.nothing,
    "ENUMLookup": actions.enum,
    "IsAvailable": actions.is_available,
    "Callback": actions.callback,
    "DoesSIPAccountExist": actions.account_exists,
    "GetBindings": actions.bindings,
    "IsMine": actions.is_mine,
    "GetCanonicalDomain": actions.canonical_domain,
    "ClearFromHeader": lambda sys: sys.clear_from(),
    "SetCustomSIPHeader": actions.set_header,
    "RemoveCustomSIPHeader": actions.remove_header,
    "ClearCustomSIPHeaders": lambda sys: sys.clear_headers(),
    "PrintCustomSIPHeaders": actions.print_headers,
    "SetCustomContent": actions.set_content,
    "ClearCustomBody": lambda sys: sys.clear_body(),
    "Email": actions.email,
    "DBWrite": actions.write,
    "DBRead": actions.read,
    "DBDelete": actions.delete,
    "DBGetKeys": lambda sys: sys.keys(),
    "GetCurrentCallCount": actions.count_calls,
    "GetCurrentCalls": lambda sys: sys.current_calls(),
    "LastFailureReason": actions.known(lambda sys: sys.last_reason),
    "LastFailureMessage": actions.known(lambda sys: sys.last_reason),
    "LastFailureStatus": actions.known(lambda sys: sys.last_status),
    "DialPlanName": actions.known(lambda sys: sys.dialplan_name),
    "FromSIPAccount": actions.known(lambda sys: sys.account),
    "GetTimezone": actions.known(lambda sys: sys.timezone),
    "GetTimezoneOffsetMinutes": actions.known(actions.offset_minutes),
    "Trace": actions.nothing,
    "Redirect": actions.never,
    "sleep": actions.sleep,
    "GTalk": actions.gone("GTalk", "Google closed its service"),
    "GoogleVoiceSMS": actions.gone("GoogleVoiceSMS", "Google closed its service"),
    "Switchboard": actions.gone("Switchboard", "see docs/api.md for live calls and transfers"),
    "DBExecuteNonQuery": actions.gone("DBExecuteNonQuery", "only the store of keys and values is"),
    "DBExecuteScalar": actions.gone("DBExecuteScalar", "only the store of keys and values is"),
    "SendRequest": actions.gone("SendRequest", "a dialplan places calls only"),
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


def sleeps(name: str) -> bool:
    """Whether it only lets time go by."""
    return fold(name) == "sleep"


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
    action: actions.Action, name: str, args: Sequence[object], named: dict[str, object]
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
