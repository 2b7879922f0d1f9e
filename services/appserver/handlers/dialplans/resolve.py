"""From the legs of one attempt to targets, in the order of ORIGINAL §2:

1. a host that is ours: the account, its user part exact or what follows the last dot. One with an
   incoming dialplan of its own is called through that, as from anywhere; else all its phones ring.
2. the name of one of the customer's providers: its server, with its credentials, From and headers.
3. any other SIP URI, by RFC 3263.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from services.appserver.domain.plan import LegOptions, NextHop, Target
from services.appserver.domain.routing import objection, targets, to_outside
from services.appserver.handlers.dialplans.dress import Dress
from services.appserver.handlers.dialplans.lookups import Lookups
from services.appserver.handlers.tools import Tools
from services.appserver.ports import OutsideHop
from tandem.dialplan.dialstring import Attempt, DialStringError, Leg, parse
from tandem.dialplan.substitute import Values, in_uri
from tandem.dialplan.world import DialplanError, Incoming, LegResult
from tandem.rpc.directory import Account, DirectoryUnavailable
from tandem.rpc.programs import Provider
from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri, unescape

MAX_DEPTH: Final = 8
"""Accounts whose incoming dialplans may run one inside the other for one call."""
RAN: Final = "ran"
"""The parameter of a Request-URI that names them on the way back into this appserver. Who sends it
from outside can only have fewer dialplans run for his own call."""

# A provider's name has no dot, and a leg to one no port.
_NAME_RE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SEPARATORS_RE: Final = re.compile(r"[-.()\s]")

ToSelf = Callable[[], NextHop]
"""The way back into this appserver, on which an INVITE arrives as an ordinary incoming call."""


@dataclass(slots=True, eq=False)
class Run:
    """The run of a dialplan that dials."""

    req: Incoming
    dialplan: str
    """Its name."""
    proxy: str
    """The link address of the proxy that the call came through."""
    ran: tuple[str, ...] = ()
    """The AORs of the accounts whose incoming dialplans run for this call, this one included."""
    legs: int = 0
    """How many have been rung."""
    call_id: str = ""
    """The call that it runs for, for what has no call of its own yet."""
    values: Values = field(default_factory=Values)
    caller: Address | None = None
    """Whom its legs see calling; None: who called, as `values` has it."""

    @classmethod
    def of(cls, req: Incoming, dialplan: str, proxy: str) -> Run:
        """A run that begins."""
        before = _ran(req.uri)
        own = (req.account.lower(),) if req.direction == "in" and req.account else ()
        return cls(req, dialplan, proxy, (*before, *own), values=Values.of(req))


def _ran(uri: str) -> tuple[str, ...]:
    try:
        text = Uri.parse(uri).param(RAN) or ""
    except BadMessage:
        return ()
    return tuple(unescape(aor).lower() for aor in text.split("+")[:MAX_DEPTH] if aor)


class Nowhere(Exception):
    """A leg that can't be rung; `status` and `reason` are what its dialplan hears of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class Resolved:
    """What became of the legs of an attempt."""

    targets: list[Target] = field(default_factory=list)
    nowhere: list[LegResult] = field(default_factory=list)


