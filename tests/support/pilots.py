"""A pilot for `tests.support.sipworld`: rings one fork after the other, and notes what it hears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from services.appserver.domain.plan import Fork, LegOptions, Target
from services.appserver.ports import LegFailure
from tests.support.sipphone import OFFER, Behaviour, Phone, pick_up
from tests.support.sipworld import plan, target

if TYPE_CHECKING:
    from tests.support.sipworld import World


class Captain:
    """Rings its forks in turn, and refuses the call when there are no more, unless `patient`."""

    def __init__(self, world: World, *forks: Fork, patient: bool = False) -> None:
        self.world = world
        self.forks = list(forks)
        self.patient = patient
        self.failures: list[tuple[LegFailure, ...]] = []
        self.timed_out: list[bool] = []
        self.answers = 0
        self.ends: list[str] = []
        self.refusal: tuple[int, str, tuple[str, ...]] = (480, "Nobody answered", ())
        self.on_failed: Callable[[], None] | None = None
        """What it does in place of `next`."""

    @property
    def call_id(self) -> str:
        """The one call under way."""
        (call,) = self.world.calls.live()
        return call.id

    @property
    def over(self) -> bool:
        """Whether it may not be called any more."""
        return bool(self.answers or self.ends)

    def next(self) -> None:
        """Ring the next fork, or give up."""
        calls, now = self.world.calls, self.world.now
        if self.forks:
            assert calls.ring(self.call_id, self.forks.pop(0), now)
        elif not self.patient:
            assert calls.refuse(self.call_id, *self.refusal, now)

    def statuses(self) -> list[list[int]]:
        """Of the legs of each fork that failed."""
        return [[leg.status for leg in legs] for legs in self.failures]

    # -- the pilot -----------------------------------------------------------------------------

    def failed(self, legs: Sequence[LegFailure], timed_out: bool, now: float) -> None:
        """Goes on."""
        assert not self.over
        self.failures.append(tuple(legs))
        self.timed_out.append(timed_out)
        (self.on_failed or self.next)()

    def answered(self, now: float) -> None:
        """Noted."""
        assert not self.over
        self.answers += 1

    def gone(self, reason: str, now: float) -> None:
        """Noted."""
        assert not self.over
        self.ends.append(reason)


def leg(name: str, **options: Any) -> Target:
    """A target that rings one phone, with these options of its leg."""
    one = target(name)
    return Target(one.uri, one.hops, one.account, LegOptions(name=name, **options))


def steered(world: World, *forks: Fork, patient: bool = False) -> tuple[Phone, Captain]:
    """Alice, who calls, and the captain who rings these forks for her."""
    alice = world.phone("alice")
    captain = Captain(world, *forks, patient=patient)
    world.switch.plan = plan()
    world.switch.pilot = captain
    return alice, captain


def called(world: World, *names: str, **behaviours: Behaviour) -> list[Phone]:
    """Phones by these names, which pick up, and some that behave otherwise."""
    phones = [world.phone(name, behaviour=pick_up) for name in names]
    return phones + [world.phone(name, behaviour=each) for name, each in behaviours.items()]


def dial(world: World, alice: Phone, captain: Captain, *, body: bytes = OFFER,
         headers: tuple[str, ...] = ()) -> None:  # fmt: skip
    """Alice calls, and the captain rings the first of its forks."""
    alice.call(body=body, headers=headers)
    world.settle()
    captain.next()
    world.run(1)
