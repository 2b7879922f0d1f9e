"""Which accounts take part in which calls of this node: learnt from the calls' own events.

An account may be asked for at any time, also in the middle of a call. While nobody is wanted the
events of a call are kept as they are, and are read when somebody is. Which account a leg rings
follows from the contact that it goes to, and is worked out for accounts that somebody wants alone.

    CallStarted ─► trying ─ CallProgress ─► early ─ CallAnswered ─► confirmed ─ CallEnded ─► gone
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tandem.bus.call_events import (
    CallAnswered,
    CallEnded,
    CallForwarded,
    CallProgress,
    CallStarted,
    LegFailed,
)
from tandem.bus.event import Event
from tandem.bus.lines import Line
from tandem.bus.transfer_events import TransferStarted

TRYING: Final = "trying"
EARLY: Final = "early"
CONFIRMED: Final = "confirmed"

STAYS: Final = -1
"""The number of who stays when a call is transferred, in the new one; -2 of the second of two who
are joined."""

Contact = tuple[str, str]
"""The URI of a binding, and where it was received from: a leg's target and next hop."""


class _Leg:
    __slots__ = ("account", "contact", "state")

    def __init__(self, contact: Contact) -> None:
        self.contact = contact
        self.state = TRYING
        self.account = ""
        """Whom it rings, if that is one who is wanted; lower case."""

    def stays(self, account: str) -> _Leg:
        """The same in the call that a transfer takes it to, where it is answered already."""
        leg = _Leg(self.contact)
        leg.state, leg.account = CONFIRMED, account
        return leg


class _Call:
    __slots__ = ("account", "caller", "destination", "legs", "ours", "outgoing", "state")

    def __init__(self, event: CallStarted) -> None:
        self.outgoing = event.direction == "out"
        self.ours = not event.sip_call_id
        """Whether it begins with us: who calls is who is rung first."""
        self.caller = event.caller
        self.destination = event.destination
        self.state = TRYING
        self.account: str | None = None
        """Who calls, lower case; "" for nobody of ours, None for not looked at yet."""
        self.legs: dict[int, _Leg] = {}

    def keeps(self, leg: int, answered: int) -> bool:
        """Whether this leg is there after that one answered: in a call of ours the first is who
        calls, though he may not be known yet."""
        return leg == answered or leg < 0 or (leg == 1 and self.ours)

    def accounts(self) -> set[str]:
        """Those of its accounts that are known."""
        return {self.account or "", *(leg.account for leg in self.legs.values())} - {""}


_Unread = list[Event]
"""The events of a call that nobody has asked for, the first a CallStarted."""


class _Wanted:
    __slots__ = ("account", "calls", "contacts")

    def __init__(self, account: str) -> None:
        self.account = account
        self.contacts: tuple[Contact, ...] = ()
        self.calls: dict[str, None] = {}
        """By their ids, in the order in which they came."""


