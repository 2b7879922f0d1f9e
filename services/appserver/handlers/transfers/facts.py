"""What a script is told that no INVITE brought to run."""

from __future__ import annotations

from typing import Final

from services.appserver.domain.call import Call
from services.appserver.domain.leg import Leg
from services.appserver.domain.plan import SELF
from services.appserver.handlers.tools import Tools
from services.appserver.ports import Referral
from tandem.dialplan.substitute import in_uri
from tandem.dialplan.world import Incoming
from tandem.sip.address import Address
from tandem.sip.uri import Uri

ANONYMOUS: Final = "<sip:anonymous@anonymous.invalid>"
"""Who calls where nobody does (RFC 3261 §8.1.1.3)."""


def ordered(customer: str, destination: str, domain: str, caller: str, source: str) -> Incoming:
    """Of a call that a program asks for: `destination` becomes the user of the Request-URI."""
    uri = Uri("sip", in_uri(destination), None, domain or "anonymous.invalid")
    return _incoming(customer, uri, caller, source)


def referred(referral: Referral, customer: str, domain: str) -> Incoming:
    """Of a call that a REFER asks for, as a call of its sender's account."""
    uri = referral.target
    if not uri.is_sip:
        uri = Uri("sip", in_uri(uri.opaque.partition(";")[0]), None, domain)
    account = referral.account
    return _incoming(customer, uri, referral.caller, referral.source, account=account)


def _incoming(customer: str, uri: Uri, caller: str, source: str, *, account: str = "") -> Incoming:
    who = Address.parse(caller)
    return Incoming(
        direction="out",
        customer=customer,
        account=account,
        uri=str(uri),
        user=uri.user or "",
        host=uri.host,
        from_name=who.display,
        from_user=who.uri.user or "",
        from_host=who.uri.host,
        from_uri=str(who.uri),
        to_uri=str(uri),
        source=source,
    )


def stayer(call: Call, number: int) -> Leg | None:
    """The far end of this leg."""
    legs = [leg for leg in (call.a, call.b) if leg is not None]
    others = [leg for leg in legs if leg.number != number]
    return others[0] if len(legs) == 2 and len(others) == 1 else None


def leaving_by(tools: Tools, proxy: str) -> str:
    """The link address of a proxy to leave by: this one unless it is away, else any."""
    now = tools.clock()
    if proxy and proxy != SELF:
        return tools.proxies.through(proxy, now, "")
    return next(iter(tools.proxies.others("", now, "")), "")
