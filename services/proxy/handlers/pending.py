"""Requests that came over a connection and that no appserver has answered yet.

A client on UDP sends its request again until an answer comes, and so a datagram lost on the link,
or an appserver that died, costs it half a second. A client on TCP, TLS or WebSocket relies on us:
its requests are sent again here, with the timers of RFC 3261 §17.1 (an INVITE until any response,
others until the final one), to another appserver when theirs is gone, and answered when nobody
does: 503 while there is no appserver, 408 after 32 s.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.peer import Peer
from services.proxy.domain.unanswered import T1, Key, Unanswered, request_key, response_key
from services.proxy.domain.verdict import Answer, Drop, ToAppserver
from tandem.siptransport.link import Link

T2: Final = 4.0
"""Seconds: the longest interval of a request that is no INVITE (§17.1.2.2)."""
GIVE_UP: Final = 64 * T1
"""Timers B and F."""
MAX_PENDING: Final = 10_000
"""Requests kept at a time, some 3 kB each; what is beyond is sent once (`refused`)."""
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all requests kept, as they came and as they went: they may have 64 kB each."""
TURN: Final = 0.1
"""Seconds between two looks at the clock while something is pending."""
TIMEOUT: Final = Answer(408)

Route = Callable[[bytes, Peer], ToAppserver | Answer | Drop]


class Pending:
    """Keeps them. `later` is the loop's call_later; `route` decides anew where a request goes,
    `answer` answers it."""

    def __init__(
        self,
        appservers: Appservers,
        link: Link,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.route: Route = lambda data, peer: Drop("nobody")
        self.answer: Callable[[bytes, Answer, Peer], None] = lambda data, verdict, peer: None
        self.retransmitted = 0
        self.rerouted = 0
        self.timed_out = 0
        self.refused = 0
        self._appservers = appservers
        self._link = link
        self._clock = clock
        self._later = later
        self._ticking = False
        self._count = 0
        self._bytes = 0
        self._number = 0
        self._due: list[tuple[float, int, Unanswered]] = []
        appservers.listeners.append(self._changed)

    def __len__(self) -> int:
        return self._count

    def sent(self, data: bytes, peer: Peer, out: bytes, appserver: str) -> None:
        """A request of a connection was sent; `data` is it as it came, `out` as it went."""
        waiting = peer.waiting
        key = request_key(data)
        if waiting is None or key is None or key in waiting:
            return
        size = 2 * len(data)
        if self._count >= MAX_PENDING or self._bytes + size > MAX_BYTES:
            self.refused += 1
            return
        now = self._clock()
        request = waiting[key] = Unanswered(key, data, peer, out, appserver, now + GIVE_UP)
        self._count += 1
        self._bytes += size
        self._wait(request, now)

    def responded(self, waiting: dict[Key, Unanswered], data: bytes) -> None:
        """A response goes to a connection; `waiting` is what is pending on it."""
        key = response_key(data)
        request = waiting.get(key) if key is not None else None
        if request is None:
            return
        if data[8:9] == b"1" and not request.invite:
            request.interval = T2  # §17.1.2.2: it is being worked on
        else:
            self._end(request)

    def closed(self, waiting: dict[Key, Unanswered]) -> None:
        """A connection is gone: there is nobody to answer."""
        for request in list(waiting.values()):
            self._end(request)

    def _end(self, request: Unanswered) -> None:
        if request.done:
            return
        request.done = True
        self._count -= 1
        self._bytes -= 2 * len(request.data)
        if request.peer.waiting is not None:
            request.peer.waiting.pop(request.key, None)

    def _wait(self, request: Unanswered, now: float) -> None:
        self._number += 1
        due = min(now + request.interval, request.deadline)
        heapq.heappush(self._due, (due, self._number, request))
        if not self._ticking:
            self._ticking = True
            self._later(TURN, self._tick)

    def _tick(self) -> None:
        now, due = self._clock(), self._due
        while due and (due[0][0] <= now or due[0][2].done):
            request = heapq.heappop(due)[2]
            if not request.done:
                self._overdue(request, now)
        self._ticking = bool(due)
        if due:
            self._later(TURN, self._tick)

    def _overdue(self, request: Unanswered, now: float) -> None:
        if now >= request.deadline:
            self.timed_out += 1
            self._give_up(request, TIMEOUT)
            return
        self.retransmitted += 1
        self._link.send(request.out, request.appserver)
        request.interval *= 2
        if not request.invite:
            request.interval = min(request.interval, T2)
        self._wait(request, now)

    def _changed(self) -> None:
        """Appservers came or went: what was under way to one that is gone goes to another."""
        alive = self._appservers.alive
        gone = [r for _, _, r in self._due if not r.done and r.appserver not in alive]
        for request in gone:
            self._reroute(request)

    def _reroute(self, request: Unanswered) -> None:
        verdict = self.route(request.data, request.peer)
        if isinstance(verdict, ToAppserver):
            self.rerouted += 1
            request.out, request.appserver = verdict.data, verdict.appserver
            self._link.send(verdict.data, verdict.appserver)
        elif isinstance(verdict, Answer):
            self._give_up(request, verdict)
        else:
            self._end(request)

    def _give_up(self, request: Unanswered, verdict: Answer) -> None:
        """Our own answer passes `responded` like any other, which ends it; one that can't be
        written must end too."""
        self.answer(request.data, verdict, request.peer)
        self._end(request)
