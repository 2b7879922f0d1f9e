"""Dry runs and replays: what a dialplan would do with a call, and with past ones, before it is
published.

The customer's own things (accounts and their phones, providers, stored values) are as they are now;
what the outside would answer says who asks, or what it answered then. Nothing rings and nothing
is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from services.provisioning.domain.errors import Conflict, Invalid, NotFound, invalid
from services.provisioning.domain.pastcalls import (
    Known,
    Malformed,
    NotReplayable,
    dialplan_of,
    past_call,
    place,
)
from services.provisioning.domain.rules import DIALPLAN_RULES, clean
from services.provisioning.domain.scope import Scope
from services.provisioning.handlers.owning import LOCAL
from services.provisioning.ports import Clock, Store, Work
from tandem.dialplan import dryrun
from tandem.dialplan.dryrun import DryRun, PastCall, Replayed
from tandem.dialplan.scene import AccountIs, Scene, incoming_call
from tandem.dialplan.script import Dialplan, Language, Runner
from tandem.rpc.sessions import Principal
from tandem.sip.uri import Uri

Runners = Callable[[Language], Awaitable[Runner | None]]
"""The runner of a language, ready; None if there is none."""

RUN_SECONDS: Final = 30.0
"""How long a dry run may take; nothing in it waits, so a second is much."""
MANY: Final = 10_000
"""Accounts, domains and values that a scene may hold."""
_SCENE: Final = frozenset(field.name for field in fields(Scene))
_PROGRAM: Final = ("language", "source")


@dataclass(frozen=True, slots=True)
class Replay:
    """Past calls on another version, and those that could not be replayed: their ids and why."""

    calls: list[Replayed]
    skipped: list[tuple[str, str]]


class DryRuns:
    """The use cases. Each customer has one at a time, and what he has is read for that one."""

    def __init__(self, store: Store, runners: Runners, clock: Clock) -> None:
        self._store = store
        self._runners = runners
        self._clock = clock
        self._running: set[str] = set()

    async def run(self, caller: Principal, key: str | None, values: Mapping[str, Any]) -> DryRun:
        """Run a stored dialplan (its published version, another `version`, or with the program
        that `values` holds), or with no `key` that program alone. Raises NotFound, Invalid,
        Conflict."""
        program = {name: values[name] for name in _PROGRAM if name in values}
        program = clean(DIALPLAN_RULES, program)
        async with self._store.read(Scope.of(caller)) as work:
            dialplan = await _dialplan(work, caller, key, values.get("version"), program)
        call = incoming_call(
            values["caller"],
            values["destination"],
            customer=dialplan.owner,
            direction=values.get("direction", "out"),
            name=values.get("caller_name", ""),
        )
        runner = await self._runners(dialplan.language)
        if runner is None:
            raise invalid("language", "dialplans of this language can't be run dry")
        async with self._turn(dialplan.owner):
            # whoever asks, a run sees what is its owner's
            async with self._store.read(Scope(dialplan.owner)) as work:
                scene = await _scene(work, self._clock())
            scene = replace(scene, **{k: v for k, v in values.items() if k in _SCENE})
            return await dryrun.dry_run(runner, dialplan, call, scene)

    async def replay(
        self,
        caller: Principal,
        key: str,
        calls: Sequence[Mapping[str, Any]],
        values: Mapping[str, Any],
    ) -> Replay:
        """Run past calls, as the events API shows them, again; `values` as for `run`. Those for
        which another dialplan ran are skipped. Raises NotFound, Invalid, Conflict."""
        program = clean(DIALPLAN_RULES, {n: values[n] for n in _PROGRAM if n in values})
        async with self._store.read(Scope.of(caller)) as work:
            dialplan = await _dialplan(work, caller, key, values.get("version"), program)
        runner = await self._runners(dialplan.language)
        if runner is None:
            raise invalid("language", "dialplans of this language can't be run dry")
        async with self._turn(dialplan.owner):
            async with self._store.read(Scope(dialplan.owner)) as work:
                scene = await _scene(work, self._clock())
                known = await _known(work, self._clock())
            past, skipped = _past(calls, dialplan, scene, known)
            return Replay(await dryrun.replay(runner, dialplan, past), skipped)

    @asynccontextmanager
    async def _turn(self, owner: str) -> AsyncIterator[None]:
        if owner in self._running:
            raise Conflict("Another dry run is under way; wait for its end.")
        self._running.add(owner)
        try:
            async with asyncio.timeout(RUN_SECONDS):
                yield
        except TimeoutError:
            raise Conflict(f"The dry run did not end within {RUN_SECONDS:g} s.") from None
        finally:
            self._running.discard(owner)


async def _dialplan(
    work: Work,
    caller: Principal,
    key: str | None,
    version: int | None,
    program: Mapping[str, Any],
) -> Dialplan:
    """What is to be run, with what its owner's runs may do."""
    if key is None:
        missing = [name for name in _PROGRAM if name not in program]
        if missing:
            raise Invalid([(name, "is needed") for name in missing])
        customer = await work.customers.get(caller.username)
        zone = customer.timezone if customer else "UTC"
        return Dialplan(
            id="", owner=caller.username, name="dry run", version=0, timezone=zone, **program
        )
    stored = await work.dialplans.get(key)
    if stored is None:
        raise NotFound("There is no such dialplan.")
    found = await work.dialplans.for_switch(stored.owner, stored.name)
    assert found is not None
    if version is not None:
        kept = await work.dialplans.version(key, version)
        if kept is None or kept.source is None:
            raise NotFound("There is no such version, or it is not kept any more.")
        found = replace(found, version=version, language=kept.language, source=kept.source)
    return replace(found, **program)


