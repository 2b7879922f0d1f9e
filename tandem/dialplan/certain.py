"""What in a Python dialplan is certain to fail when it is reached: arguments of `sys` that are
written out (`literals.py`), looked at by the very methods that they are for."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

from tandem.dialplan.dialstring import DialStringError, parse
from tandem.dialplan.failover import Policy
from tandem.dialplan.literals import Call, Given, calls
from tandem.dialplan.scene import incoming_call
from tandem.dialplan.script import Dialplan, Language, Problem
from tandem.dialplan.sysapi import Sys
from tandem.dialplan.world import DialplanError

_SAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "dial": {"destination": "a@local"},
    "respond": {"status": 302},
    "callback": {"first": "a@local", "second": "a@local"},
    "provider_callback": {"provider": "a", "destination": "1"},
    "wait_for_callback": {},
    "wait_for_signal": {"key": "a"},
    "is_available": {},
    "account_exists": {"user": "a"},
    "bindings": {},
    "is_mine": {"user": "a"},
    "canonical_domain": {"domain": "a"},
    "set_from": {},
    "set_header": {"name": "X-A", "value": ""},
    "remove_header": {"name": "X-A"},
    "set_body": {"body": "a"},
    "enum": {"number": "1"},
    "web_get": {"url": "https://a.example"},
    "web_post": {"url": "https://a.example"},
    "read": {"key": "a"},
    "write": {"key": "a", "value": ""},
    "delete": {"key": "a"},
    "e164": {"number": "1"},
}
"""What is right in place of the arguments that are not known; `respond` may have all headers with
302. Methods of which it depends on the call whether they fail are left out."""

_AS: Final = {"transfer": "dial"}
"""Methods that take the same."""

_DIALS: Final = {"dial": ("destination",), "callback": ("first", "second")}
"""Arguments that are dial strings."""

_OPTIONS: Final = re.compile(r"""\[[A-Za-z]+=[^\[\]{}"'\\]*\]""")
"""Options of a leg, whole and without anything that is filled in."""

_PARAMETERS: Final = {
    name: list(inspect.signature(getattr(Sys, name)).parameters)[1:] for name in _SAMPLES
}


class _Reached(Exception):
    """A method found nothing wrong, and turned to the world."""


class _NoWorld:
    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def reached(*_: object, **__: object) -> NoReturn:
            raise _Reached

        return reached


def faults(source: str) -> Iterator[Problem]:
    """All of them, each at its place."""
    for call in calls(source):
        yield from _of(call)


def _of(call: Call) -> list[Problem]:
    method = _AS.get(call.method, call.method)
    if method not in _SAMPLES:
        return []
    names = _PARAMETERS[method]
    given = {n: g for n, g in zip(names, call.positional, strict=False) if g is not None}
    given |= {name: one for name, one in call.named.items() if name in names}
    found = [
        Problem(said, one.line, one.column)
        for name, one in given.items()
        if (said := _refused(method, {name: one.value}))
    ]
    if not found:
        said = _refused(method, {name: one.value for name, one in given.items()})
        found += [Problem(said, call.line, call.column)] if said else []
    if not found:
        found += _texts(method, given)
    dials = _DIALS.get(method, ())
    places = {*dials, *map(names.index, dials)}
    for place, piece in call.formatted:
        if place in places:
            found += _options(piece)
    return found


def _refused(method: str, arguments: Mapping[str, Any]) -> str:
    """What the method says of these; "" for nothing."""
    call = incoming_call("a@local", "1", customer="a")
    plan = Dialplan(
        id="", owner="a", name="a", version=1, language=Language.PYTHON, source="", timezone="UTC"
    )
    world: Any = _NoWorld()
    work = getattr(Sys(world, call, plan), method)(**{**_SAMPLES[method], **arguments})
    try:
        work.send(None)
    except DialplanError as error:
        return str(error)
    except (_Reached, StopIteration):
        return ""
    finally:
        work.close()
    return ""


def _texts(method: str, given: Mapping[str, Given]) -> list[Problem]:
    """What is read only when it is used."""
    found = []
    reads: list[tuple[str, str, Callable[[str], object]]] = [
        (name, "the dial string", parse) for name in _DIALS.get(method, ())
    ]
    if method == "dial":
        reads.append(("failover", "failover", Policy.parse))
    for name, what, read in reads:
        if name in given:
            found += _read(given[name], what, read)
    return found


def _read(one: Given, what: str, read: Callable[[str], object]) -> list[Problem]:
    try:
        read(one.value)
    except DialStringError as error:
        column = one.column + (error.position if one.exact else 0)
        return [Problem(f"in {what}: {error.message}", one.line, column)]
    return []


def _options(one: Given) -> list[Problem]:
    """Options that stand in an f-string, whatever the leg before them will be."""
    found = []
    for match in _OPTIONS.finditer(one.value):
        leg = "a@local"
        try:
            parse(leg + match.group())
        except DialStringError as error:
            # one of several lines is told by where it begins
            at = match.start() + error.position - len(leg) if "\n" not in one.value else 0
            found.append(Problem(f"in the dial string: {error.message}", one.line, one.column + at))
    return found
