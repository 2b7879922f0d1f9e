"""/dialplans/dry-run, /dialplans/{id}/dry-run and /dialplans/{id}/replay"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from services.provisioning.entrypoints.http_models import Body, View, absent
from services.provisioning.entrypoints.http_route import Caller, Cases, routes
from tandem.dialplan.dryrun import DryRun, Replayed
from tandem.dialplan.scene import CallbackComes, LegSays, SignalComes, WebSays

MAX_ANSWERS: Final = 100
"""Entries of each kind in a scene."""
MAX_TEXT: Final = 4_096
MAX_SECONDS: Final = 86_400.0

router = routes("/dialplans", 404, 409)
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Seconds = Annotated[float, Field(ge=0.0, le=MAX_SECONDS)]


class LegBody(Body):
    """What a leg answers. A leg that none fits rings until its time is over."""

    to: Text = Field(description="The leg or its URI, with * and ?.", examples=["*@blueface"])
    status: int = Field(480, ge=200, le=699, description="200 to 299: it answers.")
    reason: Text = ""
    after: Seconds = Field(2.0, description="Seconds of ringing.")
    contacts: list[Text] = Field([], max_length=10, description="Where a redirection points to.")


class WebBody(Body):
    """What a web server answers. One that none fits does not answer."""

    url: Text = Field(description="With * and ?.", examples=["https://example.com/*"])
    status: int = Field(200, ge=100, le=599)
    body: Text = ""
    content_type: Text = "text/plain"
    after: Seconds = 0.1


class CallbackComesBody(Body):
    """A callback that comes."""

    provider: Text = Field("", description="For this provider; empty: for any other request.")
    after: Seconds = 5.0


class SignalBody(Body):
    """What a voice application hands back."""

    key: Text
    value: Text
    after: Seconds = 5.0


class DryRunBody(Body):
    """A call, and what the outside would answer."""

    caller: Text = Field(description="user@host.", examples=["desk@example.com"])
    destination: Text = Field(description="A number or user@host.", examples=["0035312345678"])
    direction: Literal["out", "in"] = absent("`out`: a call of an account's; `in`: to one.", "out")
    caller_name: Text = absent("The name in From.", "Alice")
    at: datetime = absent("When; now if left out.", "2026-12-24T18:00:00Z")
    version: int = absent("A version that is kept, in place of the published one.", 2)
    language: str = absent("With `source`: a program that is not saved.", "python")
    source: str = absent("The program to run in place of the stored one.")
    legs: list[LegBody] = absent("What legs answer; the first that fits counts.")
    web: list[WebBody] = absent("What web servers answer.")
    enum: dict[Text, Text] = absent("URIs by number, for ENUM.")
    callbacks: list[CallbackComesBody] = absent("Callbacks that come.")
    signals: list[SignalBody] = absent("What voice applications hand back.")
    caller_waits: Seconds = absent("Seconds until the caller hangs up.", 60)

    def values(self) -> dict[str, Any]:
        """What the use case takes."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        for name, says in _KINDS.items():
            if name in given:
                given[name] = _each(given[name], says)
        if "at" in given:
            zone = self.at.tzinfo or UTC
            given["at"] = self.at.replace(tzinfo=zone).timestamp()
        return given


_KINDS: Final[dict[str, Any]] = {
    "legs": LegSays,
    "web": WebSays,
    "callbacks": CallbackComes,
    "signals": SignalComes,
}


def _each(bodies: Sequence[Body], says: Any) -> tuple[Any, ...]:
    found = [body.model_dump() for body in bodies[:MAX_ANSWERS]]
    return tuple(
        says(**{k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}) for one in found
    )


class StepView(View):
    """One thing that would happen."""

    at: float = Field(description="Seconds from the beginning of the call.")
    what: str = Field(examples=["leg"])
    text: str
    data: dict[str, Any]


class PlaceView(View):
    """A fault of the program and its place; 0: unknown."""

    message: str
    line: int
    column: int


class DryRunView(View):
    """What would happen to the call."""

    end: str = Field(description="`answered`, `refused`, `gone` or `fault`.")
    status: int = Field(description="What the caller gets.")
    reason: str
    answered_by: str
    seconds: float
    dialled: list[str] = Field(description="The legs that ring, in order.")
    steps: list[StepView]
    problem: PlaceView | None
    limit: str = Field(description="Which limit it exceeded: `time`, `memory`, …; empty: none.")

    @classmethod
    def of(cls, run: DryRun) -> DryRunView:
        """As it was found."""
        return cls.model_validate(asdict(run) | {"dialled": run.dialled})


class ReplayBody(Body):
    """Past calls, and what to run them on."""

    calls: list[dict[str, Any]] = Field(
        max_length=MAX_ANSWERS, description="As `GET /calls/{id}` of the events API shows them."
    )
    version: int = absent("A version that is kept, in place of the published one.", 2)
    language: str = absent("With `source`: a program that is not saved.", "python")
    source: str = absent("The program to run in place of the stored one.")


class ReplayedView(View):
    """A past call on another version."""

    id: str
    differs: bool
    unsure: bool = Field(description="It would ring or ask what nothing is known of.")
    dialled_before: list[str]
    dialled_now: list[str]
    status_before: int
    status_now: int
    now: DryRunView


class SkippedView(View):
    """A call that could not be replayed."""

    id: str
    reason: str


class ReplayView(View):
    """What would differ."""

    calls: list[ReplayedView]
    skipped: list[SkippedView]


@router.post("/dry-run", summary="Run a program dry")
async def dry_run(body: DryRunBody, caller: Caller, cases: Cases) -> DryRunView:
    """One that is not saved: nothing rings, and waiting takes no time."""
    return DryRunView.of(await cases.dry_runs.run(caller, None, body.values()))


@router.post("/{id}/dry-run", summary="Run a dialplan dry")
async def dry_run_of(id: str, body: DryRunBody, caller: Caller, cases: Cases) -> DryRunView:
    """The published version, another one, or one that is not saved yet."""
    return DryRunView.of(await cases.dry_runs.run(caller, id, body.values()))


@router.post("/{id}/replay", summary="Run past calls on a dialplan again")
async def replay(id: str, body: ReplayBody, caller: Caller, cases: Cases) -> ReplayView:
    """What the legs answered then they answer again, and nothing rings."""
    values = {name: value for name, value in body.given().items() if name != "calls"}
    found = await cases.dry_runs.replay(caller, id, body.calls, values)
    return ReplayView(
        calls=[_replayed(one) for one in found.calls],
        skipped=[SkippedView(id=key, reason=reason) for key, reason in found.skipped],
    )


def _replayed(one: Replayed) -> ReplayedView:
    return ReplayedView(
        id=one.id,
        differs=one.differs,
        unsure=one.unsure,
        dialled_before=list(one.dialled_before),
        dialled_now=list(one.dialled_now),
        status_before=one.status_before,
        status_now=one.status_now,
        now=DryRunView.of(one.now),
    )
