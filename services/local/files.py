"""What local mode keeps in its data folder besides the databases: a key and a certificate."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY_BYTES: Final = 32
CERTIFICATE_DAYS: Final = 3650
"""A phone that was told to trust it is not to be bothered again."""


class DataFolderProblem(Exception):
    """The data folder can't be used; the text says why and what to do."""


def open_data_dir(path: Path) -> None:
    """Make the folder, for its owner alone."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DataFolderProblem(
            f"can't make the data folder {path}: {error.strerror}; choose another with --data-dir"
        ) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise DataFolderProblem(
            f"can't write into the data folder {path}; choose another with --data-dir"
        )


def secret(path: Path) -> bytes:
    """The secret in this file, made at first: nonces and flow tokens outlive a restart by it."""
    if path.exists():
        return path.read_bytes()
    value = secrets.token_bytes(KEY_BYTES)
    _write_private(path, value)
    return value


def certificate(folder: Path, names: Iterable[str]) -> tuple[Path, Path]:
    """The certificate and key of this folder, self-signed for `names` (hosts and addresses) at
    first. Phones that check certificates need one by an authority instead (--tls-cert)."""
    cert_path, key_path = folder / "tls-cert.pem", folder / "tls-key.pem"
    if not (cert_path.exists() and key_path.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tandem")])
        now = datetime.datetime.now(datetime.UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.SubjectAlternativeName([_name(n) for n in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write_private(key_path, private)
        cert_path.write_bytes(built.public_bytes(pem))
    return cert_path, key_path


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write_private(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
