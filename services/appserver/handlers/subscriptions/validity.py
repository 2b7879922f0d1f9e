"""Whether a subscription may go on: its two accounts are there, may be used, belong together."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.routing import NO_SUCH_USER, Refusal, objection
from services.appserver.handlers.accounts import Miss
from services.appserver.handlers.subscriptions.delivery import Subscriber
from services.appserver.handlers.tools import Tools
from tandem.rpc.directory import Account

NOT_YOURS: Final = Refusal(403, "Not an account of your customer")


def lapsed(tools: Tools, subscriber: Subscriber, now: float) -> Refusal | None:
    """Why it may not, None if it may. An account that is not at hand is asked for, and judged the
    next time; while nobody can be asked, all stays as it is."""
    for aor in (subscriber.watcher, subscriber.account):
        username, _, domain = aor.rpartition("@")
        found = tools.accounts.get(username, domain, now)
        if found is None:
            return NO_SUCH_USER
        if found is Miss.UNKNOWN:
            tools.accounts.wait(username, domain, _nothing)
        if isinstance(found, Account):
            refusal = objection(found)
            if refusal is not None or found.owner != subscriber.owner:
                return refusal or NOT_YOURS
    return None


def _nothing() -> None:
    """The answer is read the next time."""
