"""What crosses between a script and the switch, in Monty's terms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import pydantic_monty as monty

from tandem.dialplan.sysapi import ATTRIBUTES, CONSTANT, METHODS, REQUEST, Sys, method
from tandem.dialplan.world import DialplanError

SYS_ID: Final = UUID("7c1d0f6e-0f0e-4b5e-9d0c-5a2f3c1e0001")
REQ_ID: Final = UUID("7c1d0f6e-0f0e-4b5e-9d0c-5a2f3c1e0002")
"""Fixed, so that a stored script finds its objects again."""

MAX_PARTS: Final = 10_000
"""Of a value that is handed over; every value that makes sense has fewer."""
TOO_HEAVY: Final = 1_000_000_000

_SIGNATURES: Final = {name: inspect.signature(getattr(Sys, name)) for name in METHODS}


@lru_cache(maxsize=1_000)
def _check_fits(name: str, count: int, keywords: tuple[str, ...]) -> None:
    """Raises TypeError if `sys.name` can't be called with so many values and these keywords. That
    is not remembered, for such keywords may be of any length."""
    _SIGNATURES[name].bind(None, *[None] * count, **dict.fromkeys(keywords))


class _Inside:
    """What `sys` and `req` look like from inside: some attributes, which cross at once. All else is
    asked for."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.__dict__ = facts


_INSIDE: Final = monty.ClassType(_Inside)


class _Whole(monty.ClassInstance):
    """All attributes of an `_Inside` cross."""

    def get_eager_attrs(self) -> dict[str, Any]:
        """As they are: they were cleaned."""
        facts: dict[str, Any] = vars(self.value)
        return facts


def inputs(sys: Sys) -> dict[str, Any]:
    """The globals of a script."""
    switch = {name: _clean(getattr(sys, name)) for name in CONSTANT}
    request = {name: _clean(getattr(sys.req, name)) for name in REQUEST}
    return {
        "sys": _Whole(_Inside(switch), id=SYS_ID, class_type=_INSIDE),
        "req": _Whole(_Inside(request), id=REQ_ID, class_type=_INSIDE),
    }


def _clean(value: Any) -> Any:
    """Without halves of characters, which no text may hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_clean(name): _clean(content) for name, content in value.items()}
    return tuple(map(_clean, value)) if isinstance(value, tuple) else value


def outward(value: Any) -> Any:
    """A result as the script gets it."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list | tuple):
        return [outward(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return monty.ClassInstance(value, eager_attrs="all")
    return value


async def called(sys: Sys, call: monty.FunctionSnapshot) -> monty.ExternalResult:
    """What `sys.name(...)` gives: a value, or an exception that the script may catch. Raises what
    ends the script, `world.Ended`."""
    name = str(call.function_name)
    if call.object_id != SYS_ID:
        return _raised("NameError" if call.object_id is None else "AttributeError", _unknown(name))
    try:
        function = method(sys, name)
    except AttributeError as error:
        return _raised("AttributeError", str(error))
    args, kwargs = call.args, call.kwargs
    try:
        _check_fits(name, len(args), tuple(kwargs))
    except TypeError as error:
        return _raised("TypeError", f"sys.{name}: {error}")
    try:
        return {"return_value": outward(await function(*args, **kwargs))}
    except DialplanError as error:
        return _raised("ValueError", str(error))


def weight(*found: object) -> int:
    """About how many characters these have. A value may hold another many times over, or itself:
    what has too many parts to look at weighs too much."""
    total, left = 0, list(found)
    for _ in range(MAX_PARTS):
        if not left:
            return total
        value = left.pop()
        if isinstance(value, str | bytes):
            total += len(value)
        elif isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            total += len(value)
            left += value
        if len(left) > MAX_PARTS:
            break
    return TOO_HEAVY


def looked_up(sys: Sys, lookup: monty.NameLookupSnapshot) -> dict[str, Any]:
    """What `sys.name` is, as the keyword of `resume`; nothing if there is no such name."""
    name = lookup.variable_name
    if lookup.object_id != SYS_ID or name not in ATTRIBUTES:
        return {}
    return {"value": outward(getattr(sys, name))}


async def asked_of_system(sys: Sys, call: monty.FunctionSnapshot) -> monty.ExternalResult | None:
    """What Python's own modules ask for: the time and sleep; None for files, environment and all
    else, which is refused."""
    match call.function_name:
        case "datetime.now":
            zone = call.args[0] if call.args else None
            local = sys.local_now()
            return {"return_value": local.astimezone(zone) if zone else local.replace(tzinfo=None)}
        case "date.today":
            return {"return_value": sys.local_now().date()}
        case "time.time":
            return {"return_value": sys.world.now()}
        case "time.sleep" | "asyncio.sleep":
            await sys.world.sleep(sleep_seconds(call))
            return {"return_value": None}
        case _:
            return None


def sleep_seconds(call: monty.FunctionSnapshot) -> float:
    """How long a script wants to sleep; 0 for anything but a sleep."""
    if not call.is_os_function or call.function_name not in ("time.sleep", "asyncio.sleep"):
        return 0.0
    seconds = call.args[0] if call.args else 0.0
    return max(0.0, float(seconds)) if isinstance(seconds, int | float) else 0.0


def _raised(kind: Any, text: str) -> monty.ExternalExceptionData:
    return {"exc_type": kind, "message": text}


def _unknown(name: str) -> str:
    return f"name {name!r} is not defined"
