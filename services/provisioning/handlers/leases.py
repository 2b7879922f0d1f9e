"""Which appserver registers at which provider: what each of them asks every two seconds.

All of one call happens in one transaction, which has its turn at writing among all instances; what
it costs in statements does not depend on how many providers there are. A node that knows its list
already is told so: to look whether it changed is little work, to make it much.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.provisioning.domain.leases import (
    LEASE_SECONDS,
    MAX_NODE,
    Held,
    chosen,
    report_of,
    version_of,
)
from services.provisioning.domain.scope import EVERYTHING
from services.provisioning.handlers.notices import Notices
from services.provisioning.handlers.sealing import Sealing
from services.provisioning.ports import Store, Work
from tandem.rpc.programs import Holding, Lease, RegistrationReport


class Leases:
    """The use case."""

    def __init__(self, store: Store, notices: Notices, sealing: Sealing) -> None:
        self._store = store
        self._notices = notices
        self._sealing = sealing

    async def lease(
        self,
        node: str,
        reports: Sequence[RegistrationReport],
        *,
        leaving: bool = False,
        known: str = "",
    ) -> Holding:
        """See `tandem.rpc.programs.Programs.lease`."""
        node = node[:MAX_NODE]
        # a report may be the first that is heard of what is to be ended: made while we were away
        if not reports and not await self._is_needed():
            return Holding()
        held: Sequence[Held] = ()
        nodes: Sequence[str] = ()
        version = ""
        async with self._store.write(EVERYTHING) as work:
            now = await work.leases.now()
            if not leaving:
                await work.leases.renew(node, now + LEASE_SECONDS)
            refused = await _take_reports(work, node, reports)
            if leaving:
                await work.leases.leave(node)
            else:
                nodes = await _take_orphans(work, node, now)
                version = version_of(await work.leases.states(node), nodes)
                if version != known:
                    held = await work.leases.held_by(node)
        self._notices.providers(one.provider for one in refused)
        if version and version == known:
            return Holding(version=version, unchanged=True)
        return self._holding(node, held, nodes, version)

    async def _is_needed(self) -> bool:
        """Where nobody has a provider nothing is written, or a quiet machine would write to its
        disk every other second."""
        async with self._store.read(EVERYTHING) as work:
            return await work.leases.anything()

    def _holding(
        self, node: str, held: Sequence[Held], nodes: Sequence[str], version: str
    ) -> Holding:
        """Those whose secrets can't be opened are left out: nothing can be done with them here,
        but another instance may have the key, and so the list has no name."""
        made = (self._lease(node, one, nodes) for one in held)
        leases = [lease for lease in made if lease is not None]
        return Holding(leases=leases, version=version if len(leases) == len(held) else "")

    def _lease(self, node: str, held: Held, nodes: Sequence[str]) -> Lease | None:
        provider, opened = self._sealing.provider(held.provider, owner_enabled=held.owner_enabled)
        if not opened:
            return None
        moved = held.wanted and chosen(provider.id, nodes) != node
        seconds = LEASE_SECONDS if held.wanted and not moved else 0.0
        return Lease(provider=provider, seconds=seconds, moved=moved, last=report_of(held.binding))


async def _take_reports(work: Work, node: str, reports: Sequence[RegistrationReport]) -> list[Held]:
    """Take what the holder tells; reports of what it does not hold are old. Returns those that
    were refused for good."""
    if not reports:
        return []
    found = await work.leases.held_by(node, [report.provider for report in reports])
    held = {one.provider.id: one for one in found}
    told: dict[str, Held] = {}
    for report in reports:
        if report.provider in held:
            held[report.provider] = told[report.provider] = held[report.provider].told(report)
    await work.leases.store([one.binding for one in told.values()])
    refused = [held[r.provider] for r in reports if r.disable and r.provider in told]
    if refused:
        await work.leases.give_up(one.provider.id for one in refused)
    released = [key for key, one in told.items() if one.binding.node is None]
    if released:
        await work.leases.forget(released)
    return refused


async def _take_orphans(work: Work, node: str, now: float) -> Sequence[str]:
    """Give the node what falls to it of what no live one holds; returns the live nodes."""
    nodes = await work.leases.nodes(now)
    found = await work.leases.orphans(now)
    mine = [orphan for orphan in found if chosen(orphan.provider, nodes) == node]
    if mine:
        await work.leases.take(node, mine)
    return nodes
