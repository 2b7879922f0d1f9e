"""Session timers: RFC 4028. The ends negotiate; we learn what they agreed on and watch it."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.sip.errors import BadMessage
from tandem.sip.message import Message, Response


@dataclass(frozen=True, slots=True)
class Session:
    """What a 2xx said."""

    seconds: int
    """The session interval: without a refresh the session is over after it."""
    refresher: int
    """The leg that refreshes: 0 the caller's, 1 the callee's."""


def asked_interval(message: Message) -> int | None:
    """The Session-Expires of a request in seconds, None without; raises BadMessage."""
    return message.number("session-expires")


def agreed(response: Response, *, asked_by_caller: bool) -> Session | None:
    """The timer that a 2xx to an INVITE or UPDATE sets up, None when there is none (§7.2, §9)."""
    try:
        seconds = response.number("session-expires")
    except BadMessage:
        return None  # the ends understand it or not: nothing that we could watch
    if not seconds:
        return None
    text = (response.first("session-expires") or "").lower().replace(" ", "")
    # "uac" is the end that sent this request, whoever made the dialog
    by_uac = "refresher=uas" not in text
    return Session(seconds, 0 if by_uac == asked_by_caller else 1)
