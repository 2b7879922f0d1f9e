"""What a next-call hint asks of an INVITE: who calls, and whether it begins a dialog."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from services.proxy.domain.scan import Head
from tandem.bus.hints import NAMELESS

_QUOTED_RE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_USER_RE: Final = re.compile(rb"sips?:([^@:;<>\s]++)[^@<>\s]*+@|tel:([^;<>\s]++)", re.IGNORECASE)
_TAG_RE: Final = re.compile(rb";\s*tag\s*=", re.IGNORECASE)


def has_to_tag(head: Head) -> bool:
    """Whether the request is inside a dialog."""
    value = _QUOTED_RE.sub(b"", head.value("to") or b"")
    return _TAG_RE.search(value, value.rfind(b">") + 1) is not None


def caller(head: Head) -> str:
    """The caller's user part, lower case: From's, else (there is none, or it is withheld) that of
    P-Asserted-Identity; "" for neither."""
    user = _user(head, "from")
    if user and user != NAMELESS:
        return user
    return _user(head, "p-asserted-identity") or user


def _user(head: Head, key: str) -> str:
    for start, end, _ in head.items(key):
        match = _USER_RE.search(_QUOTED_RE.sub(b"", head.data[start:end]))
        if match is not None:
            return unquote((match[1] or match[2]).decode("utf-8", "replace")).lower()
    return ""
