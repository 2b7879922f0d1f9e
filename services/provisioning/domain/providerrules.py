"""What the fields of a provider may be (ORIGINAL §6). All of it goes into SIP and HTTP messages,
so no value may end a line, and no header may be one that the switch itself writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from services.provisioning.domain.rules import (
    MAX_NAME,
    Rule,
    clean,
    customer_username,
    domain_name,
    flag,
    line,
    number,
    optional,
    sip_username,
)
from tandem.sip.address import Address
from tandem.sip.errors import RemoteFault
from tandem.sip.uri import Uri

MAX_CREDENTIAL: Final = 128
"""Characters of a user name at a provider."""
MAX_SECRET: Final = 255
"""Characters of a password at a provider."""
MIN_EXPIRES: Final = 60
MAX_EXPIRES: Final = 3_600
"""Seconds that a registration is asked for (ORIGINAL §1.4)."""
MAX_CUSTOM_HEADERS: Final = 20
MAX_HEADER: Final = 512
"""Characters of a header with its value."""
MAX_URL: Final = 2048
MAX_PAIRS: Final = 32
"""Headers, or form fields, of a callback's request."""
MAX_BODY: Final = 8192
MAX_USERS: Final = 20
MAX_CALLBACK_SECONDS: Final = 300
"""A caller hears ringing all the time."""
TRANSPORTS: Final = frozenset({"udp", "tcp", "tls", "ws", "wss"})
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
KINDS: Final = ("generic", "google-voice")

BARRED_HEADERS: Final = frozenset({
    "via", "v", "from", "f", "to", "t", "contact", "m", "cseq", "call-id", "i", "max-forwards",
    "content-length", "l", "content-type", "c", "content-encoding", "e", "route", "record-route",
    "path", "service-route", "authorization", "proxy-authorization", "www-authenticate",
    "proxy-authenticate", "authentication-info", "proxy-authentication-info", "require",
    "proxy-require", "supported", "k", "expires", "min-expires", "session-expires", "x", "min-se",
    "rack", "rseq", "replaces", "refer-to", "r",
})  # fmt: skip
"""What the switch writes itself, in the long and the compact form."""
_BARRED_HTTP: Final = frozenset({
    "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer",
    "expect", "keep-alive", "proxy-connection",
})  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NUMBER = re.compile(r"[0-9A-Za-z+*#_.-]{0,64}")
_SUBSTITUTION = re.compile(r"\$\{[A-Za-z]+(:[0-9]+)?\}")


def provider_name(value: str) -> str:
    """What stands after @ in a dial string: so no dot, which a host has, and no @."""
    if not _NAME.fullmatch(value):
        raise ValueError("1 to 64 letters, digits, _ and -, of ASCII: no dot and no @")
    return value


def sip_server(value: str) -> str:
    """A host, `host:port` or SIP URI without user, to a URI; nothing stays nothing."""
    value = value.strip()
    if not value:
        return ""
    uri = _uri(value if value[:5].lower().startswith(("sip:", "sips:")) else f"sip:{value}")
    if uri.user is not None or uri.password is not None:
        raise ValueError("no user here: a host only, such as sip.example.com")
    if uri.headers:
        raise ValueError("no headers (?…) here")
    if uri.port == 0 or (uri.port or 0) > 65_535:
        raise ValueError("a port from 1 to 65535")
    _check_params(uri)
    return str(Uri(uri.scheme.lower(), None, None, _host(uri.host), uri.port, uri.params))


def _uri(text: str) -> Uri:
    try:
        return Uri.parse(text)
    except RemoteFault:
        raise ValueError("a host such as sip.example.com, or a SIP URI without user") from None


def _host(value: str) -> str:
    """A name without a dot would be looked up in whatever network the switch runs in."""
    host = domain_name(value)
    if "." not in host and not host.startswith("["):
        raise ValueError("the host needs a dot, as in sip.example.com")
    return host


def _check_params(uri: Uri) -> None:
    for name, value in uri.params:
        if name.lower() == "lr" and value is None:
            continue
        if name.lower() != "transport" or (value or "").lower() not in TRANSPORTS:
            raise ValueError("no parameters but transport=udp|tcp|tls|ws|wss and lr")


def credential(value: str) -> str:
    """A user name at a provider; an e-mail address for one that is asked by HTTP."""
    if len(value) > MAX_CREDENTIAL or not value.isprintable() or set(value) & set(' "<>\\,'):
        raise ValueError(f'at most {MAX_CREDENTIAL} characters, without spaces and " < > \\ ,')
    return value


def secret(value: str) -> str:
    """A password at a provider; empty: none."""
    if len(value) > MAX_SECRET or not value.isprintable():
        raise ValueError(f"at most {MAX_SECRET} characters, no line breaks or control characters")
    return value


def realm(value: str) -> str:
    """A digest realm."""
    value = str(line()(value))
    if set(value) & set('"\\'):
        raise ValueError('no " and no \\')
    return value


def from_header(value: str) -> str:
    """A From with substitutions, or nothing."""
    value = str(line()(value))
    if not value:
        return ""
    try:
        address = Address.parse(_SUBSTITUTION.sub("x", value))
    except RemoteFault:
        raise ValueError('such as "Name" <sip:user@host>, with ${…} in it') from None
    if not address.uri.is_sip or address.params:
        raise ValueError("a SIP address without parameters")
    return value


