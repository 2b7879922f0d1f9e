"""What values may be. A rule takes a value of the right type and returns its clean form, or raises
ValueError with a sentence; a table of rules, one for each field, is applied by `clean`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from services.provisioning.domain.errors import Invalid, invalid
from tandem.dialplan.script import Language, Limits

Rule = Callable[[Any], Any]

MAX_NAME: Final = 64
"""Characters of a SIP user name or the name of a thing."""
MAX_TEXT: Final = 255
"""Characters of a line of text."""
MIN_PASSWORD: Final = 6
MAX_PASSWORD: Final = 128
"""Characters; argon2 hashes all of it, so it must end somewhere."""
MAX_DOMAIN: Final = 253
"""Characters of a domain name (RFC 1035 §3.1, without the root's dot)."""
MAX_ALIASES: Final = 32
MAX_NETWORKS: Final = 32
"""Entries of an ip_acl: it is gone through for each request."""
MAX_BINDINGS: Final = 100
"""Bindings of one account: all of them ring at once."""
MAX_CALL_SECONDS: Final = 7 * 24 * 3600
MAX_CALLS: Final = 10_000
MAX_KEY_DAYS: Final = 3650
MAX_EXECUTIONS: Final = 1_000
"""Runs at once of one customer's dialplans, on each appserver."""
MAX_QUOTA: Final = 10_000
"""Things of one kind that a customer may be allowed."""
MAX_SOURCE: Final = Limits().source_chars
MAX_VALUE_KEY: Final = 64
MAX_VALUE: Final = 1024
"""Characters of a value in a customer's store (ORIGINAL §6)."""

BARRED_USERNAMES: Final = frozenset({"dispatcher"})
"""The switch's own health probe calls this user."""

_CUSTOMER = re.compile(r"[a-z0-9][a-z0-9_-]{1,31}")
_SIP_USER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")
_DIALPLAN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_ .-]{0,62}[A-Za-z0-9_.-])?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def customer_username(value: str) -> str:
    """A web user name, in lower case."""
    value = value.lower()
    if not _CUSTOMER.fullmatch(value):
        raise ValueError("2 to 32 letters, digits, _ and -, of ASCII; the first no _ or -")
    return value


def sip_username(value: str) -> str:
    """The user part of an AOR. With a dot, see `handlers.accounts`."""
    if not _SIP_USER.fullmatch(value):
        raise ValueError("1 to 64 letters, digits, _, . and -, of ASCII")
    if value.startswith(".") or value.endswith(".") or ".." in value:
        raise ValueError("a dot stands between other characters only")
    if value.lower() in BARRED_USERNAMES:
        raise ValueError("this name is kept for the switch itself")
    return value


def password(value: str) -> str:
    """A password, web or SIP."""
    if not MIN_PASSWORD <= len(value) <= MAX_PASSWORD:
        raise ValueError(f"{MIN_PASSWORD} to {MAX_PASSWORD} characters")
    if not value.isprintable():
        raise ValueError("no line breaks or control characters")
    return value


def domain_name(value: str) -> str:
    """A host name or an IP address, lower case; IPv6 in brackets as in a SIP URI."""
    value = value.strip().lower().rstrip(".")
    address = _address(value)
    if address:
        return address
    if not value or len(value) > MAX_DOMAIN:
        raise ValueError(f"a host name of 1 to {MAX_DOMAIN} characters")
    labels = value.split(".")
    if labels[-1].isdigit() or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("a host name such as example.com, or an IP address")
    return value


