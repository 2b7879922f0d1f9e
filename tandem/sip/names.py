"""Header names and their compact forms: RFC 3261 §7.3.3, §20."""

from __future__ import annotations

from typing import Final

# §7.3.3 and the registry's later compact forms
COMPACT_FORMS: Final = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact",
    "k": "supported", "l": "content-length", "m": "contact", "n": "identity-info",
    "o": "event", "r": "refer-to", "s": "subject", "t": "to", "u": "allow-events",
    "v": "via", "x": "session-expires", "y": "identity",
}  # fmt: skip


def header_key(name: str) -> str:
    """The one spelling by which headers are looked up: lower case, compact forms expanded."""
    return KEYS.get(name) or spelled_out(name)


def spelled_out(name: str) -> str:
    """As `header_key`, for names that are not spelt as nearly all messages spell them."""
    key = name.rstrip(" \t").lower()
    return COMPACT_FORMS.get(key, key)


# Names as nearly all messages spell them, so that most lines cost one look-up.
KEYS: Final = {
    spelling: spelled_out(spelling)
    for name in (
        "Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Route "
        "Record-Route Path Expires User-Agent Server Allow Supported Require Authorization "
        "Proxy-Authorization WWW-Authenticate Proxy-Authenticate Accept Event Subject Date "
        "Session-Expires Min-SE RSeq RAck Allow-Events Refer-To Referred-By Replaces Reason "
        "Max-Breadth P-Asserted-Identity Privacy Warning Retry-After Min-Expires Subscription-State"
    ).split()
    for spelling in (name, name.lower())
} | COMPACT_FORMS
