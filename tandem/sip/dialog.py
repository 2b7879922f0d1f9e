"""Dialogs: RFC 3261 §12. A dialog is one small value of strings and numbers, so that it can be
stored and taken up elsewhere; everything about a call is derived from its dialogs.

              uas(request, tag) / uac(request, response)
                    │ 1xx                     │ 2xx
                  EARLY ──── 2xx ─────────► CONFIRMED
                    └─ 3xx-6xx, 481 ─► TERMINATED ◄─ BYE, 481, 408 ─┘
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.grammar import split_list
from tandem.sip.lines import KEPT
from tandem.sip.message import Request, Response
from tandem.sip.uri import Uri

TARGET_REFRESH: Final = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Requests whose Contact, and whose 2xx's Contact, moves the remote target (§12.2, RFC 3311)."""


class DialogState(StrEnum):
    """§12: early until a 2xx."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Order(StrEnum):
    """What `Dialog.receive` says about a request's CSeq (§12.2.2)."""

    NEXT = "next"
    OUT_OF_ORDER = "out of order"
    """Lower than one that was seen: answer 500."""


@dataclass(slots=True)
class Dialog:
    """One dialog. `local` and `remote` are the values of our and their From/To, with their tags;
    `route_set` is in the order in which our requests carry it."""

    call_id: str
    local_tag: str
    remote_tag: str
    local: str
    remote: str
    remote_target: str
    route_set: tuple[str, ...]
    local_seq: int
    remote_seq: int | None
    state: DialogState
    uas: bool
    """Whether they sent the request that made it."""
    secure: bool = False

    @property
    def id(self) -> tuple[str, str, str]:
        """Call-ID, local tag, remote tag (§12)."""
        return (self.call_id, self.local_tag, self.remote_tag)

    @classmethod
    def from_request(cls, request: Request, local_tag: str) -> Dialog:
        """The early dialog of the UAS (§12.1.1). Raises BadMessage without a usable Contact, or
        for a malformed Record-Route."""
        remote = request.from_
        return cls(
            call_id=request.call_id,
            local_tag=local_tag,
            # "If the request has no From tag (RFC 2543), the remote tag is null": ""
            remote_tag=remote.tag or "",
            local=_tagged(request, local_tag),
            remote=_value(request, "from"),
            remote_target=target_of(request),
            route_set=_routes_of(request),
            local_seq=0,
            remote_seq=request.cseq.number,
            state=DialogState.EARLY,
            uas=True,
            secure=request.uri[:5].lower() == "sips:",
        )

    @classmethod
    def from_response(cls, request: Request, response: Response) -> Dialog:
        """The UAC's dialog, early by a 1xx, confirmed by a 2xx (§12.1.2). Raises BadMessage for a
        malformed Contact or Record-Route."""
        return cls(
            call_id=request.call_id,
            local_tag=request.from_tag or "",
            remote_tag=response.to_tag or "",
            local=_value(request, "from"),
            remote=_value(response, "to"),
            remote_target=target_of(response, request.uri),
            route_set=_routes_of(response)[::-1],
            local_seq=request.cseq.number,
            remote_seq=None,
            state=DialogState.CONFIRMED if response.status >= 200 else DialogState.EARLY,
            uas=False,
            secure=request.uri[:5].lower() == "sips:",
        )

    def confirm(self, response: Response) -> None:
        """The 2xx came: "the route set ... MUST be recomputed" (§13.2.2.4), the target too.

        One that comes again, or answers a re-INVITE, changes no route set (§12.2). Raises
        BadMessage, like `from_response`, and leaves the dialog as it was.
        """
        if not self.uas and self.state is not DialogState.CONFIRMED:
            route_set = _routes_of(response)[::-1]
            self.remote_target = target_of(response, self.remote_target)
            self.route_set = route_set
        self.state = DialogState.CONFIRMED

    def request(self, method: str, *, seq: int | None = None, skip: int = 0) -> Request:
        """A request inside this dialog (§12.2.1.1): no Via, Contact or body yet.

        `seq` is for ACK and PRACK's kin, which take the number of another request; else the next
        number is taken. A strict router first in the route set gets the Request-URI (§12.2.1.1).
        `skip` leaves out the first of the route set: proxies of our own that we replace.
        """
        if seq is None:
            self.local_seq += 1
            seq = self.local_seq
        uri, routes = self.remote_target, self.route_set[skip:]
        if routes and not _is_loose(routes[0]):
            uri, routes = _as_request_uri(Address.parse(routes[0]).uri), (*routes[1:], f"<{uri}>")
        lines = [f"Route: {route}" for route in routes]
        lines += (
            f"From: {self.local}",
            f"To: {self.remote}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {seq} {method}",
            "Max-Forwards: 70",
        )
        request = Request(method, uri, lines)
        request._call_id = self.call_id
        return request

    def receive(self, request: Request) -> Order:
        """Take note of a request of theirs (§12.2.2). ACK and CANCEL are not for this."""
        number = request.cseq.number
        if self.remote_seq is not None and number < self.remote_seq:
            return Order.OUT_OF_ORDER
        self.remote_seq = number
        return Order.NEXT

    def refresh_target(self, message: Request | Response) -> None:
        """Follow the Contact of a target refresh request or of its 2xx."""
        if "contact" in message.index:
            self.remote_target = target_of(message, self.remote_target)

    def to_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Dialog:
        """The inverse of `to_dict`."""
        fields = dict(data)
        fields["route_set"] = tuple(fields["route_set"])
        fields["state"] = DialogState(fields["state"])
        return cls(**fields)


def dialog_id(request: Request) -> tuple[str, str, str]:
    """The dialog that a request of theirs names: its To-tag is ours."""
    return (request.call_id, request.to_tag or "", request.from_tag or "")


def target_of(message: Request | Response, default: str | None = None) -> str:
    """The URI of the one Contact; `default` where there is none. Raises BadMessage."""
    contact = message.first("contact")
    if contact is None:
        if default is None:
            raise BadMessage("Missing contact")
        return default
    return _target(contact)


@lru_cache(maxsize=KEPT)
def _target(contact: str) -> str:
    return _as_request_uri(Address.parse(split_list(contact)[0]).uri)


def _tagged(request: Request, tag: str) -> str:
    """To with our tag, which it has not."""
    value = _value(request, "to")
    return f"{value};tag={tag}" if value[-1:] == ">" else str(request.to.with_tag(tag))


def _value(message: Request | Response, key: str) -> str:
    return message.first(key) or ""


def _routes_of(message: Request | Response) -> tuple[str, ...]:
    """The Record-Route items, checked now so that `Dialog.request` can rely on them."""
    routes: tuple[str, ...] = ()
    for value in message.values("record-route"):
        routes += _checked_routes(value)
    return routes


@lru_cache(maxsize=KEPT)
def _checked_routes(value: str) -> tuple[str, ...]:
    routes = tuple(split_list(value))
    for route in routes:
        Address.parse(route)
    return routes


def _as_request_uri(uri: Uri) -> str:
    """Without what a Request-URI must not have: headers and `method` (§12.2.1.1, §19.1.1)."""
    if uri.headers or uri.param("method") is not None:
        uri = replace(uri.with_params(method=None), headers="")
    return str(uri)


@lru_cache(maxsize=KEPT)
def _is_loose(route: str) -> bool:
    uri: Uri = Address.parse(route).uri
    return uri.param("lr") is not None
