"""One call that waits for a callback, and all of them by the users that it may be addressed to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from services.appserver.domain.callbacks import (
    Callback,
    Failed,
    Matched,
    caller_of,
    tails,
)
from services.appserver.handlers.calls.calls import SERVER_STOPPED
from tandem.bus.hints import Hint, pattern_matches, rank
from tandem.sip.message import Request

if TYPE_CHECKING:
    from services.appserver.handlers.callbacks import Callbacks
    from tandem.sip.deadlines import Deadline

CALLER_GONE: Final = "caller gone"
STOPPED: Final = "stopped"
TIMEOUT: Final = "timeout"
MATCHED: Final = "matched"
"""Why a hint is withdrawn."""


class Wait:
    """One call that waits: what `ports.Waiter` tells it goes to `Callbacks`."""

    def __init__(self, callbacks: Callbacks, wanted: Callback) -> None:
        self._callbacks = callbacks
        self.wanted = wanted
        self.call_id = ""
        self.owners: tuple[str, ...] = ()
        self.hint: Hint | None = None
        self.since = 0.0
        """When the callback was asked for, of the steady clock."""
        self.silent: tuple[str, ...] = ()
        self.acknowledged_ms = 0.0
        self.withdraw_as = ""
        """Why we end it ourselves."""
        self.matched_by: Matched | None = None
        """Set while the callback is being joined."""
        self.sip_call_id = ""
        self.limit: Deadline | None = None
        self.caller_ready = asyncio.Event()
        self.over = asyncio.Event()
        self.outcome: Matched | Failed | None = None

    def ready(self, now: float) -> None:
        """The phone that was rung has answered."""
        self.caller_ready.set()

    def matched(self, request: Request, now: float) -> None:
        """The callback came: nothing else is its from now on."""
        self.matched_by = Matched(str(request.from_.uri), max(0.0, now - self.since))
        self.sip_call_id = request.call_id
        self._callbacks.forget(self, MATCHED)

    def joined(self, now: float) -> None:
        """Caller and callback are connected."""
        assert self.matched_by is not None
        self._callbacks.succeeded(self, self.matched_by)
        self.end(self.matched_by)

    def gone(self, reason: str, now: float) -> None:
        """The call ended before that."""
        stopped = STOPPED if reason == SERVER_STOPPED else CALLER_GONE
        self._callbacks.forget(self, self.withdraw_as or stopped)
        self._callbacks.failed(self, reason)
        self.end(Failed(reason))

    def end(self, outcome: Matched | Failed) -> None:
        """This is what came of it."""
        self.outcome = outcome
        self.caller_ready.set()
        self.over.set()


class Waits:
    """The waits whose hints are out. `users` is empty nearly always, which is all that an
    ordinary call has to ask."""

    def __init__(self) -> None:
        self.users: dict[str, list[Wait]] = {}
        """By user part, lower case."""

    def add(self, wait: Wait) -> None:
        """From now on a call may be its."""
        for user in _users(wait):
            self.users.setdefault(user, []).append(wait)

    def remove(self, wait: Wait) -> None:
        """No call is its any more."""
        for user in _users(wait):
            row = self.users.get(user, [])
            if wait in row:
                row.remove(wait)
                if not row:
                    del self.users[user]

    def expected(
        self, request: Request, user: str, host: str, owner: str | None, *, inside: bool
    ) -> Wait | None:
        """The wait that this INVITE is the callback of. `user` and `host` are those of its
        Request-URI, `owner` the customer whom the user part belongs to, None for no account.
        `inside`: an account of ours calls, who is a callback only where a pattern says so, else
        colleagues could not call each other while somebody waits."""
        rows = [row for name in tails(user) if (row := self.users.get(name))]
        if not rows or "replaces" in request.index:
            return None
        caller = caller_of(request)
        fit = {
            rank(wait.hint): wait
            for row in rows
            for wait in row
            if wait.hint is not None
            and (owner is None or owner == wait.wanted.customer)
            and (not wait.hint.domains or host.lower() in wait.hint.domains)
            and (wait.hint.pattern or not inside)
            and pattern_matches(wait.hint.pattern, caller)
        }
        return fit[min(fit)] if fit else None


def _users(wait: Wait) -> Iterable[str]:
    return wait.hint.users if wait.hint is not None else ()
