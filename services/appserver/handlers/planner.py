"""From a request outside of a dialog to a plan: who sends it, may they, and where does it go.

    parties ──► credentials of the caller ──► account of the callee, or an address outside ──► plan

All answers are at hand nearly always. Where one has to be fetched the request is parked with what
was found so far, and goes on when the answer is there; a CANCEL ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from services.appserver.domain.authentication import (
    Allowed,
    Refused,
    Source,
    Verdict,
    credentials_of,
    user_of,
)
from services.appserver.domain.loops import MAX_LOOPS, Looped, Loops
from services.appserver.domain.plan import SELF, CallPlan, Target
from services.appserver.domain.routing import (
    NO_SUCH_USER,
    NO_USER_PART,
    NOT_REGISTERED,
    NOT_RESOLVED,
    NOT_SERVICED,
    Parties,
    Refusal,
    candidates,
    limited,
    objection,
    outside,
    parties,
    plan,
    targets,
)
from services.appserver.handlers.accounts import Miss
from services.appserver.handlers.outside import Outside
from services.appserver.handlers.refused_calls import record_refusal
from services.appserver.handlers.sources import source_of
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.waits import Waits
from services.appserver.ports import OutsideHop
from tandem.bus.phone_events import AuthenticationFailed
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.sip.message import Request
from tandem.sip.transaction import ServerTransaction, TransactionLayer

Known = Callable[[ServerTransaction, Account | None, Account, float], None]
"""Takes who sends a request (None: somebody outside) and the account that it is for."""

NOT_OURS: Final = Refusal(404, "Not one of our accounts")
BUSY: Final = Refusal(503, "Too many requests wait", ("Retry-After: 5",))
NO_DIRECTORY: Final = Refusal(503, "Directory does not answer", ("Retry-After: 30",))
CANCELLED: Final = Refusal(487, "Request Terminated")
LOOP: Final = Refusal(482, "Loop Detected")
NOT_YOURS: Final = Refusal(403, "Not the account in From")

Then = Callable[[ServerTransaction, CallPlan, float], None]

RunDialplan = Callable[[ServerTransaction, CallPlan, str, str, str, float], None]
"""`run(tx, plan, owner, name, source, now)`: a customer's dialplan takes this INVITE."""


def _no_plan(tx: ServerTransaction, plan: CallPlan, now: float) -> None:
    """There is no plan for a request that rings nobody."""


@dataclass(slots=True, eq=False)
class Inquiry:
    """A request on its way to a plan."""

    tx: ServerTransaction
    parties: Parties
    source: Source
    then: Then
    known: Known | None = None
    """What is called in place of `then` for a request that rings nobody."""
    caller: Account | None = None
    """Who proved to be the caller."""
    callee: Account | None = None
    looped: Looped | None = None
    """What is known of it if we sent it to ourselves: then nobody is asked who they are."""


