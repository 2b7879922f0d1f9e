"""Which legs may leave their calls."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.call import CallState
from services.appserver.domain.legs import LegRef
from services.appserver.domain.plan import SELF
from services.appserver.domain.transfers import Refusal, Refused
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.live import Party

FULL: Final = "this node has as many calls as it takes"
TOO_MANY: Final = "as many calls of the customer are under way as may be"
MAX_CHAIN: Final = 100
"""Calls that two ends may talk by, one behind the other: each time that it came back to ourselves,
and each transfer of such an end, adds one."""


def goer(board: Board, leg: LegRef) -> Party:
    """The party of this leg. Raises Refused if it can't be transferred just now."""
    call = board.calls.get(leg.call_id)
    found = [each for each in call.parties if each.leg.number == leg.number] if call else []
    if not found:
        raise Refused(Refusal.NO_LEG, "there is no such leg that is answered")
    check(board, found[0])
    return found[0]


def check(board: Board, party: Party) -> None:
    """Raises Refused if this party can't be transferred just now."""
    value = party.call.value
    if value.state is not CallState.UP or value.answered_at is None or party.other is None:
        raise Refused(Refusal.NOT_NOW, "the call is not answered yet")
    if party.call.transfer is not None:
        raise Refused(Refusal.NOT_NOW, "the call is being transferred already")
    if len(board.calls) >= board.limits.max_calls:
        raise Refused(Refusal.OVERLOADED, FULL)
    if board.crowded(value):
        raise Refused(Refusal.TOO_MANY_CALLS, TOO_MANY)


def speaker(board: Board, party: Party | None) -> Party | None:
    """Who speaks in this dialog: the party itself, or where its call came back to ourselves whoever
    is behind the calls on that way. None: nobody any more."""
    for _ in range(MAX_CHAIN):
        if party is None or party.leg.proxy != SELF:
            return party
        dialog = party.leg.dialog  # of which we have the other end, too
        twin = board.party(dialog.remote_tag, dialog.local_tag)
        party = twin.other if twin is not None else None
    return None


def check_apart(board: Board, first: Party, second: Party) -> None:
    """Raises Refused if these two talk to each other, by way of ourselves: were their far ends
    joined, a call of nobody's would be left, which nobody ever ends."""
    if speaker(board, first.other) is speaker(board, second):
        raise Refused(Refusal.NOT_NOW, "the two are the ends of one call")
