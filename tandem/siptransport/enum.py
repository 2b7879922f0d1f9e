"""ENUM, from a telephone number to a SIP URI (RFC 6116), without any I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tandem.sip.errors import BadMessage
from tandem.sip.uri import Uri
from tandem.siptransport.locate import Naptr

MAX_DIGITS: Final = 15
"""E.164."""
MAX_REGEXP: Final = 256
MAX_QUANTIFIERS: Final = 4
"""The records are anybody's. So few of them, none inside of another, match 15 digits in no time."""

# E2U+sip, sip+E2U (RFC 2916), E2U+voice:sip
_SERVICE_RE: Final = re.compile(r"(?:e2u\+(?:[a-z0-9:]+\+)*(?:[a-z]+:)?sip\b.*|sip\+e2u)", re.I)

# A subset of POSIX extended regular expressions: no alternation, no back-reference, no quantifier
# behind a group.
_ATOM: Final = r"(?:\\[+.*()\d]|[+]?[0-9.]|\[[0-9^-]+\]|\+(?=[0-9(.^]))"
_PATTERN_RE: Final = re.compile(rf"\^?(?:{_ATOM}[*+?]?|\((?:{_ATOM}[*+?]?)*\))*\$?")
_QUANTIFIER_RE: Final = re.compile(r"(?<!\\)[*+?]")


def domain(number: str, zone: str) -> str:
    """The name to ask for: `8.4.1.0.6.4.9.7.0.2.4.4.e164.arpa`; "" for what is no number."""
    digits = _digits(number)
    return f"{'.'.join(reversed(digits))}.{zone.strip('.').lower()}" if digits else ""


def uri(number: str, records: Sequence[Naptr]) -> str:
    """The SIP URI that the best record makes of a number, "" for none."""
    said = f"+{_digits(number)}"
    for record in sorted(records, key=lambda each: (each.order, each.preference)):
        if record.flags.lower() == "u" and _SERVICE_RE.fullmatch(record.service):
            made = _rewritten(said, record.regexp)
            if made and _is_sip(made):
                return made
    return ""


def _digits(number: str) -> str:
    digits = re.sub(r"[-.()\s]", "", number).removeprefix("+")
    fits = digits.isascii() and digits.isdecimal() and len(digits) <= MAX_DIGITS
    return digits if fits else ""


def _rewritten(number: str, regexp: str) -> str:
    """RFC 3402 §3.2: `!pattern!replacement!flags`."""
    parts = regexp[1:].split(regexp[:1]) if 3 < len(regexp) <= MAX_REGEXP else []
    if len(parts) != 3:
        return ""
    pattern, replacement, _ = parts
    few = len(_QUANTIFIER_RE.findall(pattern)) <= MAX_QUANTIFIERS
    if not few or _PATTERN_RE.fullmatch(pattern) is None:
        return ""
    try:
        match = re.search(pattern, number)
    except re.error:
        return ""
    if match is None:
        return ""
    groups = ("", *match.groups())
    return re.sub(
        r"\\([1-9])",
        lambda each: groups[int(each[1])] or "" if int(each[1]) < len(groups) else "",
        replacement,
    )


def _is_sip(text: str) -> bool:
    try:
        return Uri.parse(text).is_sip and text.isprintable() and " " not in text
    except BadMessage:
        return False
