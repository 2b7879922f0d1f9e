"""MESSAGE and NOTIFY outside of a dialog: sent to all targets at once, the best answer back."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.appserver.domain.best_response import Failure, best, passed_status
from services.appserver.domain.headers import passed
from services.appserver.domain.plan import BAD_WAY, NEXT_HOP_ON, CallPlan, Target
from services.appserver.ports import Judge
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tandem.sip.transaction import Hop, ServerTransaction, TransactionLayer


@dataclass(slots=True, eq=False)
class Forwarded:
    """A request and what became of its copies."""

    tx: ServerTransaction
    pending: int
    failures: list[Failure] = field(default_factory=list)
    answered: bool = False


@dataclass(slots=True, eq=False)
class Copy:
    """One copy, the context of its client transaction."""

    of: Forwarded
    target: Target
    at: int = 0
    """Which of the target's hops it takes."""


class Forwarder:
    """Sends copies and gathers answers."""

    def __init__(
        self, layer: TransactionLayer, link_reliable: bool, judge: Judge, contact: str
    ) -> None:
        self._contact = contact
        self._layer = layer
        self._judge = judge
        self._link_reliable = link_reliable

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        """Send the request of `tx` to every target of the plan."""
        forwarded = Forwarded(tx, len(plan.targets))
        for target in plan.targets:
            self._send(Copy(forwarded, target), now)

    def _send(self, copy: Copy, now: float) -> None:
        hop = copy.target.hops[copy.at]
        request = _copy(copy.of.tx.request, copy.target.uri, hop.route)
        if request.method == "NOTIFY":  # "Contact" is mandatory (RFC 6665 §8.2), in MESSAGE banned
            request.lines.append(self._contact)
        way = Hop(hop.proxy, self._link_reliable and hop.reliable)
        self._layer.request(request, way, now, copy)

    def on_response(self, copy: Copy, response: Response, now: float) -> None:
        """A copy was answered."""
        self._judge(copy.target.hops[copy.at], response.status not in BAD_WAY, now)
        if response.status < 200:
            return
        if response.status < 300:
            self._answer(copy.of, response, response.status, now)
            copy.of.answered = True
        else:
            self._failed(copy, Failure(response.status, response), now)

    def on_failure(self, copy: Copy, status: int, now: float) -> None:
        """A copy got no answer."""
        self._judge(copy.target.hops[copy.at], False, now)
        self._failed(copy, Failure(status, None), now)

    def _failed(self, copy: Copy, failure: Failure, now: float) -> None:
        if failure.status in NEXT_HOP_ON and copy.at + 1 < len(copy.target.hops):
            copy.at += 1
            self._send(copy, now)
            return
        forwarded = copy.of
        forwarded.failures.append(failure)
        forwarded.pending -= 1
        if forwarded.pending or forwarded.answered:
            return
        worst = best(forwarded.failures)
        status = passed_status(worst.status)
        if worst.response is None or status != worst.status:
            self._layer.reply(forwarded.tx, status, now)
        else:
            self._answer(forwarded, worst.response, status, now)

    def _answer(self, forwarded: Forwarded, response: Response, status: int, now: float) -> None:
        if forwarded.answered:
            return
        answer = response_to(
            forwarded.tx.request,
            status,
            response.reason,
            tag=response.to_tag or "none",
            headers=passed(response),
            body=response.body,
        )
        self._layer.respond(forwarded.tx, answer, now)


def _copy(request: Request, uri: str, route: tuple[str, ...]) -> Request:
    hops = request.max_forwards
    lines = [
        *(f"Route: {value}" for value in route),
        f"Max-Forwards: {(70 if hops is None else hops) - 1}",
        *request.raw_lines("from", "to", "call-id", "cseq"),
        *passed(request),
    ]
    return Request(request.method, uri, lines, request.body)
