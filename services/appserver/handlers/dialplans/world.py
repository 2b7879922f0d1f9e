"""The world of a script that runs for a call: `tandem.dialplan.world.World` on this appserver."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from services.appserver.domain.callbacks import InvalidCallback, Trigger
from services.appserver.domain.signals import TooManyWaits
from services.appserver.handlers.dialplans import handover, providercalls
from services.appserver.handlers.dialplans.flight import Flight
from services.appserver.handlers.dialplans.originate import originate
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.runs import Place
from services.appserver.handlers.dialplans.services import Services
from tandem.bus.dialplan_events import DialplanAsked, DialplanDialled, DialplanLog
from tandem.bus.event import Event
from tandem.bus.ports import Topic
from tandem.dialplan import dialstring
from tandem.dialplan.substitute import Values
from tandem.dialplan.world import (
    CallbackOutcome,
    CallbackWish,
    Contact,
    Dial,
    DialplanError,
    DialStatus,
    Ended,
    HttpAnswer,
    HttpQuestion,
    Incoming,
    Outcome,
    RunningCall,
)
from tandem.rpc.callcontrol import signal_key
from tandem.rpc.directory import Account, DirectoryUnavailable

UNKNOWN_NOW: Final = "the directory does not answer; try again later"
MAX_RUNNING_CALLS: Final = 200
"""Calls of one customer that a script is told of."""

T = TypeVar("T")
Spawn = Callable[[Coroutine[Any, Any, Any]], object]


class LiveWorld:
    """One run's. `uses` counts what was done for it, for its events."""

    def __init__(
        self, services: Services, flight: Flight, run: Run, place: Place, spawn: Spawn
    ) -> None:
        self.uses = 0
        self._services = services
        self._tools = services.tools
        self._flight = flight
        self._run = run
        self._place = place
        self._spawn = spawn

    @property
    def _req(self) -> Incoming:
        return self._run.req

    def publish(self, kind: type[Event], **facts: Any) -> None:
        """Tell the customer."""
        call_id = self._flight.call_id or None
        event = kind(owners=(self._req.customer,), call_id=call_id, **facts)
        self._tools.publisher.publish(Topic.EVENTS, event)

    # -- the call ------------------------------------------------------------------------------

    async def dial(self, dial: Dial) -> Outcome:
        """See `World`."""
        self.uses += 1
        if dial.stay:
            self._place.check()
        self.publish(
            DialplanDialled,
            destination=_shown(dial, self._run.values),
            ring_seconds=dial.ring_seconds,
        )
        self._flight.stays = dial.stay
        try:
            return await self._services.dialer.dial(self._run, dial, self._flight)
        except Ended:
            if self._flight.over:
                raise
        finally:
            self._flight.stays = False
        self._place.stay()
        return Outcome(DialStatus.ANSWERED, 200, "OK")

    async def transfer(self, dial: Dial) -> Outcome:
        """See `World`."""
        self.uses += 1
        return await handover.transfer(self._services, self._run, dial, self._flight)

    async def hang_up(self) -> None:
        """See `World`."""
        self.uses += 1
        self._flight.hang_up(self._services.calls.hang_up)

    async def respond(self, status: int, reason: str, headers: Sequence[tuple[str, str]]) -> None:
        """See `World`."""
        self.uses += 1
        lines = [f"{name}: {value}" for name, value in headers]
        if status < 200:
            self._flight.progress(status, reason, lines)
        else:
            self._flight.refuse(status, reason, lines)
            raise Ended(f"{status} {reason}")

    async def log(self, text: str) -> None:
        """See `World`."""
        self.publish(DialplanLog, said=text)

    async def callback(self, first: str, second: str, delay: float) -> None:
        """See `World`."""
        self.uses += 1
        self.publish(DialplanAsked, what="callback", target=first, result=f"to join {second}")
        run = Run.of(self._req, self._run.dialplan, self._run.proxy)
        run.call_id = self._flight.call_id
        self._spawn(originate(self._services, run, first, second, delay))

    async def wait_for_callback(self, wish: CallbackWish) -> CallbackOutcome:
        """See `World`."""
        self.uses += 1
        return await providercalls.wait(self._services, self, self._flight, self._req, wish)

    async def wait_for_signal(self, key: str, seconds: float) -> str | None:
        """See `World`."""
        self.uses += 1
        try:
            name = signal_key(key)
            got = await self._services.signals.wait(self._req.customer, name, seconds)
        except ValueError as error:
            raise DialplanError(f"the key: {error}") from None
        except TooManyWaits as error:
            raise DialplanError(str(error)) from None
        # what it is may be a secret: a number of a card, a PIN
        said = "nothing in time" if got is None else f"{len(got)} characters"
        self.publish(DialplanAsked, what="signal", target=name, result=said)
        return got

    # -- accounts ------------------------------------------------------------------------------

    async def _account(self, user: str, domain: str) -> Account | None:
        ours = self._domain(domain)
        if not ours:
            return None
        try:
            return await self._services.lookups.callee(user, ours)
        except DirectoryUnavailable:
            raise DialplanError(UNKNOWN_NOW) from None

    def _domain(self, domain: str) -> str:
        return self._tools.domains.serviced(domain) or ""

    async def bindings(self, user: str, domain: str) -> list[Contact]:
        """See `World`."""
        account = await self._account(user, domain)
        if account is None or account.owner != self._req.customer:
            return []
        now = self._tools.wall()
        return [
            Contact(b.contact, b.received, b.user_agent, max(0, int(b.expires_at - now)))
            for b in self._tools.table.callable(account.aor, now)
        ]

    async def is_available(self, user: str, domain: str) -> bool:
        """See `World`."""
        account = await self._account(user, domain)
        return account is not None and any(
            self._tools.table.callable(account.aor, self._tools.wall())
        )

    async def account_exists(self, user: str, domain: str) -> bool:
        """See `World`."""
        return await self._account(user, domain) is not None

    async def is_mine(self, user: str, domain: str) -> bool:
        """See `World`."""
        account = await self._account(user, domain)
        return account is not None and account.owner == self._req.customer

    async def canonical_domain(self, domain: str) -> str:
        """See `World`."""
        return self._domain(domain)

    async def current_calls(self) -> list[RunningCall]:
        """See `World`: those of this node."""
        now, mine = self._tools.wall(), self._req.customer
        found = [call for call in self._services.calls.live() if mine in call.owners]
        return [
            RunningCall(
                call.id,
                call.caller,
                call.destination,
                "setup" if call.answered_at is None else "answered",
                max(0.0, now - call.created_at),
            )
            for call in found[:MAX_RUNNING_CALLS]
        ]

    # -- outside -------------------------------------------------------------------------------

    async def enum(self, number: str, zone: str) -> str:
        """See `World`."""
        self.uses += 1
        services, customer = self._services, self._req.customer
        await services.enums.take(customer)
        try:
            found = await services.resolver.enum(number, zone)
        finally:
            services.enums.give_back(customer)
        if not services.dialer.is_foreign(found):
            found = ""
        self.publish(DialplanAsked, what="enum", target=number, result=found or "nothing")
        return found

    async def http(self, question: HttpQuestion) -> HttpAnswer:
        """See `World`."""
        self.uses += 1
        trigger = trigger_of(question)
        page = await self._services.web.fetch(trigger, question.seconds, self._req.customer)
        said = str(page.status) if page.status else page.problem
        self.publish(DialplanAsked, what="web", target=trigger.host, result=said)
        body = page.body.decode("utf-8", "replace")
        return HttpAnswer(page.status, body, page.content_type[:128], page.problem)

    async def email(self, to: Sequence[str], subject: str, body: str) -> None:
        """See `World`."""
        self.uses += 1
        mailer = self._services.mailer
        if mailer is None:
            raise DialplanError("this switch sends no mails: its operator has set no mail server")
        if not self._services.may_mail(self._req.customer):
            raise DialplanError("too many mails within an hour")
        problem = await mailer.send(to, subject, body)
        self.publish(DialplanAsked, what="email", target=", ".join(to), result=problem or "sent")
        if problem:
            raise DialplanError(problem)

    # -- values --------------------------------------------------------------------------------

    async def read(self, key: str) -> str | None:
        """See `World`."""
        return await _known(self._services.programs.read_value(self._req.customer, key))

    async def write(self, key: str, value: str) -> None:
        """See `World`."""
        self.uses += 1
        programs = self._services.programs
        if not await _known(programs.write_value(self._req.customer, key, value)):
            raise DialplanError("there are too many keys: delete some")

    async def delete(self, key: str) -> bool:
        """See `World`."""
        self.uses += 1
        return await _known(self._services.programs.write_value(self._req.customer, key, None))

    async def keys(self) -> list[str]:
        """See `World`."""
        return await _known(self._services.programs.value_keys(self._req.customer))

    # -- time ----------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """See `World`."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """See `World`."""
        return self._tools.wall()


def _shown(dial: Dial, values: Values) -> str:
    """The dial string as it was written, but filled in, and without the password that Asterisk's
    form has in it."""
    if not dial.asterisk_form and "${" not in dial.text:
        return dial.text
    try:
        string = dialstring.parse(dial.text, dial.asterisk_form)
        filled = string.filled(values)
    except dialstring.DialStringError as error:
        return error.text
    secret = any(leg.login for leg in string.legs)
    return str(filled) if secret or "${" in dial.text else dial.text


def trigger_of(question: HttpQuestion) -> Trigger:
    """A request in the terms of what sends it. Raises DialplanError."""
    trigger = Trigger(question.url, question.method, question.headers, question.body, question.form)
    try:
        trigger.check()
    except InvalidCallback as fault:
        raise DialplanError(str(fault).removeprefix("trigger.")) from None
    return trigger


async def _known(answer: Coroutine[Any, Any, T]) -> T:
    try:
        return await answer
    except DirectoryUnavailable:
        raise DialplanError(UNKNOWN_NOW) from None
    except ValueError as error:
        raise DialplanError(str(error)) from None