def _address(value: str) -> str | None:
    try:
        address = ipaddress.ip_address(value.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return f"[{address}]" if address.version == 6 else str(address)


def aliases(value: Sequence[str]) -> tuple[str, ...]:
    """Other names of a domain, each once."""
    if len(value) > MAX_ALIASES:
        raise ValueError(f"at most {MAX_ALIASES} aliases")
    return tuple(dict.fromkeys(domain_name(name) for name in value))


def networks(value: Sequence[str]) -> tuple[str, ...]:
    """Networks in CIDR form; an address alone is a network of one; host bits are cleared."""
    if len(value) > MAX_NETWORKS:
        raise ValueError(f"at most {MAX_NETWORKS} networks")
    return tuple(dict.fromkeys(_network(item) for item in value))


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{value[:50]!r} is no network such as 192.0.2.0/24") from None
    if network.prefixlen == 0:
        raise ValueError("the whole Internet needs no password then; name smaller networks")
    return str(network)


def line(limit: int = MAX_TEXT, *, required: bool = False) -> Rule:
    """One line of text."""

    def rule(value: str) -> str:
        value = value.strip()
        if len(value) > limit or (required and not value):
            raise ValueError(f"{1 if required else 0} to {limit} characters")
        if not value.isprintable():
            raise ValueError("no line breaks or control characters")
        return value

    return rule


def email(value: str) -> str:
    """An address, or nothing."""
    value = str(line()(value))
    if value and not _EMAIL.fullmatch(value):
        raise ValueError("an e-mail address such as me@example.com")
    return value


def timezone(value: str) -> str:
    """An IANA time zone."""
    try:
        if _ZONE.fullmatch(value):
            return ZoneInfo(value).key
    except (KeyError, ValueError, OSError):  # a folder of the database, too, is no zone
        pass
    raise ValueError("a time zone such as Europe/Dublin")


def dialplan_name(value: str) -> str:
    """What accounts name a dialplan by."""
    value = value.strip()
    if not _DIALPLAN.fullmatch(value):
        raise ValueError("1 to 64 letters, digits, _ . - and spaces, of ASCII")
    return value


def language(value: str) -> Language:
    """What a dialplan is written in."""
    try:
        return Language(value)
    except ValueError:
        raise ValueError(f"one of {', '.join(Language)}") from None


def source(value: str) -> str:
    """A program. Lines may end in any way; they are kept ending in a line feed."""
    value = value.replace("\r\n", "\n").replace("\r", "\n")
    if len(value) > MAX_SOURCE:
        raise ValueError(f"at most {MAX_SOURCE} characters")
    return value


def value_key(value: str) -> str:
    """A key of a customer's store."""
    if not 1 <= len(value) <= MAX_VALUE_KEY or not value.isprintable():
        raise ValueError(f"1 to {MAX_VALUE_KEY} characters, no line breaks or control characters")
    return value


def stored_value(value: str) -> str:
    """A value of a customer's store: any text that databases take."""
    if len(value) > MAX_VALUE:
        raise ValueError(f"at most {MAX_VALUE} characters")
    if "\0" in value or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise ValueError("holds a character that can't be stored")
    return value


def optional(rule: Rule) -> Rule:
    """The rule, or null."""
    return lambda value: None if value is None else rule(value)


def number(low: int, high: int) -> Rule:
    """A whole number between two others, which count."""

    def rule(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return rule


def flag(value: bool) -> bool:
    """True or false: nothing to check."""
    return value


ACCOUNT_RULES: Final[Mapping[str, Rule]] = {
    "username": sip_username,
    "domain": domain_name,
    "password": password,
    "owner": customer_username,
    "in_dialplan": optional(line(MAX_NAME, required=True)),
    "out_dialplan": optional(line(MAX_NAME, required=True)),
    "enabled": flag,
    "max_bindings": number(1, MAX_BINDINGS),
    "send_keepalives": flag,
    "ip_acl": networks,
    "max_call_seconds": number(0, MAX_CALL_SECONDS),
}
CUSTOMER_RULES: Final[Mapping[str, Rule]] = {
    "username": customer_username,
    "password": password,
    "name": line(),
    "email": email,
    "admin": flag,
    "suspended": flag,
    "max_calls": number(0, MAX_CALLS),
    "timezone": timezone,
    "max_executions": number(0, MAX_EXECUTIONS),
    "may_email": flag,
    "max_providers": optional(number(0, MAX_QUOTA)),
    "max_dialplans": optional(number(0, MAX_QUOTA)),
}
DIALPLAN_RULES: Final[Mapping[str, Rule]] = {
    "name": dialplan_name,
    "owner": customer_username,
    "language": language,
    "source": source,
    "comment": line(),
    "expected_version": number(1, 2**31 - 1),
}
VALUE_RULES: Final[Mapping[str, Rule]] = {
    "key": value_key,
    "value": stored_value,
    "owner": customer_username,
}
DOMAIN_RULES: Final[Mapping[str, Rule]] = {
    "name": domain_name,
    "aliases": aliases,
    "owner": optional(customer_username),
    "default": flag,
}
API_KEY_RULES: Final[Mapping[str, Rule]] = {
    "name": line(MAX_NAME, required=True),
    "lifetime_days": number(1, MAX_KEY_DAYS),
    "owner": customer_username,
}


def clean(rules: Mapping[str, Rule], values: Mapping[str, Any]) -> dict[str, Any]:
    """All values in clean form. Raises Invalid with every fault, and for a field without a rule; a
    rule of a value that has fields itself may raise Invalid too."""
    found: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    for name, value in values.items():
        try:
            found[name] = rules[name](value)
        except Invalid as fault:
            errors += fault.errors
        except ValueError as fault:
            errors.append((name, str(fault)))
        except KeyError:
            errors.append((name, "there is no such field"))
    if errors:
        raise Invalid(errors)
    return found


def check_not_the_name(username: str, secret: str) -> None:
    """Refuse a password that is the user name: the first thing that is tried."""
    if secret.lower() == username.lower():
        raise invalid("password", "must not be the user name")
