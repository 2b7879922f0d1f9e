"""REFER inside a call, by the mode `tr` of the leg that was called.

n: 603    p: it passes to the other end (relay.py)    c, b, a, o, d: the switch does it
                                                      a caller from outside: 403, but with a
Refer-To names somebody             ─► he is rung, and takes the referrer's place (transfer.py)
Refer-To replaces a call of ours    ─► the far ends of both calls are joined (dual.py)
Refer-To replaces another's call    ─► he is rung with that Replaces
"""

from __future__ import annotations

from typing import Final

from services.appserver.domain.call import CallState
from services.appserver.domain.plan import SELF, Transfer
from services.appserver.domain.refer import (
    NotReferable,
    Wish,
    order,
    referred_by,
    served,
    unasked,
)
from services.appserver.domain.transfers import ATTENDED, REFERRED, Refusal, Refused
from services.appserver.handlers.calls import records
from services.appserver.handlers.calls.board import Board
from services.appserver.handlers.calls.dual import open_dual
from services.appserver.handlers.calls.goers import check, check_apart, speaker
from services.appserver.handlers.calls.live import Party
from services.appserver.handlers.calls.notifier import Notifier
from services.appserver.handlers.calls.transfer import open_transfer
from services.appserver.ports import Referral
from tandem.sip.errors import BadMessage
from tandem.sip.transaction import ServerTransaction

NOT_ALLOWED: Final = "Transfers are not allowed"
NO_STRANGERS: Final = "Transfers are for accounts of this switch"
STATUS: Final = {Refusal.OVERLOADED: 503, Refusal.TOO_MANY_CALLS: 480}
"""What a REFER that is refused so is answered; else 491."""
UNDERSTOOD: Final = frozenset({"norefersub", "replaces", "timer", "100rel"})
"""Option tags that a REFER may Require of us: not those that want other subscriptions than one, or
none at all without our word (`multiple-refer`, `explicitsub`, `nosub`)."""


def taken(board: Board, party: Party, tx: ServerTransaction, now: float) -> bool:
    """Whether this REFER is ours to answer."""
    # while it rings the call knows nobody who was called, each early dialog does
    called = party.call.b or (party if party.leg.number else party.other)
    mode = called.leg.transfer if called is not None else Transfer.PASS
    if mode is Transfer.PASS:
        return False
    if unknown := tx.request.tokens("require") - UNDERSTOOD:
        lines = (f"Unsupported: {', '.join(sorted(unknown))}",)
        board.layer.reply(tx, 420, now, headers=lines)
        return True
    try:
        if not served(mode, by_caller=party.leg.number == 0) or board.refer is None:
            raise NotReferable(603, NOT_ALLOWED)
        if unasked(mode, _account(board, party), by_caller=party.leg.number == 0):
            raise NotReferable(403, NO_STRANGERS)
        wish = Wish.parse(tx.request)
        check(board, party)
        replaced = _replaced(board, party, wish)
    except (NotReferable, BadMessage) as why:
        _refuse(board, party, tx, why.status, why.reason, now)
    except Refused as why:
        _refuse(board, party, tx, STATUS.get(why.refusal, 491), why.detail, now)
    else:
        _serve(board, party, tx, wish, replaced, now)
    return True


def _account(board: Board, party: Party) -> str:
    """Who refers, "" for a stranger. A leg that came back to ourselves is an account's, but its
    dialplan may have called a stranger."""
    who = speaker(board, party)
    return who.leg.account if who is not None else ""


def _refuse(
    board: Board, party: Party, tx: ServerTransaction, status: int, reason: str, now: float
) -> None:
    board.layer.reply(tx, status, now, reason)
    records.transfer_refused(board, party.call.value, order(tx.request), status, reason)


def _replaced(board: Board, party: Party, wish: Wish) -> Party | None:
    """The referrer's end of the call that is to be replaced, None if it is none of ours. Raises
    Refused, NotReferable."""
    named = wish.replaces
    other = board.party(named.to_tag, named.from_tag) if named is not None else None
    if named is None or other is None or other.leg.dialog.call_id != named.call_id:
        return None
    mine, theirs = party.call, other.call
    if theirs is mine or theirs.value.state is not CallState.UP:
        raise NotReferable(481, "The call to be replaced is not answered")
    if not set(mine.value.owners) & set(theirs.value.owners):
        raise NotReferable(403, "The call to be replaced is not yours")
    if named.early_only:  # it was answered meanwhile (RFC 3891 §3)
        raise NotReferable(486, "The call to be replaced is answered")
    check(board, other)
    check_apart(board, party, other)
    return other


def _serve(
    board: Board,
    party: Party,
    tx: ServerTransaction,
    wish: Wish,
    replaced: Party | None,
    now: float,
) -> None:
    request = tx.request
    party.leg.dialog.refresh_target(request)
    party.refers += 1
    quiet = ("Refer-Sub: false",) if wish.quiet else ()
    board.layer.reply(tx, 202, now, headers=(board.contact, *quiet))
    notifier = None
    if not wish.quiet:
        # "a NOTIFY ... for the second REFER and on MUST include the id" (RFC 3515 §2.4.6)
        event = "refer" if party.refers == 1 else f"refer;id={request.cseq.number}"
        notifier = Notifier(board, party, event)
        notifier.start(now)
    if replaced is not None:
        open_dual(board, party, replaced, now, order=ATTENDED, notifier=notifier)
        return
    _ring(board, party, tx, wish, notifier, now)


def _ring(
    board: Board,
    party: Party,
    tx: ServerTransaction,
    wish: Wish,
    notifier: Notifier | None,
    now: float,
) -> None:
    leg, stayer = party.leg, party.other
    assert stayer is not None
    assert board.refer is not None
    account = _account(board, party)
    lines = [f"Referred-By: {referred_by(tx.request, account, leg.dialog.remote)}"]
    if wish.replaces is not None:
        lines += [f"Replaces: {wish.replaces}", "Require: replaces"]
    side = open_transfer(
        board,
        party,
        str(wish.target),
        None,
        now,
        order=ATTENDED if wish.replaces is not None else REFERRED,
        notifier=notifier,
        lines=lines,
    )
    value, proxy = side.call.value, stayer.leg.proxy
    referral = Referral(
        call_id=value.id,
        owners=value.owners,
        account=account,
        target=wish.target,
        caller=stayer.leg.far_end,
        source=stayer.leg.text,
        proxy=proxy if proxy != SELF else "",
    )
    pilot = board.refer(referral)
    if pilot is None:
        side.finish(603, now, "transfers are not served")
    else:
        side.steered(pilot, now)