class Planner:
    """Makes plans, or answers in their place."""

    def __init__(
        self,
        tools: Tools,
        layer: TransactionLayer,
        ways: Outside,
        waits: Waits | None = None,
        loops: Loops | None = None,
        run_dialplan: RunDialplan | None = None,
    ) -> None:
        self._run_dialplan = run_dialplan
        self._loops = loops or Loops()
        self._waits = waits or Waits()
        self._waiting = self._waits.users
        self._tools = tools
        self._layer = layer
        self._ways = ways
        self._parked: dict[ServerTransaction, Inquiry] = {}

    def plan(self, tx: ServerTransaction, then: Then, now: float) -> None:
        """Call `then` with the plan of this request, now or later, or answer it."""
        request = tx.request
        found = parties(request.from_.uri, request.request_uri, self._tools.domains)
        if isinstance(found, Refusal):
            self._answer(tx, found, now)
        elif tx.hop.peer == SELF:
            self._plan_looped(tx, found, then, now)
        else:
            self._go_on(Inquiry(tx, found, source_of(request), then), now)

    def _plan_looped(self, tx: ServerTransaction, found: Parties, then: Then, now: float) -> None:
        """Our own INVITE: an incoming call of the account that it is for, whoever calls. It must
        not get out by this way, nor come back for ever."""
        looped = self._loops.take(tx.request.top[0])
        if looped is None or found.to_domain is None:
            self._answer(tx, NOT_SERVICED, now)
            return
        found = replace(found, from_domain=None)
        source = Source(looped.source, _host_of(looped.source))
        inquiry = Inquiry(tx, found, source, then, looped=looped)
        if looped.times > MAX_LOOPS:
            self._refuse(inquiry, LOOP, now)
        else:
            self._go_on(inquiry, now)

    def cancel(self, tx: ServerTransaction, now: float) -> bool:
        """Give up a request that still waits; False if this one doesn't."""
        inquiry = self._parked.pop(tx, None)
        if inquiry is None:
            return False
        self._refuse(inquiry, CANCELLED, now)
        return True

    def _go_on(self, inquiry: Inquiry, now: float) -> None:
        if inquiry.parties.from_domain is not None and inquiry.caller is None:
            self._authenticate(inquiry, inquiry.parties.from_domain, now)
        elif inquiry.caller is not None and self._programmed(inquiry, inquiry.caller.out_dialplan):
            self._to_dialplan(inquiry, inquiry.caller, inquiry.caller.out_dialplan or "", now)
        elif inquiry.parties.to_domain is not None:
            self._find_callee(inquiry, inquiry.parties.to_domain, now)
        else:
            self._find_address(inquiry, now)

    # -- the caller ----------------------------------------------------------------------------

    def _authenticate(self, inquiry: Inquiry, domain: str, now: float) -> None:
        request = inquiry.tx.request
        credentials = credentials_of(request, "proxy-authorization", domain)
        username = user_of(credentials) if credentials else request.from_.uri.unescaped_user
        account = self._tools.accounts.get(username, domain, now)
        if isinstance(account, Miss):
            self._missing(inquiry, account, username, domain, now)
            return
        verdict = self._tools.authenticator.judge(
            request, credentials, account, domain, inquiry.source, self._tools.wall()
        )
        if not isinstance(verdict, Allowed):
            self._deny(inquiry, verdict, username, domain, account, now)
            return
        self._admit(inquiry, verdict.account, now)

    def _admit(self, inquiry: Inquiry, account: Account, now: float) -> None:
        refusal = objection(account)
        if (
            refusal is None
            and inquiry.tx.request.from_.uri.unescaped_user.lower() != account.username.lower()
        ):
            refusal = NOT_YOURS
        inquiry.caller = account
        if refusal is not None:
            self._refuse(inquiry, refusal, now)
            return
        self._go_on(inquiry, now)

    def _deny(
        self,
        inquiry: Inquiry,
        verdict: Verdict,
        username: str,
        domain: str,
        account: Account | None,
        now: float,
    ) -> None:
        assert not isinstance(verdict, Allowed)
        if verdict.failure:
            self._tools.counters.refused += 1
            event = AuthenticationFailed(
                owners=(account.owner,) if account is not None else (),
                account=f"{username}@{domain}",
                source=inquiry.source.text,
                method=inquiry.tx.request.method,
                reason=verdict.failure,
            )
            self._tools.publisher.publish(Topic.EVENTS, event)
        if isinstance(verdict, Refused):
            self._refuse_later(inquiry, verdict, now)
            return
        self._tools.counters.challenged += 1
        lines = tuple(f"Proxy-Authenticate: {line}" for line in verdict.lines)
        self._refuse(inquiry, Refusal(407, "Proxy Authentication Required", lines), now)

    def _refuse_later(self, inquiry: Inquiry, verdict: Refused, now: float) -> None:
        """Who guesses passwords waits for each answer."""

        def refuse(now: float) -> None:
            if self._parked.pop(inquiry.tx, None) is not None:
                self._refuse(inquiry, Refusal(verdict.status, verdict.reason), now)

        self._parked[inquiry.tx] = inquiry
        if verdict.delay:
            self._tools.deadlines.at(now + verdict.delay, refuse)
        else:
            refuse(now)

    # -- the callee ----------------------------------------------------------------------------

    def _find_callee(self, inquiry: Inquiry, domain: str, now: float) -> None:
        user = inquiry.parties.to_user
        if not user:
            self._refuse(inquiry, NO_USER_PART, now)
            return
        for name in candidates(user):
            account = self._tools.accounts.get(name, domain, now)
            if isinstance(account, Miss):
                if self._waiting and account is Miss.UNAVAILABLE:
                    owner = self._registrant(name, domain)
                    # one of whom nothing is known may be anybody's, whoever waits for him
                    if owner is not None and self._called_back(inquiry, owner, now):
                        return
                self._missing(inquiry, account, name, domain, now)
                return
            if account is not None:
                if self._waiting and objection(account) is None:
                    if self._called_back(inquiry, account.owner, now):
                        return
                go_on = self._to_account if inquiry.known is None else self._identified
                go_on(inquiry, account, now)
                return
        # a provider's contact for us need not be an account
        if self._waiting and self._called_back(inquiry, None, now):
            return
        self._refuse(inquiry, NO_SUCH_USER, now)

    def _called_back(self, inquiry: Inquiry, owner: str | None, now: float) -> bool:
        """Whether a call waits for this one: then it is joined to that. `owner` is the customer
        whose account is called, None for no account."""
        request = inquiry.tx.request
        if request.method != "INVITE":
            return False
        host, user = request.request_uri.host, inquiry.parties.to_user
        inside = inquiry.caller is not None or inquiry.looped is not None
        wait = self._waits.expected(request, user, host, owner, inside=inside)
        if wait is None:
            return False
        made = CallPlan("in", wait.owners, None, None, (), joins=wait.call_id)
        inquiry.then(inquiry.tx, made, now)
        return True

    def _registrant(self, name: str, domain: str) -> str | None:
        """Whose phones are registered under this name, for when the directory is away."""
        found = self._tools.table.bindings(f"{name.lower()}@{domain}")
        return found[0].owner if found else None

    def _to_account(self, inquiry: Inquiry, callee: Account, now: float) -> None:
        inquiry.callee = callee
        refusal = objection(callee)
        if refusal is None and self._programmed(inquiry, callee.in_dialplan):
            self._to_dialplan(inquiry, callee, callee.in_dialplan or "", now)
            return
        to: tuple[Target, ...] = ()
        if refusal is None:
            live = self._tools.table.callable(callee.aor, self._tools.wall())
            to = targets(live, self._tools.proxies, now)
        if refusal is not None or not to:
            self._refuse(inquiry, refusal or NOT_REGISTERED, now)
            return
        self._finish(inquiry, plan(inquiry.caller, callee, to), now)

    # -- dialplans -----------------------------------------------------------------------------

    def _programmed(self, inquiry: Inquiry, name: str | None) -> bool:
        """Whether a dialplan says where this goes: calls only, and where dialplans are run."""
        calls = inquiry.tx.request.method == "INVITE"
        return calls and bool(name) and self._run_dialplan is not None

    def _to_dialplan(self, inquiry: Inquiry, whose: Account, name: str, now: float) -> None:
        """All else is the dialplan's to say: it dials whom it wants, or refuses."""
        assert self._run_dialplan is not None
        made = self._completed(inquiry, plan(inquiry.caller, inquiry.callee, ()))
        self._run_dialplan(inquiry.tx, made, whose.owner, name, inquiry.source.text, now)

    # -- outside -------------------------------------------------------------------------------

    def _find_address(self, inquiry: Inquiry, now: float) -> None:
        if inquiry.known is not None:
            self._refuse(inquiry, NOT_OURS, now)
            return
        uri = inquiry.tx.request.request_uri
        hops = () if self._ways.objection(uri) else self._ways.known(uri)
        if hops is not None:
            self._to_outside(inquiry, hops, now)
        elif self._ways.look_up(uri, partial(self._resolved, inquiry)):
            self._park(inquiry, now)
        else:
            self._refuse(inquiry, BUSY, now)

    def _resolved(self, inquiry: Inquiry, hops: Sequence[OutsideHop]) -> None:
        if self._parked.pop(inquiry.tx, None) is not None:
            self._to_outside(inquiry, hops, self._tools.clock())

    def _to_outside(self, inquiry: Inquiry, hops: Sequence[OutsideHop], now: float) -> None:
        tx = inquiry.tx
        if not hops:
            closed = self._ways.objection(tx.request.request_uri)
            self._refuse(inquiry, Refusal(403, closed) if closed else NOT_RESOLVED, now)
            return
        proxy = self._tools.proxies.through(tx.hop.peer, now, tx.request.call_id)
        target = outside(tx.request.request_uri, hops, proxy)
        self._finish(inquiry, plan(inquiry.caller, None, (target,)), now)

    # -- requests that ring nobody -------------------------------------------------------------

    def identify(self, tx: ServerTransaction, known: Known, now: float) -> None:
        """Call `known` with the accounts at the ends of this request, now or later, whether phones
        are registered or not; or answer it."""
        request = tx.request
        found = parties(request.from_.uri, request.request_uri, self._tools.domains)
        if isinstance(found, Refusal):
            self._answer(tx, found, now)
        else:
            self._go_on(Inquiry(tx, found, source_of(request), _no_plan, known), now)

    def _identified(self, inquiry: Inquiry, callee: Account, now: float) -> None:
        inquiry.callee = callee
        refusal = objection(callee)
        if refusal is not None:
            self._refuse(inquiry, refusal, now)
        elif inquiry.known is not None:
            inquiry.known(inquiry.tx, inquiry.caller, callee, now)

    # -- waiting and ending --------------------------------------------------------------------

    def _traced(self, request: Request) -> AbstractContextManager[None]:
        """What is fetched meanwhile belongs to this request's trace."""
        tracing = self._tools.tracing
        if tracing is None:
            return nullcontext()
        return tracing.because_of(request.call_id, request.top[0])

    def _missing(
        self, inquiry: Inquiry, miss: Miss, username: str, domain: str, now: float
    ) -> None:
        if miss is Miss.UNAVAILABLE:
            self._tools.counters.overload += 1
            self._refuse(inquiry, NO_DIRECTORY, now)
            return

        def resume() -> None:
            if self._parked.pop(inquiry.tx, None) is not None:
                self._go_on(inquiry, self._tools.clock())

        with self._traced(inquiry.tx.request):
            waits = self._tools.accounts.wait(username, domain, resume)
        if waits:
            self._park(inquiry, now)
        else:
            self._tools.counters.overload += 1
            self._refuse(inquiry, BUSY, now)

    def _park(self, inquiry: Inquiry, now: float) -> None:
        self._parked[inquiry.tx] = inquiry
        if inquiry.tx.request.method == "INVITE":
            self._layer.reply(inquiry.tx, 100, now)

    def _finish(self, inquiry: Inquiry, made: CallPlan, now: float) -> None:
        inquiry.then(inquiry.tx, self._completed(inquiry, made), now)

    def _completed(self, inquiry: Inquiry, made: CallPlan) -> CallPlan:
        if inquiry.looped is not None:
            made = replace(made, caller=inquiry.looped.caller, looped=inquiry.looped)
        return limited(made, self._tools.config.max_call_seconds)

    def _refuse(self, inquiry: Inquiry, refusal: Refusal, now: float) -> None:
        self._answer(inquiry.tx, refusal, now)
        request = inquiry.tx.request
        source = inquiry.source.text
        record_refusal(self._tools, request, source, inquiry.caller, inquiry.callee, refusal)

    def _answer(self, tx: ServerTransaction, refusal: Refusal, now: float) -> None:
        self._layer.reply(tx, refusal.status, now, refusal.reason, refusal.headers)


def _host_of(source: str) -> str:
    """The address in `udp:203.0.113.7:5060`, without brackets."""
    return source.partition(":")[2].rpartition(":")[0].strip("[]")
