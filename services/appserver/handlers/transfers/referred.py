"""Where the target of a REFER is rung, by who sent it:

an account with an outgoing dialplan ─► that dialplan, as for a call of its own
an account without one               ─► default routing, as for a call of its own
somebody outside                     ─► the customer's dialplan `transfer`; without one, accounts of
                                        our domains and nobody else: it pays for no calls
"""

from __future__ import annotations

from typing import Final

from services.appserver.domain.routing import objection
from services.appserver.domain.transfers import TRANSFER_DIALPLAN
from services.appserver.handlers.dialplans.engine import Engine
from services.appserver.handlers.dialplans.flight import Flight
from services.appserver.handlers.dialplans.resolve import Run
from services.appserver.handlers.dialplans.services import Services
from services.appserver.handlers.transfers import facts
from services.appserver.ports import Referral
from tandem.dialplan.dialstring import Attempt, DialString, Leg
from tandem.dialplan.failover import Policy
from tandem.dialplan.world import Dial, DialplanError, Ended
from tandem.rpc.directory import Account, DirectoryUnavailable
from tandem.sip.uri import Uri

DIAL_SECONDS: Final = 180.0
"""Longest ring."""


class Referred:
    """For one appserver."""

    def __init__(self, services: Services, engine: Engine) -> None:
        self._services = services
        self._tools = services.tools
        self._engine = engine

    async def ring(self, flight: Flight, referral: Referral) -> None:
        """Ring the target until somebody answers, or refuse."""
        try:
            account = await self._account(referral.account)
            if referral.account and account is None:
                flight.refuse(403, "The account is gone")
            elif account is not None and (refusal := objection(account)) is not None:
                flight.refuse(refusal.status, refusal.reason)
            else:
                await self._route(flight, referral, account)
        except DirectoryUnavailable:
            flight.refuse(503, "Directory does not answer")
        except DialplanError as error:
            flight.refuse(484, str(error))
        except Ended:
            return

    async def _account(self, aor: str) -> Account | None:
        user, _, domain = aor.rpartition("@")
        return await self._services.lookups.account(user, domain) if aor else None

    async def _route(self, flight: Flight, referral: Referral, account: Account | None) -> None:
        customer = account.owner if account is not None else next(iter(referral.owners), "")
        domain = account.domain if account is not None else self._tools.domains.default or ""
        dialplan = account.out_dialplan if account is not None else await self._own(customer)
        req = facts.referred(referral, customer, domain)
        tools = self._tools
        run = Run.of(req, dialplan or "", facts.leaving_by(tools, referral.proxy))
        if dialplan:
            await self._engine.fly(flight, run)
            return
        uri = Uri.parse(req.uri)
        if tools.domains.serviced(uri.host, uri.port) is None and (
            account is None or "." not in uri.host.strip(".")
        ):  # a host without a dot might be the name of one of the customer's providers
            flight.refuse(403, "Not a destination for a transfer")
            return
        await self._dial(flight, run, uri)

    async def _own(self, customer: str) -> str:
        """The customer's dialplan for transfers, "" for none."""
        found = await self._services.programs.dialplan(customer, TRANSFER_DIALPLAN)
        return found.name if found is not None else ""

    async def _dial(self, flight: Flight, run: Run, uri: Uri) -> None:
        dial = Dial(str(uri), ring_seconds=DIAL_SECONDS)
        string = DialString((Attempt((Leg(uri, written=True),)),))
        outcome = await self._services.dialer.ring(
            run, dial, string, Policy.parse(dial.failover), flight
        )
        flight.refuse(outcome.sip_status, outcome.reason)