def _past(
    calls: Sequence[Mapping[str, Any]], dialplan: Dialplan, scene: Scene, known: Known
) -> tuple[list[PastCall], list[tuple[str, str]]]:
    past: list[PastCall] = []
    skipped: list[tuple[str, str]] = []
    for number, shown in enumerate(calls):
        try:
            ran = dialplan_of(shown)
            if ran and ran.lower() != dialplan.name.lower():
                raise NotReplayable(f"the dialplan {ran} ran for it")
            past.append(past_call(shown, dialplan.owner, scene, known))
        except Malformed as fault:
            raise invalid(f"calls.{number}", str(fault)) from None
        except NotReplayable as fault:
            skipped.append((str(shown.get("id", "")), str(fault)))
    return past, skipped


async def _known(work: Work, now: float) -> Known:
    providers = (await work.providers.page(0, MANY)).items
    return Known(
        hosts={p.name.lower(): place(Uri.parse(p.server)) for p in providers if p.server},
        contacts={b.contact: b.aor.lower() for b in await work.bindings.live(now)},
    )


async def _scene(work: Work, now: float) -> Scene:
    accounts = (await work.accounts.page(0, MANY)).items
    phones: dict[str, int] = {}
    for binding in await work.bindings.live(now):
        phones[binding.aor.lower()] = phones.get(binding.aor.lower(), 0) + 1
    served = (await work.domains.page(0, MANY)).items
    domains = {LOCAL: served[0].name} if served else {}
    providers = (await work.providers.page(0, MANY)).items
    for domain in served:
        domains |= dict.fromkeys((domain.name, *domain.aliases), domain.name)
    return Scene(
        at=now,
        accounts=tuple(
            AccountIs(
                user=a.username,
                domain=a.domain,
                phones=phones.get(a.aor.lower(), 0),
                enabled=a.enabled,
                dialplan=a.in_dialplan or "",
            )
            for a in accounts
        ),
        domains=domains,
        providers=tuple(p.name for p in providers if p.enabled),
        disabled=tuple(p.name for p in providers if not p.enabled),
        values={v.key: v.value for v in (await work.values.page(0, MANY)).items},
    )
