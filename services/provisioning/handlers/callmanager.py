"""The call manager's use cases: start calls, transfer legs, join calls, whichever appserver has
them. Who may ask is decided where they are called, or by `OpenMethods`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from services.provisioning.domain.callmanager import (
    CallRefused,
    LegRef,
    Place,
    Refusal,
    choose,
)
from services.provisioning.domain.errors import NotFound, Unanswered, invalid
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.handlers.nodes import ask_all
from services.provisioning.ports import (
    AppserverSilent,
    AppserverUnreachable,
    CallControl,
    Store,
)
from tandem.bus.nodes import NodeAnnounced, Nodes, NodeState
from tandem.dialplan.dialstring import DialStringError, parse
from tandem.rpc.callcontrol import (
    MAX_DESTINATION,
    MAX_DIAL,
    MAX_DIALPLAN,
    MAX_IDENTIFIER,
    destination,
)

MAX_TRIES: Final = 3
"""Appservers that are tried for a new call, one after the other."""

T = TypeVar("T")


class CallManager:
    """All raise CallRefused; of a value that makes no sense Invalid, which names the field."""

    def __init__(self, store: Store, nodes: Nodes, control: CallControl) -> None:
        self._store = store
        self._nodes = nodes
        self._control = control

    @property
    def alive(self) -> bool:
        """Whether there is an appserver that takes calls."""
        return bool(self._ready())

    async def check_customer(self, username: str) -> None:
        """Whether the customer is there and may call. Raises CallRefused."""
        async with self._store.read(EVERYTHING) as work:
            customer = await work.customers.get(username)
        if customer is None:
            raise CallRefused(Refusal.NO_CUSTOMER, "There is no such customer.")
        if customer.suspended:
            raise CallRefused(Refusal.SUSPENDED, "This customer is suspended.")

    # -- new calls -----------------------------------------------------------------------------

    async def run_dialplan(self, customer: str, dialplan: str, number: str) -> str:
        """Run a dialplan for a call without a caller; Tandem's id of the call."""
        number = _checked("destination", number, MAX_DESTINATION)
        dialplan = _checked("dialplan", dialplan, MAX_DIALPLAN)
        run = self._control.run_dialplan
        with _about("destination"):
            return await self._somewhere(lambda at: run(at, customer, dialplan, number))

    async def connect(self, customer: str, first: str, second: str) -> str:
        """Ring a dial string, then another, and join them; Tandem's id of the call."""
        first, second = _dial("first", first), _dial("second", second)
        connect = self._control.connect
        with _about("first"):  # only what is rung at once is known to lead nowhere
            return await self._somewhere(lambda at: connect(at, customer, first, second))

    def _ready(self) -> list[NodeAnnounced]:
        """The appservers that take new calls, that with the fewest for its weight first."""
        alive = self._nodes.alive("appserver")
        active = [said for said in alive if said.grpc and said.state == NodeState.ACTIVE]
        return sorted(active, key=lambda said: said.calls / max(said.weight, 1))

    async def _somewhere(self, begin: Callable[[str], Awaitable[str]]) -> str:
        """Begin at one appserver. One that could not be reached has not heard of it, so another
        may be asked; one that is silent may have begun."""
        last = CallRefused(Refusal.OVERLOADED, "No application server takes calls now.")
        for said in self._ready()[:MAX_TRIES]:
            try:
                return await begin(said.grpc)
            except AppserverUnreachable:
                last = _silent(said.node)
            except AppserverSilent:
                raise _silent(said.node) from None
            except CallRefused as fault:
                if fault.refusal is not Refusal.OVERLOADED:
                    raise
                last = fault
        raise last

    # -- calls under way -----------------------------------------------------------------------

    async def find(self, customer: str, identifier: str) -> Place:
        """The one leg that an identifier names, over all appservers."""
        if not 0 < len(identifier) <= MAX_IDENTIFIER:
            raise CallRefused(Refusal.NO_LEG, f"1 to {MAX_IDENTIFIER} characters name a leg.")
        find = self._control.find_leg
        return choose(await ask_all(self._nodes, lambda at: find(at, customer, identifier)))

    async def blind(self, customer: str, leg: Place | LegRef, number: str, dialplan: str) -> str:
        """Transfer a leg's far end by a dialplan; Tandem's id of the call."""
        number = _checked("destination", number, MAX_DESTINATION)
        dialplan = _checked("dialplan", dialplan, MAX_DIALPLAN)
        blind = self._control.blind
        with _about("destination"):
            return await self._at(leg, lambda at, ref: blind(at, customer, ref, number, dialplan))

    async def direct(self, customer: str, leg: Place | LegRef, dial: str) -> str:
        """Transfer a leg's far end to a dial string; Tandem's id of the call."""
        dial = _dial("dial", dial)
        direct = self._control.direct
        with _about("dial"):
            return await self._at(leg, lambda at, ref: direct(at, customer, ref, dial))

    async def dual(self, customer: str, first: Place | LegRef, second: Place | LegRef) -> None:
        """Join the far ends of two legs of two calls of one appserver."""
        one, two = _ref(first), _ref(second)
        if one.call_id == two.call_id:
            raise CallRefused(Refusal.NO_LEG, "Both are legs of the same call.")
        places = [leg for leg in (first, second) if isinstance(leg, Place)]
        if len({place.node for place in places}) > 1:
            told = "The two calls are on two servers: they can't be joined."
            raise CallRefused(Refusal.ELSEWHERE, told)
        where = Place(places[0].node, one) if places else one

        async def join(address: str, _: LegRef) -> str:
            await self._control.dual(address, customer, one, two)
            return one.call_id

        await self._at(where, join)

    async def hang_up(self, call_id: str, customer: str) -> str:
        """End a call of this customer, "" for anybody's; the node that had it. Raises NotFound
        and Unanswered."""
        end = self._control.hang_up_of
        answers = await ask_all(self._nodes, lambda at: end(at, call_id, customer))
        for node, had_it in answers:
            if had_it:
                return node
        silent = [node for node, had_it in answers if had_it is None]
        if silent:
            raise Unanswered(f"These appservers do not answer: {', '.join(silent)}.")
        raise NotFound("There is no such call.")

    async def _at(self, leg: Place | LegRef, do: Callable[[str, LegRef], Awaitable[T]]) -> T:
        """Do something where a leg is; a leg whose place is not known is looked for by doing it."""
        if isinstance(leg, LegRef):
            return await self._anywhere(leg, do)
        said = next((n for n in self._nodes.alive("appserver") if n.node == leg.node), None)
        if said is None:
            raise _silent(leg.node)
        try:
            return await do(said.grpc, leg.ref)
        except AppserverSilent:
            raise _silent(leg.node) from None

    async def _anywhere(self, leg: LegRef, do: Callable[[str, LegRef], Awaitable[T]]) -> T:
        """At most one appserver has this call; the others refuse."""

        async def tried(address: str) -> T | CallRefused:
            try:
                return await do(address, leg)
            except CallRefused as fault:
                return fault

        answers = await ask_all(self._nodes, tried)
        refused = CallRefused(Refusal.NO_LEG, "There is no such leg of an answered call.")
        silent = []
        for node, answer in answers:
            if isinstance(answer, CallRefused):
                refused = refused if answer.refusal is Refusal.NO_LEG else answer
            elif answer is None:
                silent.append(node)
        done = [a for _, a in answers if a is not None and not isinstance(a, CallRefused)]
        if done:
            return done[0]
        if silent and refused.refusal is Refusal.NO_LEG:
            raise _silent(*silent)
        raise refused


def _checked(field: str, text: str, most: int) -> str:
    try:
        return destination(text, most)
    except ValueError as fault:
        raise invalid(field, str(fault)) from None


def _dial(field: str, text: str) -> str:
    text = _checked(field, text, MAX_DIAL)
    try:
        parse(text)
    except DialStringError as fault:
        raise invalid(field, f"in the dial string: {fault}") from None
    return text


@contextmanager
def _about(field: str) -> Iterator[None]:
    """What an appserver finds wrong with a destination is wrong with this field."""
    try:
        yield
    except CallRefused as fault:
        if fault.refusal is Refusal.BAD_DESTINATION:
            fault.field = field
        raise


def _ref(leg: Place | LegRef) -> LegRef:
    return leg.ref if isinstance(leg, Place) else leg


def _silent(*nodes: str) -> CallRefused:
    return CallRefused(Refusal.SILENT, f"These appservers do not answer: {', '.join(nodes)}.")
