"""A redirection that is followed: its contacts become legs of the same fork."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from services.appserver.domain.best_response import Failure
from services.appserver.domain.plan import NextHop, Target
from services.appserver.domain.redirects import handed_on
from services.appserver.handlers.calls.board import Board
from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri

if TYPE_CHECKING:
    from services.appserver.handlers.calls.attempt import Attempt
    from services.appserver.handlers.calls.branch import Branch


class Following:
    """The contacts of one 3xx while it is looked up where they lead to."""

    __slots__ = ("_attempt", "_branch", "_breadth", "_failure", "_left", "_rung")

    def __init__(self, attempt: Attempt, branch: Branch, failure: Failure) -> None:
        self._attempt = attempt
        self._branch = branch
        self._failure = failure
        self._left = 0
        self._rung = False

    def start(
        self, board: Board, uris: Sequence[str], breadth: int, proxy: str, now: float
    ) -> None:
        """Look them up. They share the breadth that the leg had (RFC 5393 §5.3.3)."""
        self._left = len(uris)
        self._breadth = max(1, breadth // len(uris))
        for uri in uris:
            try:
                place = Uri.parse(uri)
            except BadMessage:  # the branch must not be looked for for ever
                self._found(uri, (), now)
            else:
                board.places(place, proxy, now, partial(self._found, uri))

    def _found(self, uri: str, hops: tuple[NextHop, ...], now: float) -> None:
        self._left -= 1
        if self._attempt.over:
            return
        target = Target(uri, hops, "", handed_on(self._branch.target, hops))
        self._rung = (bool(hops) and self._attempt.add(target, self._breadth, now)) or self._rung
        if not self._left:
            self._attempt.followed(self._branch, None if self._rung else self._failure, now)
