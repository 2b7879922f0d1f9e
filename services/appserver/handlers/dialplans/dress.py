"""How a leg leaves: its From, its headers, and what else its options say (ORIGINAL §2)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from services.appserver.domain.plan import Credentials, LegOptions, Transfer
from tandem.dialplan.dialstring import Leg, Login
from tandem.dialplan.headers import HeaderError, header_line, header_text
from tandem.dialplan.options import HOST_RE, USER_RE
from tandem.dialplan.scan import DialStringError
from tandem.dialplan.substitute import Values, address, in_uri, plain
from tandem.dialplan.world import Dial, DialplanError
from tandem.rpc.programs import Provider
from tandem.sip.address import Address
from tandem.sip.names import header_key
from tandem.sip.uri import Uri

logger = logging.getLogger(__name__)

NOBODY: Final = "anonymous.invalid"
"""The host of a From without one (RFC 3323 §4.1.1.3)."""


@dataclass(frozen=True, slots=True)
class Dress:
    """What a dial and the call that it is for give to all of their legs."""

    dial: Dial
    values: Values
    """Who calls."""
    caller: Address | None = None
    """Whom the legs see calling in his place."""

    def plain(self, leg: Leg) -> LegOptions:
        """A leg to an account or a URI outside: From is the caller's, but for what is set."""
        values = self.values
        caller = Address(
            Uri("sip", in_uri(values.from_user) or None, None, values.from_host or NOBODY),
            plain(values.from_name),
        )
        made = _optioned(self._set(self.caller or caller), leg)
        inherited = self.caller is None and made == caller
        return self._options(leg, "" if inherited else str(made), ())

    def provider(self, leg: Leg, provider: Provider, server: Uri) -> LegOptions:
        """A leg to a provider."""
        from_ = self._own(provider.from_header, provider.username, server)
        username = provider.auth_username or provider.username
        credentials = None
        if username and provider.password:
            credentials = Credentials(username, provider.password, provider.realm)
        return self._options(
            leg, str(_optioned(from_, leg)), provider.custom_headers, credentials, provider.name
        )

    def login(self, leg: Leg, login: Login) -> LegOptions:
        """A leg in the form of Asterisk."""
        from_ = self._own(login.from_text, login.username, leg.uri)
        credentials = Credentials(login.username, login.password)
        return self._options(leg, str(from_), (), credentials)

    # -- From ----------------------------------------------------------------------------------

    def _own(self, text: str, username: str, server: Uri) -> Address:
        """The From that a provider wants. "A SetFromHeader applies only when ProviderFrom is
        blank" (ORIGINAL §2)."""
        if text:
            try:
                return address(text, self.values)
            except DialStringError as error:
                raise DialplanError(f"the From of the provider makes no sense: {error}") from None
        anonymous = self.values.from_name.strip().lower() == "anonymous"
        user = in_uri(username) or None
        made = Address(Uri("sip", user, None, server.host), "Anonymous" if anonymous else "")
        return self._set(made)

    def _set(self, from_: Address) -> Address:
        """With what the script has set."""
        dial = self.dial
        return _changed(from_, dial.from_name, dial.from_user, dial.from_host)

    # -- all together --------------------------------------------------------------------------

    def _options(
        self,
        leg: Leg,
        from_value: str,
        headers: Iterable[str],
        credentials: Credentials | None = None,
        provider: str = "",
    ) -> LegOptions:
        chosen, dial = leg.options, self.dial
        return LegOptions(
            name=leg.name,
            delay=chosen.delay,
            ring_seconds=chosen.ring_seconds,
            max_seconds=_shorter(chosen.max_seconds, dial.max_seconds),
            follow_redirects=chosen.redirect == "a",
            mangle=chosen.mangle,
            from_value=from_value,
            headers=self._headers(leg, headers),
            body=dial.body,
            content_type=dial.content_type,
            credentials=credentials,
            transfer=Transfer(chosen.transfer or Transfer.PASS),
            provider=provider,
        )

    def _headers(self, leg: Leg, provider: Iterable[str]) -> tuple[str, ...]:
        """Those of the script, of the provider and of the leg's URI; a later one takes the place
        of an earlier one of the same name."""
        made: dict[str, list[str]] = {}
        try:
            ours = [header_line(*pair) for pair in self.dial.headers]
            of_leg = [header_line(*pair) for pair in leg.headers]
        except HeaderError as error:
            raise DialplanError(str(error)) from None
        for lines in (ours, _good(provider), of_leg):
            named: dict[str, list[str]] = {}
            for line in lines:
                named.setdefault(header_key(line.partition(":")[0]), []).append(line)
            made.update(named)
        return tuple(line for lines in made.values() for line in lines)


def _good(lines: Iterable[str]) -> list[str]:
    """A provider's headers. One that was stored before it was refused is left out: it is not the
    call's fault."""
    good = []
    for line in lines:
        try:
            good.append(header_text(line))
        except HeaderError as error:
            logger.info("header of a provider left out: %s", error)
    return good


def _optioned(from_: Address, leg: Leg) -> Address:
    """With what the leg's options say: they are the strongest."""
    chosen = leg.options
    return _changed(from_, chosen.from_name, chosen.from_user, chosen.from_host)


def _changed(from_: Address, name: str | None, user: str | None, host: str | None) -> Address:
    if name is None and user is None and host is None:
        return from_
    uri = from_.uri if from_.uri.is_sip else Uri("sip", in_uri(from_.uri.opaque), None, NOBODY)
    if user is not None and USER_RE.fullmatch(user) is None:
        raise DialplanError(f"{user!r} is no user part of a SIP URI")
    if host is not None and HOST_RE.fullmatch(host) is None:
        raise DialplanError(f"{host!r} is no host")
    return Address(
        Uri(
            uri.scheme,
            uri.user if user is None else user.replace("#", "%23"),
            None,
            uri.host if host is None else host,
            uri.port if host is None else None,
        ),
        from_.display if name is None else plain(name),
    )


def _shorter(one: int, other: int) -> int:
    return min(one or other, other or one)
