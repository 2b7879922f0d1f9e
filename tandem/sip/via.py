"""Via: RFC 3261 §20.42, with rport of RFC 3581."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from tandem.sip.address import parse_params
from tandem.sip.errors import BadMessage
from tandem.sip.grammar import TOKEN
from tandem.sip.uri import HOST, Params

# via-parm = sent-protocol LWS sent-by *( SEMI via-params )
# sent-protocol = protocol-name SLASH protocol-version SLASH transport
_VIA_RE: Final = re.compile(
    rf"SIP\s*/\s*2\.0\s*/\s*(?P<transport>{TOKEN})\s+"
    rf"(?P<host>{HOST})(?:\s*:\s*(?P<port>[0-9]{{1,5}}))?\s*",
    re.IGNORECASE,
)
# As nearly all spell it.
_PLAIN_RE: Final = re.compile(
    rf"SIP/2\.0/(?P<transport>[A-Z]+) (?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?(?=;|$)"
)

MAGIC_COOKIE: Final = "z9hG4bK"
"""What the branch of an RFC 3261 client begins with: §8.1.1.7."""


@dataclass(frozen=True, slots=True)
class Via:
    """One Via value; `transport` in upper case, `host` with the brackets of IPv6."""

    transport: str
    host: str
    port: int | None = None
    params: Params = ()

    @classmethod
    def parse(cls, text: str) -> Via:
        """Parse one value; raises BadMessage. Results are cached and shared."""
        return _parse(text)

    def param(self, name: str) -> str | None:
        """A parameter ("" for one without value), None when it is absent."""
        for key, value in self.params:
            if key.lower() == name:
                return value or ""
        return None

    def with_param(self, name: str, value: str | None) -> Via:
        """A copy with the parameter set; it keeps its place if it was there."""
        if self.param(name) is None:
            return replace(self, params=(*self.params, (name, value)))
        params = tuple((k, value if k.lower() == name else v) for k, v in self.params)
        return replace(self, params=params)

    @property
    def branch(self) -> str:
        """The branch, "" for a client of RFC 2543."""
        return self.param("branch") or ""

    @property
    def sent_by(self) -> str:
        """Host in lower case and port, as transaction matching compares them (§17.2.3)."""
        host = self.host.lower()
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        text = f"SIP/2.0/{self.transport} {self.host}"
        if self.port is not None:
            text += f":{self.port}"
        for name, value in self.params:
            text += f";{name}" if value is None else f";{name}={value}"
        return text


@lru_cache(maxsize=2048)
def _parse(text: str) -> Via:
    match = _PLAIN_RE.match(text) or _VIA_RE.match(text)
    if match is None:
        raise BadMessage("Malformed Via")
    transport, host, port = match.groups()
    number = None if port is None else int(port)
    if number is not None and number > 65535:
        raise BadMessage("Port out of range in Via")
    return Via(transport.upper(), host, number, parse_params(text, match.end()))
