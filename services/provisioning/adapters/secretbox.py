"""What nobody may read in the database: AES-256-GCM, with the key's id before each text.

The keys are derived (HKDF, RFC 5869) from a setting, so that a text for people makes a good key and
a cluster needs no further secret than its own. Old ones go on opening what they sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.provisioning.ports import SealBroken

FORM: Final = "1"
"""The first piece of a sealed text, for other forms to come."""
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""Random for each text: one key may seal 2^32 of them (NIST SP 800-38D §8.3)."""
KEY_ID_CHARS: Final = 8
_LABEL: Final = b"tandem provisioning secrets 1"


class SecretBox:
    """Implements `ports.Sealer`. Seals by the key of the first secret, and opens by any of them;
    without any it seals nothing."""

    def __init__(self, secrets: Iterable[str]) -> None:
        keys = [_derived(secret) for secret in secrets]
        self._keys = {_id_of(key): AESGCM(key) for key in reversed(keys)}
        self._newest = _id_of(keys[0]) if keys else ""

    @property
    def usable(self) -> bool:
        """Whether there is a key."""
        return bool(self._newest)

    def seal(self, text: str, bound: str) -> str:
        """Seal a text so that it opens only together with `bound`, the id of what it belongs to:
        one row's can't be put into another."""
        nonce = os.urandom(NONCE_BYTES)
        closed = self._keys[self._newest].encrypt(nonce, text.encode(), bound.encode())
        return f"{FORM}.{self._newest}.{base64.b64encode(nonce + closed).decode()}"

    def open(self, sealed: str, bound: str) -> str:
        """Raises SealBroken when its key is not at hand, or it was changed."""
        try:
            form, key, data = sealed.split(".")
            raw = base64.b64decode(data, validate=True)
            if form != FORM:
                raise SealBroken(f"it has the unknown form {form!r}")
            opened = self._keys[key].decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], bound.encode())
        except KeyError:
            raise SealBroken(f"its key {key} is not among TANDEM_OLD_SECRET_KEYS") from None
        except (ValueError, binascii.Error, InvalidTag):
            raise SealBroken("it was changed") from None
        return opened.decode()

    def is_old(self, sealed: str) -> bool:
        """Whether it was sealed by another key than the newest."""
        return sealed.split(".")[1:2] != [self._newest]


def _derived(secret: str) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_LABEL)
    return hkdf.derive(secret.encode())


def _id_of(key: bytes) -> str:
    """Tells keys apart and tells nothing of them."""
    return hashlib.sha256(b"id of " + key).hexdigest()[:KEY_ID_CHARS]
