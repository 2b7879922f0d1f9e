"""Waiting calls: a provider is asked to call back, and the call that comes is joined to the caller
that waits (DESIGN §5).

    run ─► the caller waits ─► hint to every proxy ─► acknowledged, or 250 ms ─► the trigger
             an INVITE that fits (`planner`) ─► matched ─► joined          ─► Matched
             caller gone, trigger refused, time-out, given up              ─► Failed
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from services.appserver.domain.call import CallState
from services.appserver.domain.callbacks import (
    Callback,
    Matched,
    NoSuchCall,
    NotWaitable,
    NotYours,
    Step,
    TooManyWaits,
    Triggered,
    Unavailable,
    Waiting,
)
from services.appserver.domain.routing import objection, targets
from services.appserver.handlers.accounts import Miss
from services.appserver.handlers.hints import ACKNOWLEDGE_SECONDS, Hints
from services.appserver.handlers.tools import Tools
from services.appserver.handlers.waits import MATCHED, STOPPED, TIMEOUT, Wait, Waits
from services.appserver.ports import Calls, HttpTrigger
from tandem.bus.callback_events import (
    CallbackFailed,
    CallbackMatched,
    CallbackTriggered,
    CallbackWaiting,
)
from tandem.bus.event import Event
from tandem.bus.hints import MAX_USERS, Hint
from tandem.bus.ports import Topic
from tandem.rpc.directory import Account
from tandem.runtime.metrics import Metrics

NO_CALLBACK: Final = "no callback"
GIVEN_UP: Final = "callback given up"
MARGIN_SECONDS: Final = 1.0
"""By which a hint outlives its wait: a callback at the last moment still finds us."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(slots=True)
class Counters:
    """What happened, for metrics."""

    started: int = 0
    triggered: int = 0
    matched: int = 0
    """Callbacks that came; those that could not be joined are among `failed` too."""
    failed: int = 0
    refused: int = 0
    """Requests to wait that were over a limit."""


