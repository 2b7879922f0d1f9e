"""What a REGISTER asks for and what comes of it: RFC 3261 §10.3, RFC 3327, RFC 5626 §6.

    wishes(request) ──► Wishes ──► apply(wishes, present bindings) ──► Outcome | Rejected

Everything is decided before anything is stored: a REGISTER changes all that it asks for or
nothing ("the registrar MUST ... either all or none").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.appserver.domain.versions import find, key
from tandem.bus.location import Binding
from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request

MAX_CONTACTS: Final = 20
"""Contacts in one REGISTER; a real phone sends one, or two for two address families."""
UNREGISTERED: Final = "unregistered"
"""The reason of a binding that its phone took away."""
MAX_PATH: Final = 10
"""Path values of one binding: each is stored, and costs a Route in every call."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and the account's limit of bindings."""

    min_expires: int
    max_expires: int
    default_expires: int
    max_bindings: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """The REGISTER changes nothing."""

    status: int
    reason: str
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """One Contact of a REGISTER; `expires` 0 takes it away."""

    contact: str
    q: float
    instance: str
    reg_id: int
    expires: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do: `added` and `refreshed` are to be stored, `removed` to be taken away, each with
    its reason. `outbound`: RFC 5626 was used, the answer says so."""

    added: tuple[Binding, ...] = ()
    refreshed: tuple[Binding, ...] = ()
    removed: tuple[tuple[Binding, str], ...] = ()
    outbound: bool = False


@dataclass(frozen=True, slots=True)
class Registration:
    """A REGISTER as its answerer sees it: all that goes into a binding but the Contact."""

    aor: str
    owner: str
    received: str
    path: tuple[str, ...]
    call_id: str
    cseq: int
    user_agent: str
    node: str
    proxy: str
    wall: float


def wishes(request: Request, limits: Limits) -> list[Wish] | Rejected | None:
    """The Contacts of a REGISTER; None for the `*` that takes all away, an empty list for a
    query. Raises BadMessage."""
    values = request.items("contact")
    if not values:
        return []
    if "*" in values:
        return _star(request, values)
    if len(values) > MAX_CONTACTS:
        return Rejected(403, "Too many contacts")
    header = request.first("expires")
    default = limits.default_expires if header is None else _seconds(header, limits)
    found: list[Wish] = []
    for value in values:
        wish = _wish(Address.parse(value), default, limits)
        if 0 < wish.expires < limits.min_expires:
            return Rejected(423, "Interval Too Brief", (f"Min-Expires: {limits.min_expires}",))
        found.append(wish)
    return found


def _star(request: Request, values: list[str]) -> Rejected | None:
    """§10.2.2: "The "*" value can only be used ... with Expires of 0"; §10.3 step 6: else 400."""
    header = request.first("expires")
    if len(values) > 1 or header is None or header.strip() != "0":
        return Rejected(400, "Contact * needs Expires 0 and no other Contact")
    return None


def _wish(address: Address, default: int, limits: Limits) -> Wish:
    expires = address.param("expires")
    return Wish(
        str(address.uri),
        _q(address.param("q")),
        (address.param("+sip.instance") or "").strip(),
        _reg_id(address.param("reg-id")),
        default if expires is None else _seconds(expires, limits),
    )


def _seconds(text: str, limits: Limits) -> int:
    """§10.2.1.1: "Malformed values SHOULD be treated as equivalent to 3600"."""
    text = text.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        return limits.default_expires
    return min(int(text), limits.max_expires)


def _q(text: str | None) -> float:
    # qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )
    if text is None:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        raise BadMessage("Malformed q") from None
    if not 0.0 <= value <= 1.0:
        raise BadMessage("q out of range")
    return value


def _reg_id(text: str | None) -> int:
    """RFC 5626 §4.2.1: 1 to 2**31 - 1."""
    if text is None:
        return 0
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:12]) < 2**31:
        raise BadMessage("Malformed reg-id")
    return int(text)


def apply(
    what: list[Wish] | None,
    registration: Registration,
    present: tuple[Binding, ...],
    limits: Limits,
) -> Outcome | Rejected:
    """Decide. `present` are the AOR's live bindings."""
    if what is None:
        if any(_out_of_order(registration, binding) for binding in present):
            return OUT_OF_ORDER
        return Outcome(removed=tuple((ended(b, registration), UNREGISTERED) for b in present))
    added: list[Binding] = []
    refreshed: list[Binding] = []
    removed: list[tuple[Binding, str]] = []
    for wish in what:
        binding = _binding(wish, registration)
        old = find(present, binding)
        if old is not None and _out_of_order(registration, old):
            return OUT_OF_ORDER
        if wish.expires:
            _replace(refreshed if old is not None else added, binding)
        elif old is not None:
            removed.append((ended(old, registration), UNREGISTERED))
    return _within_limit(present, added, refreshed, removed, limits)


OUT_OF_ORDER: Final = Rejected(500, "CSeq is not above the last one")


def _out_of_order(registration: Registration, binding: Binding) -> bool:
    """§10.3 step 7: of one Call-ID, only a higher CSeq may change a binding."""
    return binding.call_id == registration.call_id and registration.cseq <= binding.cseq


def _binding(wish: Wish, registration: Registration) -> Binding:
    return Binding(
        registration.aor,
        registration.owner,
        wish.contact,
        registration.received,
        registration.path,
        wish.q,
        wish.instance,
        wish.reg_id if wish.instance else 0,
        registration.call_id,
        registration.cseq,
        registration.user_agent,
        registration.wall,
        registration.wall + wish.expires,
        registration.node,
        registration.proxy,
    )


def ended(old: Binding, registration: Registration) -> Binding:
    """The binding as its removal is told to the other nodes: by whom and when it was ended, so
    that no older version of it comes back."""
    return Binding(
        old.aor, old.owner, old.contact, old.received, old.path, old.q, old.instance, old.reg_id,
        registration.call_id, registration.cseq, old.user_agent,
        registration.wall, old.expires_at, registration.node, old.proxy,
    )  # fmt: skip


def _replace(into: list[Binding], binding: Binding) -> None:
    """A Contact that is listed twice counts once, the last time."""
    same = find(into, binding)
    if same is not None:
        into.remove(same)
    into.append(binding)


def _within_limit(
    present: tuple[Binding, ...],
    added: list[Binding],
    refreshed: list[Binding],
    removed: list[tuple[Binding, str]],
    limits: Limits,
) -> Outcome | Rejected:
    """At the account's limit the bindings that were renewed longest ago give way."""
    outbound = any(b.reg_id for b in (*added, *refreshed))
    if not added:
        return Outcome((), tuple(refreshed), tuple(removed), outbound)
    if limits.max_bindings and len(added) + len(refreshed) > limits.max_bindings:
        return Rejected(403, "More contacts than the account may have")
    touched = {key(b) for b in (*refreshed, *(b for b, _ in removed))}
    rest = [b for b in present if key(b) not in touched and find(refreshed, b) is None]
    over = len(rest) + len(added) + len(refreshed) - limits.max_bindings
    if limits.max_bindings and over > 0:
        rest.sort(key=lambda b: b.registered_at)
        removed.extend((b, "limit") for b in rest[:over])
    return Outcome(tuple(added), tuple(refreshed), tuple(removed), outbound)
