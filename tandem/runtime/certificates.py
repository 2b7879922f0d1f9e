"""Certificates from files, looked at before anything is started with them."""

from __future__ import annotations

import ssl
from pathlib import Path


def check_certificate(certificate: Path | None, key: Path | None, names: tuple[str, str]) -> None:
    """Raises ValueError, one line, unless both PEM files belong together or neither is given;
    `names` are those of the two settings."""
    if (certificate is None) != (key is None):
        raise ValueError(f"{names[0]} and {names[1]} go together")
    if certificate is None or key is None:
        return
    for name, path in zip(names, (certificate, key), strict=True):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{name}: {path} can't be read: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        told = getattr(error, "reason", None) or error
        raise ValueError(f"{names[0]} and {names[1]} can't be used: {told}") from None
