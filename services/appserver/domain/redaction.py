"""SIP messages for people to read, without what would serve a thief."""

from __future__ import annotations

import re
from typing import Final

_CREDENTIALS_RE: Final = re.compile(
    r"^((?:proxy-)?auth(?:orization|entication-info)[ \t]*:)([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
"""The header, folded lines included."""
_PROOF_RE: Final = re.compile(
    r"\b((?:response|rspauth)\s*=\s*)(?:\"(?:[^\"\\]|\\.)*+\"?|[^\s,]*)", re.IGNORECASE | re.DOTALL
)
_MEDIA_KEY_RE: Final = re.compile(
    r"^(a=crypto:[^\r\n]*?\binline:|a=key-mgmt:|a=ice-pwd:|k=)[^\r\n]*",
    re.IGNORECASE | re.MULTILINE,
)


def redacted(data: bytes) -> str:
    """The text of a message without what would serve a thief: digest answers, passwords, tokens,
    media keys."""
    text = _CREDENTIALS_RE.sub(_without_proof, data.decode("utf-8", "replace"))
    return _MEDIA_KEY_RE.sub(r"\1***", text)


def _without_proof(header: re.Match[str]) -> str:
    name, value = header.groups()
    scheme = value.split(maxsplit=1)[:1]
    if scheme and "=" not in scheme[0] and scheme[0].lower() != "digest":
        return f"{name} {scheme[0]} ***"  # Basic, Bearer: all of it is the secret
    return name + _PROOF_RE.sub(r"\1***", value)
