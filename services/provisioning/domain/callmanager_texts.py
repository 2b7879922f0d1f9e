"""The answers of /callmanager.svc, word for word as the original gave them where it gave any: there
are programs that look for them (ORIGINAL §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.provisioning.domain.callmanager import (
    CALLBACK_DIALPLAN,
    TRANSFER_DIALPLAN,
    CallRefused,
    Method,
    Refusal,
)

SUCCESS: Final[Mapping[Method, str]] = {
    Method.WEB_CALLBACK: "Web call was successfully initiated.",
    Method.BLIND_TRANSFER: "Blind transfer was successfully initiated.",
    Method.DUAL_TRANSFER: "",
}
_CALLED: Final = {
    Method.WEB_CALLBACK: "web callback",
    Method.BLIND_TRANSFER: "blind transfer",
    Method.DUAL_TRANSFER: "dual transfer",
}
_DIALPLAN: Final = {
    Method.WEB_CALLBACK: CALLBACK_DIALPLAN,
    Method.BLIND_TRANSFER: TRANSFER_DIALPLAN,
    Method.DUAL_TRANSFER: TRANSFER_DIALPLAN,
}


def blank(method: Method, what: str) -> str:
    """A parameter is missing."""
    return f"A {what} must be specified when initiating a {_CALLED[method]}, {_not(method)}."


def unexpected(method: Method) -> str:
    """Nobody knows why."""
    return f"Sorry there was an unexpected error, {_not(method)}."


def refused(method: Method, fault: CallRefused) -> str:
    """Why it was not begun."""
    name = _CALLED[method]
    match fault.refusal:
        case Refusal.NO_CUSTOMER:
            return f"Sorry no matching user was found, the {_DIALPLAN[method]} was not initiated."
        case Refusal.SUSPENDED:
            return "Sorry the user's account is suspended."
        case Refusal.NO_LEG:
            return (
                f"Sorry the {name} could not be initiated, "
                "the Call-ID to transfer could not be found."
            )
        case Refusal.NO_DIALPLAN if method is Method.WEB_CALLBACK:
            return (
                "Sorry the specified user has not enabled callbacks, "
                "the callback was not initiated."
            )
        case Refusal.NO_DIALPLAN:
            return (
                "Sorry the specified user has not enabled transfers, "
                "the transfer was not initiated."
            )
        case Refusal.TOO_MANY_RUNS:
            noun = _noun(method)
            return (
                f"Sorry the {noun} was not initiated, dial plan execution exceeded maximum allowed"
            )
        case _:
            return f"Sorry {_not(method)}: {fault.detail}"


def _not(method: Method) -> str:
    return f"the {_noun(method)} was not initiated"


def _noun(method: Method) -> str:
    return "callback" if method is Method.WEB_CALLBACK else "transfer"
