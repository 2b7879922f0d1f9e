"""Tokens, API keys, ids, and the digest hashes of SIP passwords."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from tandem.sip.digest import ha1

TOKEN_BYTES: Final = 32
"""256 random bits: no guessing, so a plain hash is enough at rest."""
PASSWORD_BYTES: Final = 12
"""Random bytes of a generated administrator's password: 16 characters to type once."""
KEY_PREFIX: Final = "tdm_"
"""Starts every API key, so that scanners for leaked secrets can know them."""
PREFIX_LENGTH: Final = 10
"""Characters of an API key that are kept readable."""
HA1_ALGORITHMS: Final = ("MD5", "SHA-256", "SHA-512-256")


def new_id() -> str:
    """An opaque id for a row."""
    return secrets.token_hex(8)


def new_token() -> str:
    """A login token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_api_key() -> str:
    """The secret of an API key."""
    return KEY_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def new_password() -> str:
    """A random password for the first administrator."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def at_rest(secret: str) -> str:
    """What is kept of a token or key: SHA-256 in hex."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def digest_hashes(username: str, realm: str, password: str) -> dict[str, str]:
    """H(username:realm:password) for each algorithm that phones may ask for (RFC 8760)."""
    return {name: ha1(name, username, realm, password) for name in HA1_ALGORITHMS}
