"""What one registers with at a provider: read once, for all of its REGISTERs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Final

from services.appserver.domain.domains import Domains
from tandem.dialplan.headers import HeaderError, header_text
from tandem.dialplan.substitute import in_uri
from tandem.rpc.programs import Provider
from tandem.sip.errors import BadMessage
from tandem.sip.names import header_key
from tandem.sip.uri import Uri

MIN_EXPIRES: Final = 60
MAX_EXPIRES: Final = 3600
"""Seconds that a registration is asked for, whatever its provider is set to (ORIGINAL §1.4): within
the greater one at the latest a registrar that forgot us hears from us again."""

OWN_HEADERS: Final = frozenset({"user-agent"})
"""Headers of a REGISTER that are not for customers, beside those of any request."""


class Unusable(ValueError):
    """Nothing can be registered with these settings; the text says why, for their owner."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a provider that a registration depends on: a change of anything else leaves it
    alone."""

    owner: str
    """The customer who sees its messages."""
    registrar: Uri
    """The Request-URI, "the domain of the location service" (RFC 3261 §10.2)."""
    aor: Uri
    """Whose registration it is: To and From."""
    contact: Uri
    """What the provider is to call, as yet without `rinstance`."""
    edge: Uri | None
    """The outbound proxy."""
    username: str
    """What credentials name."""
    password: str = field(repr=False)
    realm: str
    headers: tuple[str, ...]
    """Whole lines, checked."""
    expires: int

    @classmethod
    def of(cls, provider: Provider, domains: Domains, contact_host: str = "") -> Settings:
        """Those of a provider; `contact_host` takes the place of the default domain. Raises
        Unusable."""
        registrar = _server(provider.register_server or provider.server, "server", domains)
        if not provider.username:
            raise Unusable("There is no user name to register")
        return cls(
            owner=provider.owner,
            registrar=registrar,
            aor=replace(registrar.bare(), user=in_uri(provider.username)),
            contact=_contact(provider.register_contact, domains, contact_host),
            edge=_edge(provider.outbound_proxy, domains),
            username=provider.auth_username or provider.username,
            password=provider.password,
            realm=provider.realm,
            headers=tuple(_allowed(provider.custom_headers)),
            expires=min(max(provider.register_expires, MIN_EXPIRES), MAX_EXPIRES),
        )

    @property
    def way(self) -> Uri:
        """Where a REGISTER goes, by RFC 3263."""
        return self.edge or self.registrar

    def same_binding(self, other: Settings) -> bool:
        """Whether both make the same binding at the same registrar."""
        mine = (self.registrar, self.aor, self.contact)
        return mine == (other.registrar, other.aor, other.contact)

    def fits(self, contact: Uri) -> bool:
        """Whether this was made of our contact by `with_instance`."""
        return contact == self.contact.with_params(rinstance=contact.param("rinstance") or None)


def with_instance(contact: Uri, instance: str) -> Uri:
    """The Contact of one registration: `rinstance` comes back in calls, and tells ours apart from
    others of the same account at the registrar."""
    return contact.with_params(rinstance=instance)


def _server(text: str, what: str, domains: Domains) -> Uri:
    uri = _uri(text, what)
    if not _is_address(uri.host) and domains.serviced(uri.host, uri.port) is not None:
        # its calls would come from us to us, round and round; at an address of ours may be others
        raise Unusable(f"The {what} {uri.host} is this switch itself")
    kept = tuple(each for each in uri.params if each[0].lower() != "lr")
    return replace(uri, user=None, password=None, params=kept, headers="")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _edge(text: str, domains: Domains) -> Uri | None:
    return _server(text, "outbound proxy", domains) if text else None


def _contact(text: str, domains: Domains, contact_host: str) -> Uri:
    if not text:
        raise Unusable("There is no contact for the provider to call")
    user, at, host = text.rpartition("@")
    if not at:
        user, host = text, domains.default or ""
    if contact_host and host.lower() == domains.default:
        host = contact_host
    return _uri(f"sip:{in_uri(user)}@{host}", "register contact")


def _uri(text: str, what: str) -> Uri:
    try:
        uri = Uri.parse(text)
    except BadMessage:
        raise Unusable(f"The {what} is no SIP URI") from None
    if not uri.is_sip:
        raise Unusable(f"The {what} is no SIP URI")
    return uri


def _allowed(lines: Iterable[str]) -> Iterable[str]:
    """A header that was stored before it was refused is left out."""
    for line in lines:
        try:
            good = header_text(line)
        except HeaderError:
            continue
        if header_key(good.partition(":")[0]) not in OWN_HEADERS:
            yield good
