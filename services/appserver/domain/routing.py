"""Default routing: whose call is it, may it be made, and where does it ring?

A request whose From names a serviced domain is an outgoing one of that account, which must prove
itself; any other is incoming if its Request-URI names a serviced domain. What is neither is
refused: we are no relay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from services.appserver.domain.domains import Domains
from services.appserver.domain.location import proxy_of
from services.appserver.domain.plan import SELF, CallPlan, NextHop, Target
from services.appserver.domain.proxies import Proxies
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.sip.uri import Uri

MAX_PROXIES: Final = 2
"""Proxies tried in place of one that is away."""
RELIABLE: Final = frozenset({"tcp", "tls", "ws", "wss"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of a plan."""

    status: int
    reason: str
    headers: tuple[str, ...] = ()


NOT_SERVICED: Final = Refusal(404, "Domain not serviced")
NO_SUCH_USER: Final = Refusal(404, "Not Found")
NO_USER_PART: Final = Refusal(484, "Address Incomplete")
DISABLED: Final = Refusal(403, "Account is disabled")
SUSPENDED: Final = Refusal(604, "Customer is suspended")
NOT_REGISTERED: Final = Refusal(480, "Not registered")
NOT_RESOLVED: Final = Refusal(404, "Destination cannot be resolved")
BAD_SCHEME: Final = Refusal(416, "Unsupported URI Scheme")


@dataclass(frozen=True, slots=True)
class Parties:
    """The two ends of a request, as far as they are ours (canonical domains, None if not)."""

    from_domain: str | None
    to_domain: str | None
    to_user: str


class Address(Protocol):
    """A resolved address outside."""

    @property
    def transport(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def server_name(self) -> str | None: ...


def parties(from_uri: Uri, request_uri: Uri, domains: Domains) -> Parties | Refusal:
    """Whose request is it? A tel URI is looked up in the caller's own domain."""
    caller = domains.serviced(from_uri.host, from_uri.port) if from_uri.is_sip else None
    if request_uri.is_sip:
        callee = domains.serviced(request_uri.host, request_uri.port)
        user = request_uri.unescaped_user
    elif request_uri.scheme == "tel":
        callee = caller or domains.default
        user = request_uri.opaque.partition(";")[0]
    else:
        return BAD_SCHEME
    if caller is None and callee is None:
        return NOT_SERVICED
    return Parties(caller, callee, user)


def candidates(user: str) -> tuple[str, ...]:
    """The accounts that a user part may mean: itself, else what follows its last dot
    (`anything.username` reaches `username`)."""
    tail = user.rpartition(".")[2]
    return (user, tail) if tail and tail != user else (user,)


def objection(account: Account) -> Refusal | None:
    """Why this account may neither call nor be called."""
    if not account.owner_enabled:
        return SUSPENDED
    return None if account.enabled else DISABLED


def targets(bindings: Iterable[Binding], proxies: Proxies, now: float) -> tuple[Target, ...]:
    """All bindings at once that can be reached. The Request-URI is the Contact as the phone sent
    it (RFC 3261 §16.6 step 2), the way is the Path of its REGISTER (RFC 3327 §5.3)."""
    return tuple(
        Target(b.contact, hops, b.aor)
        for b in sorted(bindings, key=lambda b: (-b.q, b.registered_at))
        if (hops := reachable(to_binding(b), proxies, now))
    )


def reachable(hop: NextHop, proxies: Proxies, now: float) -> tuple[NextHop, ...]:
    """This way, and where its proxy is away those by other proxies; none for a connection, which
    is gone with the proxy that held it."""
    if not proxies.away(hop.proxy, now):
        return (hop,)
    if not hop.movable:
        return ()
    others = proxies.others(hop.proxy, now, hop.text)[:MAX_PROXIES]
    return tuple(hop.through(other) for other in others)


def to_binding(binding: Binding) -> NextHop:
    """The way to a phone: the flow that it registered over."""
    transport = binding.received.partition(":")[0]
    return NextHop(
        proxy_of(binding.path[0]), binding.path, transport in RELIABLE, True, binding.received
    )


def to_outside(address: Address, proxy: str) -> NextHop:
    """The way to an address, through this proxy."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    text = f"{address.transport}:{host}:{address.port}"
    sni = f";sni={address.server_name}" if address.server_name else ""
    route = f"<sip:{proxy};lr;dst={text}{sni}>"
    return NextHop(proxy, (route,), address.transport in RELIABLE, False, text)


def to_self() -> NextHop:
    """The way back to ourselves, for a leg to an account whose own dialplan is to be run."""
    return NextHop(SELF, (), True, True, SELF)


def outside(uri: Uri, hops: Sequence[Address], proxy: str) -> Target:
    """A destination that is not ours."""
    return Target(str(uri), tuple(to_outside(hop, proxy) for hop in hops))


def plan(caller: Account | None, callee: Account | None, to: tuple[Target, ...]) -> CallPlan:
    """Put a plan together; the shorter limit of the two ends holds."""
    owners = tuple(dict.fromkeys(a.owner for a in (caller, callee) if a is not None))
    limits = [a.max_call_seconds for a in (caller, callee) if a is not None and a.max_call_seconds]
    direction = "out" if caller is not None else "in"
    return CallPlan(direction, owners, caller, callee, to, min(limits, default=0))


def limited(made: CallPlan, seconds: int) -> CallPlan:
    """The plan under the node's own limit of a call's duration (0: none)."""
    if not seconds or 0 < made.max_seconds <= seconds:
        return made
    return replace(made, max_seconds=seconds)
