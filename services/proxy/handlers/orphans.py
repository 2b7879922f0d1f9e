"""INVITEs whose appserver died while it worked on them.

Who has its 100 Trying sends its INVITE no more, and would hear it ring until he gives up. So every
INVITE of the last minutes that went to an appserver which is gone is answered 503, unless it comes
again meanwhile: then another appserver has it. Which of them had their final answer, a proxy
without state can't tell; those clients know the transaction no more, and drop what comes for it
(RFC 3261 §17.1.1.2). One that said good-bye has answered all of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.dispatch import Dispatch, Sent
from services.proxy.domain.peer import Peer
from services.proxy.domain.verdict import Answer

PATIENCE: Final = 5.0
"""Seconds from the loss until the answer: a client that has no 100 sends again before that. It
waits 4 s at most between two tries while our probes find out (§17.1.1.2)."""
AGAIN: Final = 2.0
"""Seconds until the answer is sent once more, for datagrams get lost."""
AT_A_TIME: Final = 100
"""Answers in one turn of the loop, some 10 ms of work: what comes meanwhile must not wait."""
PAUSE: Final = 0.02
"""Seconds between two such turns."""
LOST: Final = Answer(503, "Server lost", ("Retry-After: 1",))


class Orphans:
    """Finds them when appservers go. `later` is the loop's call_later, `answer` answers one;
    `has_stopped` says of an appserver that is gone whether it went in good order."""

    def __init__(
        self,
        appservers: Appservers,
        has_stopped: Callable[[str], bool],
        dispatch: Dispatch,
        answer: Callable[[bytes, Answer, Peer], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.answered = 0
        """INVITEs that were answered for a lost appserver."""
        self._appservers = appservers
        self._has_stopped = has_stopped
        self._dispatch = dispatch
        self._answer = answer
        self._later = later
        self._alive = appservers.alive
        appservers.listeners.append(self._changed)

    def _changed(self) -> None:
        before, self._alive = self._alive, self._appservers.alive
        gone = frozenset(name for name in before - self._alive if not self._has_stopped(name))
        if gone:
            self._later(PATIENCE, lambda: self._settle(gone))

    def _settle(self, gone: frozenset[str]) -> None:
        """Answer those that did not come again."""
        gone -= self._appservers.alive  # it was silent for a while only
        latest: dict[bytes, Sent] = {}
        for sent in self._dispatch.recent():
            latest[sent[0]] = sent
        lost = [sent for sent in latest.values() if sent[1] in gone and sent[2]]
        self.answered += len(lost)
        self._tell(lost)
        self._later(AGAIN, lambda: self._tell(lost))

    def _tell(self, lost: list[Sent], start: int = 0) -> None:
        end = start + AT_A_TIME
        for _, _, data, peer in lost[start:end]:
            self._answer(data, LOST, peer)
        if end < len(lost):
            self._later(PAUSE, lambda: self._tell(lost, end))
