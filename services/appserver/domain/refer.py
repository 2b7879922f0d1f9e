"""What a REFER asks for: RFC 3515, with Replaces in its Refer-To (RFC 3891), Refer-Sub (RFC 4488)
and Referred-By (RFC 3892)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from services.appserver.domain.plan import Transfer
from services.appserver.domain.replaces import Replaces
from services.appserver.domain.transfers import ATTENDED, REFERRED, Order
from tandem.sip.address import Address
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request
from tandem.sip.uri import Uri, unescape

SCHEMES: Final = frozenset({"sip", "sips", "tel"})
"""What can be called."""


class NotReferable(Exception):
    """It is refused with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Wish:
    """A REFER that makes sense."""

    target: Uri
    """Who is to be called, without headers."""
    replaces: Replaces | None
    """The call to the target that is to be replaced."""
    quiet: bool
    """Whether no NOTIFYs are wanted."""

    @classmethod
    def parse(cls, request: Request) -> Wish:
        """Read it. Raises NotReferable, BadMessage."""
        given = request.values("refer-to")
        if len(given) != 1:  # RFC 3515 §2.4.2
            raise BadMessage("REFER needs one Refer-To")
        uri = Address.parse(given[0]).uri
        if uri.scheme not in SCHEMES:
            raise NotReferable(416, "Unsupported URI Scheme")
        if (uri.param("method") or "INVITE").upper() != "INVITE":
            raise NotReferable(403, "Only calls can be referred to")
        quiet = (request.first("refer-sub") or "").partition(";")[0].strip().lower() == "false"
        target = replace(uri.with_params(method=None), headers="") if uri.is_sip else uri
        return cls(target, _replaces(uri), quiet)


def order(request: Request) -> Order:
    """What is asked for, whether or not it makes sense."""
    named = any("replaces=" in value.lower() for value in request.values("refer-to"))
    return ATTENDED if named else REFERRED


def _replaces(uri: Uri) -> Replaces | None:
    for each in uri.headers[1:].split("&"):
        name, _, value = each.partition("=")
        if unescape(name).lower() == "replaces":
            named = Replaces.parse(unescape(value))
            if named is None:
                raise BadMessage("Replaces names no dialog")
            return named
    return None


def served(mode: Transfer, *, by_caller: bool) -> bool:
    """Whether the switch does what this end asks for."""
    if mode is Transfer.CALLER:
        return by_caller
    if mode is Transfer.CALLEE:
        return not by_caller
    return mode in (Transfer.SERVE, Transfer.BOTH, Transfer.ANYBODY)


def unasked(mode: Transfer, account: str, *, by_caller: bool) -> bool:
    """Whether it is a stranger's REFER that nobody has agreed to. Whom a dialplan calls it has
    chosen, with the mode; who calls from outside nobody has."""
    return by_caller and not account and mode is not Transfer.ANYBODY


def referred_by(request: Request, account: str, remote: str) -> str:
    """The Referred-By that the target gets. Of an account of ours it names that account, whatever
    the phone says; else it is what was said, or the dialog's own name for who said nothing."""
    ours = f"<sip:{account}>" if account else ""
    try:
        said = Address.parse(request.first("referred-by") or "")
    except BadMessage:
        return ours or _bare(remote)
    if ours and f"{said.uri.user}@{said.uri.host}".lower() != account.lower():
        return ours
    return str(replace(said, params=()))


def _bare(value: str) -> str:
    try:
        return f"<{Address.parse(value).uri}>"
    except BadMessage:
        return "<sip:anonymous@anonymous.invalid>"
