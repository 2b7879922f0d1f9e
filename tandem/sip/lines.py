"""Single header lines, read by one regular expression each where they look as most do.

What nearly all messages hold alike (`Max-Forwards: 70`, `CSeq: 1 INVITE`, the From and To of a
dialog) is read once and then found again by its text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tandem.sip.address import Address
from tandem.sip.cseq import CSeq
from tandem.sip.errors import BadMessage
from tandem.sip.grammar import TOKEN
from tandem.sip.names import header_key
from tandem.sip.uri import HOST, Uri

KEPT: Final = 4096
"""Lines whose meaning is remembered, of each kind; under 1 MB each with lines as phones send them,
and MAX_LINE bounds each."""

_PARAM: Final = rf';{TOKEN}(?:=[^;,?"\s]*)?'

# A Via line with one value, in the spelling of nearly all, without parsing it. Not so: a port that
# has five digits and may be out of range, or a zero in front.
_PORT: Final = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}"
PLAIN_VIA_RE: Final = re.compile(
    rf"[^:]*:[ \t]*SIP/2\.0/([A-Z]+) ({HOST}(?::(?:{_PORT}))?)"
    rf'(?:;(?![Bb][Rr]){TOKEN}(?:=[^;,?"\s]*)?)*+'
    rf'(?:;branch=([^;,?"\s]*)(?:{_PARAM})*+)?[ \t]*'
)
"""Groups: transport, sent-by and branch."""

# name-addr or <addr-spec>, with parameters that are no quoted-strings: the URI, the parameters.
_PLAIN_PARTY_RE: Final = re.compile(
    rf"[^:]*:[ \t]*(?:\"[^\"\\]*\"[ \t]*|[^<>\",;:]*)<([^<>\s\"]*)>((?:{_PARAM})*+)[ \t]*"
)


def line_value(line: str) -> str:
    """The value of a header line, unfolded and stripped (§7.3.1)."""
    value = line.partition(":")[2].strip(" \t\r\n")
    if "\n" not in value:
        return value
    return " ".join([part.strip(" \t") for part in value.split("\r\n")])


def required_value(line: str) -> str:
    """The value of a line that must have one; raises BadMessage."""
    value = line_value(line)
    if not value:
        raise BadMessage(f"Missing {header_key(line.partition(':')[0])}")
    return value


@lru_cache(maxsize=KEPT)
def address_of(line: str) -> Address:
    """The address in a From, To or Contact line; raises BadMessage."""
    return Address.parse(required_value(line))


@lru_cache(maxsize=KEPT)
def tag_of(line: str) -> str | None:
    """The tag of a From or To line, which is checked on the way; raises BadMessage."""
    match = _PLAIN_PARTY_RE.fullmatch(line)
    if match is None:
        return address_of(line).tag
    uri, params = match.groups()
    Uri.parse(uri)
    if not params:
        return None
    if params[:5] == ";tag=" and ";" not in params[5:]:
        return params[5:]
    return address_of(line).tag


@lru_cache(maxsize=KEPT)
def cseq_of(line: str) -> CSeq:
    """The value of a CSeq line; raises BadMessage."""
    return CSeq.parse(required_value(line))


@lru_cache(maxsize=KEPT)
def number_of(key: str, line: str) -> int:
    """The value of a line as delta-seconds or a count; raises BadMessage when it is no number."""
    digits = line_value(line)
    if not digits.isdecimal():
        digits = digits.partition(";")[0].partition("(")[0].strip()
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 12:
        raise BadMessage(f"Malformed {key}")
    return int(digits)