class Resolver:
    """Resolves legs for all runs of an appserver. Without `to_self` an account's own incoming
    dialplan is passed over, and its phones ring."""

    def __init__(self, tools: Tools, lookups: Lookups, to_self: ToSelf | None = None) -> None:
        self._tools = tools
        self._lookups = lookups
        self._to_self = to_self

    async def providers(self, run: Run, legs: Iterable[Leg]) -> dict[str, Provider] | None:
        """The customer's providers by their names in lower case, if a leg may go to one; None if
        nobody can say. Raises DialplanError for a leg to one that is not called by SIP."""
        names = {leg.uri.host.lower() for leg in legs if self._may_be_provider(leg)}
        if not names:
            return {}
        try:
            found = await self._lookups.providers(run.req.customer)
        except DirectoryUnavailable:
            return None
        named = {each.name.lower(): each for each in found}
        for name in names & named.keys():
            if named[name].callback is not None:
                raise DialplanError(
                    f"provider {named[name].name} is not called by SIP, it calls back: "
                    f'use sys.provider_callback("{named[name].name}", number)'
                )
        return named

    def _may_be_provider(self, leg: Leg) -> bool:
        uri = leg.uri
        return (
            uri.is_sip
            and leg.login is None
            and uri.port is None
            and _NAME_RE.fullmatch(uri.host) is not None
            and not (uri.user is None and leg.written)
            and self._tools.domains.serviced(uri.host) is None
        )

    def is_foreign(self, uri: str) -> bool:
        """Whether a URI that somebody outside wrote leads to an account or outside. One with the
        name of a provider would be dialled through that, at the customer's cost."""
        try:
            legs = parse(f"<{uri}>").legs
        except DialStringError:
            return False
        return not any(map(self._may_be_provider, legs))

    async def resolve(
        self, run: Run, dress: Dress, attempt: Attempt, providers: dict[str, Provider] | None
    ) -> Resolved:
        """The targets of an attempt, without those that are the same twice. All legs are looked up
        at once."""
        made = Resolved()
        seen = set()
        work = [self._tried(run, dress, leg, providers) for leg in attempt.legs]
        for found in [await work[0]] if len(work) == 1 else await asyncio.gather(*work):
            if isinstance(found, LegResult):
                made.nowhere.append(found)
                continue
            for target in found:
                key = (target.uri, target.hops[0].text, target.options.provider)
                if key not in seen:
                    made.targets.append(target)
                seen.add(key)
        return made

    async def _tried(
        self, run: Run, dress: Dress, leg: Leg, providers: dict[str, Provider] | None
    ) -> Sequence[Target] | LegResult:
        """The targets of a leg, or why there is none."""
        try:
            return await self._leg(run, dress, leg, providers)
        except Nowhere as why:
            return LegResult(leg.name, "", why.status, why.reason)
        except DirectoryUnavailable:
            return LegResult(leg.name, "", 503, "The directory does not answer")

    async def _leg(
        self, run: Run, dress: Dress, leg: Leg, providers: dict[str, Provider] | None
    ) -> Sequence[Target]:
        uri = leg.uri
        if leg.login is not None:
            uri = uri if uri.user or leg.written else replace(uri, user=_dialled(run, leg))
            return [await self._outside(run, uri, dress.login(leg, leg.login))]
        if not uri.is_sip:
            user, domain = self._telephone(run, uri)
            return await self._local(run, dress, leg, user, domain)
        ours = self._tools.domains.serviced(uri.host, uri.port)
        if ours is not None:
            if not uri.user:
                raise Nowhere(484, f"No user before {uri.host}")
            return await self._local(run, dress, leg, uri.unescaped_user, ours)
        if self._may_be_provider(leg):
            return [await self._provider(run, dress, leg, providers)]
        return [await self._outside(run, uri, dress.plain(leg))]

    # -- accounts ------------------------------------------------------------------------------

    def _telephone(self, run: Run, uri: Uri) -> tuple[str, str]:
        """A tel URI is a user of the domain that the dialplan's account is in, as one that a phone
        dials is of its own (`routing.parties`)."""
        number = _SEPARATORS_RE.sub("", unescape(uri.opaque.partition(";")[0]))
        domain = run.req.account.rpartition("@")[2] or self._tools.domains.default
        if not domain:
            raise Nowhere(404, "There is no domain for a telephone number")
        return number, domain

    async def _local(
        self, run: Run, dress: Dress, leg: Leg, user: str, domain: str
    ) -> Sequence[Target]:
        account = await self._lookups.callee(user, domain)
        if account is None:
            raise Nowhere(404, f"There is no account {user}@{domain}")
        refusal = objection(account)
        if refusal is not None:
            raise Nowhere(refusal.status, refusal.reason)
        options = dress.plain(leg)
        if self._to_self is not None and account.in_dialplan and not self._runs(run, account):
            return [self._looped(run, account, user, self._to_self(), options)]
        tools = self._tools
        live = tools.table.callable(account.aor, tools.wall())
        phones = targets(live, tools.proxies, tools.clock())
        if not phones:
            raise Nowhere(480, "Not registered")
        return [replace(phone, options=options) for phone in phones]

    def _runs(self, run: Run, account: Account) -> bool:
        """Whether this account's incoming dialplan is the one that runs."""
        return account.owner == run.req.customer and account.in_dialplan == run.dialplan

    def _looped(
        self, run: Run, account: Account, user: str, hop: NextHop, options: LegOptions
    ) -> Target:
        """A call of this account through its own dialplan, unless that waits for this very call:
        two accounts that forward to each other would do so for ever."""
        aor = account.aor.lower()
        if aor in run.ran or len(run.ran) >= MAX_DEPTH:
            raise Nowhere(482, "Loop Detected: its dialplan runs for this call already")
        ran = "+".join(quote(each, safe="-_.!~*'()") for each in run.ran)
        uri = Uri("sip", in_uri(user), None, account.domain)
        return Target(
            str(uri.with_params(**{RAN: ran}) if ran else uri), (hop,), account.aor, options
        )

    # -- outside -------------------------------------------------------------------------------

    async def _provider(
        self, run: Run, dress: Dress, leg: Leg, providers: dict[str, Provider] | None
    ) -> Target:
        if providers is None:
            raise Nowhere(503, "Providers are not known just now")
        provider = providers.get(leg.uri.host.lower())
        if provider is None:
            raise Nowhere(404, f"There is no provider and no domain {leg.uri.host}")
        if not (provider.enabled and provider.owner_enabled):
            raise Nowhere(403, f"Provider {provider.name} is disabled")
        user = leg.uri.user or _dialled(run, leg)
        try:
            server = Uri.parse(provider.server)
            edge = Uri.parse(provider.outbound_proxy) if provider.outbound_proxy else None
        except BadMessage:
            raise Nowhere(500, f"The server of provider {provider.name} is no URI") from None
        names = {name.lower() for name, _ in leg.uri.params}
        params = tuple(each for each in server.params if each[0].lower() not in names | {"lr"})
        uri = replace(server, user=user, params=(*params, *leg.uri.params), headers="")
        return await self._outside(run, uri, dress.provider(leg, provider, server), edge)

    async def _outside(
        self, run: Run, uri: Uri, options: LegOptions, edge: Uri | None = None
    ) -> Target:
        """A target by RFC 3263, through this outbound proxy if there is one."""
        uri = replace(uri, headers="")
        way = edge or uri
        if not _resolvable(way.host):
            raise Nowhere(404, f"{way.host} is no host outside")
        against = self._lookups.objection
        hops = () if against(uri) or against(way) else await self._lookups.hops(way)
        if not hops:
            closed = against(uri) or against(way)
            raise Nowhere(403 if closed else 404, closed or "Destination cannot be resolved")
        tools = self._tools
        proxy = tools.proxies.through(run.proxy, tools.clock(), run.req.call_id)
        route = f"<{edge.with_params(lr='')}>" if edge is not None else ""
        return Target(str(uri), tuple(_hop(hop, proxy, route) for hop in hops), options=options)


def _dialled(run: Run, leg: Leg) -> str:
    """The user part for a leg that names none: what the caller dialled."""
    if not run.values.dst:
        raise Nowhere(484, f"No number for {leg.uri.host}")
    return in_uri(run.values.dst)


def _hop(hop: OutsideHop, proxy: str, route: str) -> NextHop:
    made = to_outside(hop, proxy)
    return replace(made, route=(*made.route, route)) if route else made


def _resolvable(host: str) -> bool:
    """A name without a dot would be looked up in whatever network the switch runs in."""
    return "." in host.strip(".") or host.startswith("[")