class CallLines:
    """`account_of(uri)` gives the account that a caller's URI names, in lower case, "" for none of
    ours; `changed(account)` is called when the lines of one who is wanted have changed."""

    def __init__(self, account_of: Callable[[str], str], changed: Callable[[str], None]) -> None:
        self._account_of = account_of
        self._changed = changed
        self._calls: dict[str, _Call | _Unread] = {}
        self._wanted: dict[str, _Wanted] = {}
        self._contacts: dict[Contact, str] = {}
        self.looks: dict[Any, Callable[[Any], None]] = {
            CallStarted: self._started,
            CallForwarded: self._forwarded,
            CallProgress: self._progressed,
            LegFailed: self._leg_failed,
            CallAnswered: self._answered,
            CallEnded: self._ended,
            TransferStarted: self._transferred,
        }
        """See `services.appserver.handlers.watch.Looks`."""

    def __len__(self) -> int:
        """How many accounts are wanted."""
        return len(self._wanted)

    def __contains__(self, account: str) -> bool:
        return account.lower() in self._wanted

    # -- who is wanted -------------------------------------------------------------------------

    def want(self, accounts: Mapping[str, Iterable[Contact]]) -> None:
        """Know the lines of these accounts, whose phones are registered with these contacts."""
        new = {name for name in accounts if name not in self}
        if not new:
            return
        calls = {call_id: self._read(call_id, call) for call_id, call in self._calls.items()}
        for account in new:
            self._wanted[account.lower()] = _Wanted(account)
            self.moved(account, accounts[account])
        for call_id, call in calls.items():
            self._find_caller(call_id, call)
            for number in call.legs:
                self._find_callee(call_id, call, number)

    def _read(self, call_id: str, call: _Call | _Unread) -> _Call:
        """What the events of a call come to, while nobody is wanted yet."""
        if isinstance(call, _Call):
            return call
        started = call[0]
        assert isinstance(started, CallStarted)
        read = self._calls[call_id] = _Call(started)
        for event in call[1:]:
            self.looks[type(event)](event)
        return read

    def forget(self, account: str) -> None:
        """Nobody wants them any more."""
        wanted = self._wanted.pop(account.lower(), None)
        if wanted is not None:
            self._drop_contacts(wanted)

    def moved(self, account: str, contacts: Iterable[Contact]) -> None:
        """The contacts of a wanted account are others now."""
        wanted = self._wanted.get(account.lower())
        if wanted is not None:
            self._drop_contacts(wanted)
            wanted.contacts = tuple(contacts)
            self._contacts |= dict.fromkeys(wanted.contacts, account.lower())

    def _drop_contacts(self, wanted: _Wanted) -> None:
        for contact in wanted.contacts:
            if self._contacts.get(contact) == wanted.account.lower():
                del self._contacts[contact]

    def of(self, account: str) -> tuple[Line, ...]:
        """The lines of a wanted account, the oldest first."""
        wanted = self._wanted.get(account.lower())
        if wanted is None:
            return ()
        return tuple(self._line(wanted, call_id) for call_id in wanted.calls)

    def _line(self, wanted: _Wanted, call_id: str) -> Line:
        call, name = self._read(call_id, self._calls[call_id]), wanted.account.lower()
        outgoing = call.account == name
        if outgoing:
            state, remote = call.state, call.destination
        else:
            found = {n: leg.state for n, leg in call.legs.items() if leg.account == name}
            state = max(found.values(), key=_RANK.__getitem__)
            remote = call.destination if STAYS in found else call.caller
        return Line(
            account=wanted.account, call_id=call_id, outgoing=outgoing, state=state, remote=remote
        )

    # -- events --------------------------------------------------------------------------------

    def _started(self, event: CallStarted) -> None:
        call_id = event.call_id
        if call_id is None:
            return
        if self._wanted:
            call = self._calls[call_id] = _Call(event)
            self._find_caller(call_id, call)
        else:
            self._calls[call_id] = [event]

    def _forwarded(self, event: CallForwarded) -> None:
        call_id = event.call_id or ""
        call = self._calls.get(call_id)
        if type(call) is list:
            call.append(event)
        elif isinstance(call, _Call):
            before = call.accounts()
            call.legs[event.leg] = _Leg((event.target, event.next_hop))
            self._find_callee(call_id, call, event.leg)
            self._leave(call_id, call, before)

    def _progressed(self, event: CallProgress) -> None:
        call = self._calls.get(event.call_id or "")
        if type(call) is list:
            if not any(type(e) is CallProgress and e.leg == event.leg for e in call):
                call.append(event)  # a leg may say it as often as it likes
        elif isinstance(call, _Call):
            leg = call.legs.get(event.leg)
            if leg is not None and leg.state == TRYING:
                leg.state = EARLY
                self._tell((leg.account,))
            if call.state == TRYING:
                call.state = EARLY
                self._tell((call.account or "",))

    def _leg_failed(self, event: LegFailed) -> None:
        call_id = event.call_id or ""
        call = self._calls.get(call_id)
        if type(call) is list:
            call.append(event)
        elif isinstance(call, _Call):
            before = call.accounts()
            call.legs.pop(event.leg, None)
            self._leave(call_id, call, before)

    def _answered(self, event: CallAnswered) -> None:
        call_id = event.call_id or ""
        call = self._calls.get(call_id)
        if type(call) is list:
            call.append(event)
        elif isinstance(call, _Call):
            before = call.accounts()
            call.state = CONFIRMED
            call.legs = {n: leg for n, leg in call.legs.items() if call.keeps(n, event.leg)}
            for leg in call.legs.values():
                leg.state = CONFIRMED
            self._leave(call_id, call, before)
            self._tell(call.accounts())

    def _transferred(self, event: TransferStarted) -> None:
        """An end of one call is to go on in another, and nobody calls there."""
        there = self._calls.get(event.call_id or ""), self._calls.get(event.new_call_id)
        if there[0] is None or there[1] is None:
            return
        old = self._read(event.call_id or "", there[0])
        new = self._read(event.new_call_id, there[1])
        before = new.accounts()
        new.ours, new.account = False, ""
        number = STAYS - sum(n < 0 for n in new.legs)
        if event.leg == 0:  # who was called stays
            for each, leg in old.legs.items():
                if each != STAYS and (each != 1 or not old.ours):
                    new.legs[number] = leg.stays(leg.account)
        elif STAYS in old.legs:  # nobody called there: who stays came by a transfer himself
            new.legs[number] = old.legs[STAYS].stays(old.legs[STAYS].account)
        else:
            new.legs[number] = _Leg(("", "")).stays(self._caller_of(old))
        self._leave(event.new_call_id, new, before)
        for name in new.accounts():
            self._add(name, event.new_call_id)

    def _ended(self, event: CallEnded) -> None:
        call_id = event.call_id or ""
        call = self._calls.pop(call_id, None)
        if isinstance(call, _Call):
            self._remove(call_id, call.accounts())

    def _leave(self, call_id: str, call: _Call, before: set[str]) -> None:
        """Who had a part in the call before, and has none now."""
        self._remove(call_id, before - call.accounts())

    def _remove(self, call_id: str, accounts: Iterable[str]) -> None:
        for name in accounts:
            wanted = self._wanted.get(name)
            if wanted is not None and call_id in wanted.calls:
                del wanted.calls[call_id]
                self._changed(wanted.account)

    def _tell(self, accounts: Iterable[str]) -> None:
        for name in accounts:
            wanted = self._wanted.get(name)
            if wanted is not None:
                self._changed(wanted.account)

    # -- whose -------------------------------------------------------------------------------

    def _find_caller(self, call_id: str, call: _Call) -> None:
        if call.account is None:
            call.account = self._caller_of(call)
        self._add(call.account, call_id)

    def _caller_of(self, call: _Call) -> str:
        if call.account is not None:
            return call.account
        return self._account_of(call.caller) if call.outgoing else ""

    def _find_callee(self, call_id: str, call: _Call, number: int) -> None:
        """An account that calls itself has one line in it: that of the caller."""
        leg = call.legs[number]
        account = leg.account or self._contacts.get(leg.contact, "")
        if call.ours and number == 1 and not call.account:
            call.account = account
            self._add(account, call_id)
        elif account and account != call.account:
            leg.account = account
            self._add(account, call_id)

    def _add(self, account: str, call_id: str) -> None:
        wanted = self._wanted.get(account)
        if wanted is not None and call_id not in wanted.calls:
            wanted.calls[call_id] = None
            self._changed(wanted.account)


_RANK: Final = {TRYING: 0, EARLY: 1, CONFIRMED: 2}