class Callbacks:
    """All waits of one appserver. `arm()` is called when something was done from outside of the
    path of messages: deadlines may have been added."""

    def __init__(
        self,
        tools: Tools,
        calls: Calls,
        hints: Hints,
        http: HttpTrigger,
        address: str,
        spawn: Spawn,
        arm: Callable[[], None],
    ) -> None:
        self.counters = Counters()
        self.waits = Waits()
        self.hints = hints
        self._tools = tools
        self._calls = calls
        self._http = http
        self._address = address
        self._spawn = spawn
        self._arm = arm
        self._customers: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._customers.total()

    def register(self, metrics: Metrics) -> None:
        """Show what happened, and how many wait."""
        metrics.counters("tandem_callbacks", self.counters, "Calls that wait for callbacks")
        metrics.counters("tandem_hints", self.hints.counters, "Next-call hints")
        metrics.gauge("tandem_waits", lambda: len(self), "Calls that wait for callbacks")

    # -- the story of one ----------------------------------------------------------------------

    async def run(self, wanted: Callback) -> AsyncGenerator[Step, None]:
        """Wait for a callback: what happens, ending with Matched or Failed. Closing the generator
        before that ends the wait. Raises CallbackError before the first step."""
        wanted.check()
        self._admit(wanted.customer)
        wait = Wait(self, wanted)
        try:
            await self._hold(wait)
            await wait.caller_ready.wait()
            if wait.outcome is None:
                yield await self._announce(wait)
            if wanted.trigger is not None and wait.outcome is None and wait.matched_by is None:
                asked: asyncio.Queue[int] = asyncio.Queue(1)
                self._spawn(self._ask(wait, asked))
                status = await _first(asked, wait.over)
                if status is not None:
                    yield Triggered(status)
            await wait.over.wait()
            assert wait.outcome is not None
            yield wait.outcome
        finally:
            if wait.outcome is None and wait.matched_by is None:
                self._end(wait, GIVEN_UP, STOPPED)
            self._release(wanted.customer)

    def _admit(self, customer: str) -> None:
        config = self._tools.config
        if len(self) >= config.max_waits:
            self.counters.refused += 1
            raise TooManyWaits("too many calls of this node wait for callbacks")
        if self._customers[customer] >= config.max_customer_waits:
            self.counters.refused += 1
            raise TooManyWaits("too many calls of this customer wait for callbacks")
        self._customers[customer] += 1
        self.counters.started += 1

    def _release(self, customer: str) -> None:
        self._customers[customer] -= 1
        if not self._customers[customer]:
            del self._customers[customer]

    # -- the caller ----------------------------------------------------------------------------

    async def _hold(self, wait: Wait) -> None:
        """Have the caller wait, or ring the phones of the account that is to."""
        wanted = wait.wanted
        if wanted.account:
            account = await self._account(wanted)
            self._dial_out(wait, account)
        else:
            self._hold_call(wait)
        self._arm()

    def _hold_call(self, wait: Wait) -> None:
        wanted, now = wait.wanted, self._tools.clock()
        call = self._calls.find(wanted.call_id)
        if call is None:
            raise NoSuchCall("call_id: this node has no such call")
        if wanted.customer not in call.owners:
            raise NotYours("call_id: another customer's call")
        if call.state is not CallState.SETUP or not self._calls.wait(call.id, wait, now):
            raise NotWaitable("call_id: answered, or waiting already")
        wait.call_id, wait.owners = call.id, call.owners
        wait.caller_ready.set()

    def _dial_out(self, wait: Wait, account: Account) -> None:
        tools, now = self._tools, self._tools.clock()
        to = targets(tools.table.callable(account.aor, tools.wall()), tools.proxies, now)
        if not to:
            raise NotWaitable("account: no phone is registered")
        wait.owners = (account.owner,)
        call_id = self._calls.dial_out(account, to, wait, now)
        if call_id is None:
            raise TooManyWaits("too many calls")
        wait.call_id = call_id

    async def _account(self, wanted: Callback) -> Account:
        username, _, host = wanted.account.rpartition("@")
        domain = self._tools.domains.serviced(host)
        if domain is None:
            raise NoSuchCall("account: its domain is not serviced")
        accounts = self._tools.accounts
        found = accounts.get(username, domain, self._tools.clock())
        if found is Miss.UNKNOWN:
            known = asyncio.Event()
            if accounts.wait(username, domain, known.set):
                await known.wait()
                found = accounts.get(username, domain, self._tools.clock())
        if isinstance(found, Miss):
            raise Unavailable("account: the directory does not answer")
        if found is None:
            raise NoSuchCall("account: there is no such account")
        if found.owner != wanted.customer:
            raise NotYours("account: another customer's")
        if (refusal := objection(found)) is not None:
            raise NotWaitable(f"account: {refusal.reason}")
        return found

    # -- the hint ------------------------------------------------------------------------------

    async def _announce(self, wait: Wait) -> Waiting:
        tools, wanted = self._tools, wait.wanted
        hint = wait.hint = Hint(
            id=tools.new_token(),
            node=tools.config.node_id,
            appserver=self._address,
            customer=wanted.customer,
            users=self._users(wait),
            domains=tuple(domain.lower() for domain in wanted.domains),
            pattern=wanted.pattern,
            expires_at=tools.wall() + wanted.seconds + ACKNOWLEDGE_SECONDS + MARGIN_SECONDS,
        )
        self.waits.add(wait)
        self._look_up(wanted)
        waiting = CallbackWaiting(
            owners=wait.owners,
            call_id=wait.call_id,
            hint=hint.id,
            users=hint.users,
            pattern=hint.pattern,
            seconds=wanted.seconds,
        )
        self._publish(waiting)
        wait.since = tools.clock()
        heard = await self.hints.publish(hint)
        wait.silent, wait.acknowledged_ms = heard.silent, heard.seconds * 1000
        if wait.outcome is None and wait.matched_by is None:
            wait.since = tools.clock()
            end = wait.since + wanted.seconds
            wait.limit = tools.deadlines.at(end, lambda now: self._timed_out(wait))
            self._arm()
        return Waiting(
            call_id=wait.call_id,
            hint=hint.id,
            proxies=heard.proxies,
            silent=heard.silent,
            acknowledged_ms=wait.acknowledged_ms,
        )

    def _users(self, wait: Wait) -> tuple[str, ...]:
        """Those that were given, else the accounts at the ends of the call and all of the
        customer's that have bindings."""
        customer = wait.wanted.customer
        users = list(wait.wanted.users)
        if not users:
            ends = self._calls.accounts_of(wait.call_id)
            users = [account.username for account in ends if account.owner == customer]
            users += (aor.rpartition("@")[0] for aor in self._tools.table.of_owner(customer))
        return tuple(dict.fromkeys(user.lower() for user in users))[:MAX_USERS]

    def _look_up(self, wanted: Callback) -> None:
        """Have at hand whose the users are that were named, or that they are nobody's: the
        directory may be away when the callback comes. Of the others that is known already."""
        tools, now = self._tools, self._tools.clock()
        named = [tools.domains.serviced(name) for name in wanted.domains]
        for domain in filter(None, named or [tools.domains.default]):
            for user in wanted.users:
                if tools.accounts.get(user, domain, now) is Miss.UNKNOWN:
                    tools.accounts.wait(user, domain, lambda: None)

    async def _ask(self, wait: Wait, asked: asyncio.Queue[int]) -> None:
        """Ask the provider. It goes on when the callback comes before the answer."""
        trigger = wait.wanted.trigger
        assert trigger is not None
        self.counters.triggered += 1
        found = await self._http.ask(trigger, wait.wanted.customer)
        asked.put_nowait(found.status)
        event = CallbackTriggered(
            owners=wait.owners,
            call_id=wait.call_id,
            host=trigger.host,
            status=found.status,
            silent_proxies=wait.silent,
            acknowledged_ms=wait.acknowledged_ms,
        )
        self._publish(event)
        if not 200 <= found.status < 300 and wait.matched_by is None:
            said = f"answered {found.status}" if found.status else found.problem
            self._end(wait, f"{trigger.host}: {said}", STOPPED)

    # -- ends ----------------------------------------------------------------------------------

    def _timed_out(self, wait: Wait) -> None:
        self._end(wait, NO_CALLBACK, TIMEOUT)

    def _end(self, wait: Wait, reason: str, withdraw_as: str) -> None:
        """End it and its call, which tells the wait; or the wait alone."""
        if wait.outcome is None and wait.call_id:
            now = self._tools.clock()
            wait.withdraw_as = withdraw_as
            if wait.wanted.keeps and self._calls.stop_waiting(wait.call_id, now):
                wait.gone(reason, now)
            else:
                self._calls.hang_up(wait.call_id, reason, now)
            self._arm()

    def forget(self, wait: Wait, reason: str) -> None:
        """No call is its any more: for `Wait`."""
        if wait.limit is not None:
            wait.limit.cancel()
        if wait.hint is not None:
            self.waits.remove(wait)
            self.hints.withdraw(wait.hint.id, reason)
        if reason == MATCHED:
            self.counters.matched += 1

    def succeeded(self, wait: Wait, by: Matched) -> None:
        """The two are joined: for `Wait`."""
        assert wait.hint is not None
        event = CallbackMatched(
            owners=wait.owners,
            call_id=wait.call_id,
            hint=wait.hint.id,
            caller=by.caller,
            sip_call_id=wait.sip_call_id,
            waited=by.waited,
        )
        self._publish(event)

    def failed(self, wait: Wait, reason: str) -> None:
        """The call ended first: for `Wait`."""
        self.counters.failed += 1
        event = CallbackFailed(owners=wait.owners, call_id=wait.call_id, reason=reason)
        self._publish(event)

    def _publish(self, event: Event) -> None:
        self._tools.publisher.publish(Topic.EVENTS, event)


async def _first(asked: asyncio.Queue[int], over: asyncio.Event) -> int | None:
    """The status of the trigger, None if the wait was over before it."""
    answer = asyncio.ensure_future(asked.get())
    end = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((answer, end), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        answer.cancel()
        end.cancel()
