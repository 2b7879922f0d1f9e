"""One try at a registrar: a proxy of ours, the hops of RFC 3263 one after the other, challenges
answered, a longer interval taken where the registrar asks for one; until there is an outcome.

start ─► look-up ─► REGISTER by the first hop ─► 401, 407: once more with credentials
                          ▲    │                 423: once more for Min-Expires
                          └────┴─ 430, 503, 408, silence: the next hop
                                                 any other final answer: the outcome
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.appserver.domain.plan import BAD_WAY, NEXT_HOP_ON, NextHop
from services.appserver.domain.registrations.message import (
    Session,
    granted,
    min_expires,
    register,
    retry_after,
)
from services.appserver.domain.registrations.schedule import End, Outcome
from services.appserver.handlers.registrations.means import Means
from tandem.sip.build import clean, reason_phrase
from tandem.sip.digest_client import CHALLENGED
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, Hop

MAX_HOPS: Final = 4
"""Addresses that one attempt tries: each silent one takes 32 s, and the next attempt begins with
those that did better."""
MAX_ROUNDS: Final = 6
"""REGISTERs that are sent by one hop: a challenge of a proxy and of the registrar, each perhaps
with a nonce that was stale, and a longer interval."""
MAX_REASON: Final = 120
"""Characters of a registrar's words that are kept."""

Done = Callable[[Outcome, float], None]


class Attempt:
    """The context of its client transactions."""

    def __init__(self, means: Means, session: Session, expires: int, done: Done) -> None:
        self._means = means
        self._session = session
        self._expires = expires
        self._done: Done | None = done
        self._hops: tuple[NextHop, ...] = ()
        self._at = 0
        self._rounds = 0
        self._tx: ClientTransaction | None = None
        self._raised = False

    def start(self, key: str, now: float) -> None:
        """Begin. The proxy is the same for the same key, while it is there."""
        self._means.under_way += 1
        proxies = self._means.tools.proxies.others("", now, key)
        if not proxies:
            self._end(Outcome(End.NO_PROXY, reason="No proxy of the switch is there"), now)
            return
        self._means.ways.next_hops(self._session.settings.way, proxies[0], now, self._found)

    def abandon(self) -> None:
        """Send nothing more, and tell nobody what comes of it."""
        if self._done is not None:
            self._done = None
            self._over()

    def _found(self, hops: tuple[NextHop, ...], now: float) -> None:
        if self._done is None:
            return
        if not hops:
            way = self._session.settings.way
            reason = self._means.ways.objection(way) or f"{way.host} cannot be resolved"
            self._end(Outcome(End.NOWHERE, reason=reason), now)
            return
        self._hops = hops[:MAX_HOPS]
        self._send_anew(now)

    def _send_anew(self, now: float) -> None:
        self._rounds = 0
        agent = self._means.tools.config.server_name
        hop, session = self._hops[self._at], self._session
        self._means.traces.begin(session.call_id, session.settings.owner, hop.text)
        self._send(register(session, self._expires, hop.route, agent), now)

    def _send(self, request: Request, now: float) -> None:
        hop = self._hops[self._at]
        self._rounds += 1
        self._means.counters.sent += 1
        way = Hop(hop.proxy, self._means.link_reliable and hop.reliable)
        self._tx = self._means.layer.request(request, way, now, self)

    # -- answers -------------------------------------------------------------------------------

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        """A REGISTER of ours was answered."""
        if self._done is None or tx is not self._tx:
            return
        self._means.ways.judge(self._hops[self._at], response.status not in BAD_WAY, now)
        if response.status < 200:
            return
        if response.status < 300:
            self._succeeded(response, now)
        elif response.status in CHALLENGED:
            self._challenged(tx.request, response, now)
        elif response.status == 423 and self._lengthened(response):
            self._send_anew(now)
        elif response.status in NEXT_HOP_ON and self._at + 1 < len(self._hops):
            self._next_hop(now)
        else:
            self._end(_refused(response), now)

    def on_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        """It was not: 408."""
        if self._done is None or tx is not self._tx:
            return
        hop = self._hops[self._at]
        if self._means.tools.proxies.away(hop.proxy, now):
            self._end(Outcome(End.NO_PROXY, reason="The proxy that it went by is gone"), now)
            return
        self._means.ways.judge(hop, False, now)
        if self._at + 1 < len(self._hops):
            self._next_hop(now)
        else:
            self._end(Outcome(End.SILENT, status, f"{hop.text} does not answer"), now)

    def _next_hop(self, now: float) -> None:
        self._at += 1
        self._send_anew(now)

    def _succeeded(self, response: Response, now: float) -> None:
        if not self._expires:
            self._end(Outcome(End.DONE, response.status), now)
            return
        seconds = granted(response, self._session.contact, self._expires)
        if seconds > 0:
            self._end(Outcome(End.DONE, response.status, seconds=seconds), now)
        else:
            reason = "The registrar took it for 0 seconds"
            self._end(Outcome(End.REFUSED, response.status, reason), now)

    def _challenged(self, request: Request, response: Response, now: float) -> None:
        session = self._session
        again = session.digest.again(request, response) if self._rounds < MAX_ROUNDS else None
        if again is None:
            reason = f"{_words(response)}: user name, password or realm are not the provider's"
            self._end(Outcome(End.CREDENTIALS, response.status, reason), now)
            return
        session.seq = again.cseq.number
        self._send(again, now)

    def _lengthened(self, response: Response) -> bool:
        """Ask for what a 423 wants, once."""
        wanted = min_expires(response)
        if self._raised or not self._expires or wanted is None or wanted <= self._expires:
            return False
        self._raised = True
        self._expires = self._session.expires = wanted
        return True

    def _end(self, outcome: Outcome, now: float) -> None:
        done, self._done = self._done, None
        assert done is not None
        self._over()
        done(outcome, now)

    def _over(self) -> None:
        self._means.under_way -= 1
        self._means.traces.end(self._session.call_id)


def _refused(response: Response) -> Outcome:
    return Outcome(
        End.REFUSED, response.status, _words(response), retry_after=retry_after(response)
    )


def _words(response: Response) -> str:
    """Its status and reason, as far as they can be shown."""
    said = clean(response.reason)[:MAX_REASON] or reason_phrase(response.status)
    shown = "".join(c if c.isprintable() else "?" for c in said)
    return f"{response.status} {shown}"
