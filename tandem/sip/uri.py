"""SIP and SIPS URIs, and any other scheme kept as it came: RFC 3261 §19.1, RFC 3986."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from tandem.sip.errors import BadMessage

# host = hostname / IPv4address / IPv6reference ; '_' occurs in real host names
HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)"

# SIP-URI = "sip:" [ userinfo ] hostport uri-parameters [ headers ]
_SIP_RE: Final = re.compile(
    rf"(?P<scheme>sips?):(?:(?P<user>[^@:<>\"\s]*)(?::(?P<password>[^@<>\"\s]*))?@)?"
    rf"(?P<host>{HOST})(?::(?P<port>[0-9]{{1,5}}))?(?P<params>(?:;[^;?<>\"\s]*)*)"
    rf"(?P<headers>\?[^<>\"\s]*)?",
    re.IGNORECASE,
)
_ABSOLUTE_RE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^<>\"\s]+")

Params = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI. For a scheme other than sip and sips, `host` is empty and `opaque` holds the rest.

    `user` and `password` keep their escapes (`%40`), so that what was not touched leaves as it
    came; `unescaped_user` is for look-ups. `host` keeps the brackets of an IPv6 reference.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    params: Params = ()
    headers: str = ""
    opaque: str = ""

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Parse `text`; raises BadMessage when it is no URI (results are cached and shared)."""
        return _parse(text)

    @property
    def is_sip(self) -> bool:
        """Whether the scheme is sip or sips."""
        return self.scheme == "sip" or self.scheme == "sips"

    @property
    def unescaped_user(self) -> str:
        """The user part with its escapes resolved (RFC 3261 §19.1.4), "" when there is none."""
        return unescape(self.user or "")

    @property
    def transport(self) -> str | None:
        """The `transport` parameter in lower case."""
        value = self.param("transport")
        return value.lower() if value else None

    def param(self, name: str) -> str | None:
        """The value of a parameter ("" for one without value), None when it is absent."""
        for key, value in self.params:
            if key.lower() == name or ("%" in key and unescape(key).lower() == name):
                return value or ""
        return None

    def with_params(self, **values: str | None) -> Uri:
        """A copy with these parameters set; None takes one away, "" sets one without value."""
        names = {name.replace("_", "-") for name in values}
        kept = tuple(item for item in self.params if item[0].lower() not in names)
        added = tuple((k.replace("_", "-"), v or None) for k, v in values.items() if v is not None)
        return replace(self, params=kept + added)

    def bare(self) -> Uri:
        """Scheme, user, host and port alone, as an AOR has them (RFC 3261 §10.3 step 5)."""
        return Uri(self.scheme, self.user, None, self.host, self.port)

    def __str__(self) -> str:
        if not self.is_sip:
            return f"{self.scheme}:{self.opaque}"
        text = f"{self.scheme}:"
        if self.user is not None:
            text += self.user if self.password is None else f"{self.user}:{self.password}"
            text += "@"
        text += self.host if self.port is None else f"{self.host}:{self.port}"
        for name, value in self.params:
            text += f";{name}" if value is None else f";{name}={value}"
        return text + self.headers

    def equivalent(self, other: Uri) -> bool:
        """Whether both name the same resource by RFC 3261 §19.1.4's rules."""
        if not (self.is_sip and other.is_sip):
            return self == other
        if (self.scheme, self.host.lower(), self.port) != (
            other.scheme,
            other.host.lower(),
            other.port,
        ):
            return False
        if (self.user is None) != (other.user is None) or self.password != other.password:
            return False
        return (
            unescape(self.user or "") == unescape(other.user or "")
            and _params_match(self, other)
            and _header_set(self.headers) == _header_set(other.headers)
        )


# "a URI with one of these never matches one without it": RFC 3261 §19.1.4
_DECISIVE: Final = frozenset({"user", "ttl", "method", "maddr", "transport"})


def _params_match(one: Uri, two: Uri) -> bool:
    mine = {unescape(k).lower(): unescape(v or "").lower() for k, v in one.params}
    theirs = {unescape(k).lower(): unescape(v or "").lower() for k, v in two.params}
    return all(
        mine.get(name) == theirs.get(name)
        for name in mine.keys() | theirs.keys()
        if name in _DECISIVE or (name in mine and name in theirs)
    )


def _header_set(headers: str) -> frozenset[tuple[str, str]]:
    fields = (field.partition("=") for field in headers[1:].split("&") if field)
    return frozenset((unescape(name).lower(), unescape(value)) for name, _, value in fields)


def is_host_port(text: str) -> bool:
    """Whether this is `host` or `host:port` as a URI has them."""
    try:
        uri = Uri.parse(f"sip:{text}")
    except BadMessage:
        return False
    return uri == Uri("sip", host=uri.host, port=uri.port) and uri.port != 0


def unescape(text: str) -> str:
    """Resolve %HH escapes as UTF-8; bytes that are none stay as surrogates."""
    if "%" not in text:
        return text
    raw = unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=4096)
def _parse(text: str) -> Uri:
    match = _SIP_RE.fullmatch(text)
    if match is not None:
        scheme, user, password, host, port, params, headers = match.groups()
        if port is not None and int(port) > 65535:
            raise BadMessage("Port out of range in URI")
        return Uri(
            scheme.lower(),
            user,
            password,
            host,
            None if port is None else int(port),
            _split_params(params),
            headers or "",
        )
    if text[:4].lower() == "sip:" or text[:5].lower() == "sips:":
        raise BadMessage("Malformed SIP URI")
    if _ABSOLUTE_RE.fullmatch(text) is None:
        raise BadMessage("Malformed URI")
    scheme, _, opaque = text.partition(":")
    return Uri(scheme.lower(), opaque=opaque)


def _split_params(text: str) -> Params:
    if not text:
        return ()
    pairs = (item.partition("=") for item in text[1:].split(";") if item)
    return tuple((name, value if equals else None) for name, equals, value in pairs)
