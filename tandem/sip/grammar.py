"""The pieces of RFC 3261 §25's grammar, each once, under its ABNF line."""

from __future__ import annotations

import re
from typing import Final

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~" )
TOKEN: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"
TOKEN_RE: Final = re.compile(TOKEN)

# quoted-string = SWS DQUOTE *(qdtext / quoted-pair ) DQUOTE
# (unrolled: half the time of an alternative per character)
QUOTED: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
QUOTED_RE: Final = re.compile(QUOTED, re.DOTALL)

# gen-value = token / host / quoted-string   (host adds the brackets and colons of IPv6)
GEN_VALUE: Final = rf"(?:{TOKEN}|\[[0-9A-Fa-f:.]+\]|{QUOTED})"

# generic-param = token [ EQUAL gen-value ]
# Real implementations put more into values than `gen-value` allows (`received=::1`,
# `+sip.instance`, base64): up to a delimiter is what everyone accepts.
PARAM_RE: Final = re.compile(
    rf"[ \t]*;[ \t]*(?P<name>{TOKEN})(?:[ \t]*=[ \t]*(?P<value>{QUOTED}|[^;,?\"\s]*))?", re.DOTALL
)

# SIP-Version = "SIP" "/" 1*DIGIT "." 1*DIGIT
VERSION_RE: Final = re.compile(r"SIP/[0-9]+\.[0-9]+", re.IGNORECASE)

_UNQUOTE_RE: Final = re.compile(r"\\(.)", re.DOTALL)


def unquote(text: str) -> str:
    """The content of a quoted-string; any other text comes back as it is."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        text = text[1:-1]
        return _UNQUOTE_RE.sub(r"\1", text) if "\\" in text else text
    return text


def quote(text: str) -> str:
    """`text` as a quoted-string. CR and LF, which no header may hold, become blanks."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text.translate(_BLANK_CRLF)}"'


def clean(text: str) -> str:
    """`text` fit for a header line: no CR, LF or NUL, which would begin another header."""
    return text if text.isprintable() else text.translate(_BLANK_CRLF)


_BLANK_CRLF: Final = {10: " ", 13: " ", 0: " "}

# One item of a comma-separated list: commas in quotes and angle brackets do not end it. What is
# opened and not closed reaches to the end.
_ITEM_RE: Final = re.compile(r'(?:[^,"<]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|<[^>]*+>?)*+', re.DOTALL)


def split_list(value: str) -> list[str]:
    """Split a header value at the commas that are outside of quotes and angle brackets."""
    if "," not in value:
        return [value.strip()]
    if '"' not in value and "<" not in value:
        return [part.strip() for part in value.split(",")]
    parts: list[str] = []
    at = 0
    while True:
        item = _ITEM_RE.match(value, at)
        assert item is not None  # it matches nothing, too
        parts.append(item[0].strip())
        if item.end() == len(value):
            return parts
        at = item.end() + 1