def custom_headers(value: Sequence[str]) -> tuple[str, ...]:
    """Lines `Name: value`."""
    if len(value) > MAX_CUSTOM_HEADERS:
        raise ValueError(f"at most {MAX_CUSTOM_HEADERS} headers")
    return tuple(_header(text) for text in value)


def _header(text: str) -> str:
    name, colon, value = (piece.strip() for piece in text.partition(":"))
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError(f"{text[:50]!r} is no header such as X-Account: 1234")
    if len(text) > MAX_HEADER or not value.isprintable():
        raise ValueError(f"{name}: at most {MAX_HEADER} characters, no line breaks")
    if name.lower() in BARRED_HEADERS:
        raise ValueError(f"{name} is written by the switch itself")
    return f"{name}: {value}"


def register_contact(value: str) -> str:
    """`user@domain`, or the user alone; nothing stays nothing."""
    value = value.strip().removeprefix("sip:")
    if not value:
        return ""
    user, at, domain = value.rpartition("@") if "@" in value else (value, "", "")
    if not user:
        raise ValueError("needs a user before the @")
    return f"{sip_username(user)}@{domain_name(domain)}" if at else sip_username(user)


# -- callbacks -------------------------------------------------------------------------------------


def callback_url(value: str) -> str:
    """An http(s) URL with `${…}` in it, or nothing."""
    if not value:
        return ""
    bare = _SUBSTITUTION.sub("x", value)
    if len(value) > MAX_URL or not value.isprintable() or " " in value:
        raise ValueError(f"at most {MAX_URL} characters, without spaces")
    try:
        parts = urlsplit(bare)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or not value.startswith(_origin(parts)):
        raise ValueError("an http:// or https:// URL whose host is fixed")
    return value


def _origin(parts: SplitResult) -> str:
    """With a substitution in the host the bare form differs from what was given."""
    return f"{parts.scheme}://{parts.netloc}"


def http_method(value: str) -> str:
    """An HTTP method, or nothing."""
    value = value.upper()
    if value and value not in METHODS:
        raise ValueError(f"one of {', '.join(sorted(METHODS))}")
    return value


def http_headers(value: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Names and values."""
    pairs = _pairs(value)
    for name, text in pairs:
        if not _TOKEN.fullmatch(name) or name.lower() in _BARRED_HTTP:
            raise ValueError(f"{name[:50]!r} is no header that can be set")
        if not text.isprintable() or not text.isascii():
            raise ValueError(f"{name}: no line breaks, and ASCII only")
    return pairs


def form_fields(value: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Names and values."""
    pairs = _pairs(value)
    if not all(name for name, _ in pairs):
        raise ValueError("a field needs a name")
    return pairs


def _pairs(value: Sequence[Sequence[str]]) -> tuple[tuple[str, str], ...]:
    if len(value) > MAX_PAIRS:
        raise ValueError(f"at most {MAX_PAIRS}")
    found = tuple((str(name), str(text)) for name, text in value)
    if any(len(name) + len(text) > MAX_URL for name, text in found):
        raise ValueError(f"at most {MAX_URL} characters each")
    return found


def body(value: str) -> str:
    """What is sent."""
    if len(value) > MAX_BODY:
        raise ValueError(f"at most {MAX_BODY} characters")
    return value


def telephone(value: str) -> str:
    """A number, or nothing."""
    if not _NUMBER.fullmatch(value):
        raise ValueError("at most 64 digits, letters and + * # _ . -")
    return value


def users(value: Sequence[str]) -> tuple[str, ...]:
    """User parts of SIP addresses."""
    if len(value) > MAX_USERS:
        raise ValueError(f"at most {MAX_USERS} users")
    return tuple(dict.fromkeys(sip_username(user).lower() for user in value))


def kind(value: str) -> str:
    """Which form of callback."""
    if value not in KINDS:
        raise ValueError(f"one of {', '.join(KINDS)}")
    return value


CALLBACK_RULES: Final[Mapping[str, Rule]] = {
    "kind": kind,
    "url": callback_url,
    "method": http_method,
    "headers": http_headers,
    "fields": form_fields,
    "body": body,
    "number": telephone,
    "phone_type": number(1, 99),
    "pattern": line(MAX_NAME),
    "users": users,
    "seconds": number(3, MAX_CALLBACK_SECONDS),
}


def callback(value: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a callback form, clean. Raises Invalid, whose fields begin with
    `callback.`."""
    rules = {f"callback.{name}": rule for name, rule in CALLBACK_RULES.items()}
    found = clean(rules, {f"callback.{name}": item for name, item in value.items()})
    return {name.removeprefix("callback."): item for name, item in found.items()}


PROVIDER_RULES: Final[Mapping[str, Rule]] = {
    "name": provider_name,
    "owner": customer_username,
    "server": sip_server,
    "username": credential,
    "auth_username": credential,
    "password": secret,
    "realm": realm,
    "outbound_proxy": sip_server,
    "from_header": from_header,
    "custom_headers": custom_headers,
    "in_dialplan": optional(line(MAX_NAME, required=True)),
    "register": flag,
    "register_contact": register_contact,
    "register_server": sip_server,
    "register_expires": number(MIN_EXPIRES, MAX_EXPIRES),
    "callback": optional(callback),
    "enabled": flag,
}
