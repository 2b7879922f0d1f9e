"""The data folder of local mode: a lock, a key, a certificate, and what the databases need."""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY_BYTES: Final = 32
SQLITE_MAGIC: Final = b"SQLite format 3\0"
CERTIFICATE_DAYS: Final = 3650
"""A phone that was told to trust it is not to be bothered again."""


class DataFolderProblem(Exception):
    """The data folder can't be used; the text says why and what to do."""


class DataFolder:
    """The folder, made for its owner alone, and ours alone while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    def open(self) -> None:
        """Make it, check it, lock it. Raises DataFolderProblem."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(f"can't make the data folder {self.path}: {error.strerror}") from None
        for path in (self.path, *self.path.glob("*.db*")):
            if not os.access(path, os.R_OK | os.W_OK):
                raise _unusable(f"this user may not write to {path}")
        for path in self.path.glob("*.db"):
            _check_database(path)
        self._lock = _locked(self.path / "lock")

    def close(self) -> None:
        """Let another Tandem have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _unusable(reason: str) -> DataFolderProblem:
    return DataFolderProblem(f"{reason}; mend that or choose another folder with --data-dir")


def _check_database(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(SQLITE_MAGIC))
    if start and start != SQLITE_MAGIC:
        raise _unusable(f"{path} is no SQLite database")


def _locked(path: Path) -> IO[bytes]:
    """The lock goes with the process, however that ends."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DataFolderProblem(
            f"another Tandem uses the data folder {path.parent}; stop that one, "
            "or choose another folder with --data-dir"
        ) from None
    return file


def secret(path: Path) -> bytes:
    """The secret in this file, made at first: nonces and flow tokens outlive a restart by it."""
    if path.exists() and len(kept := path.read_bytes()) >= KEY_BYTES:
        return kept
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
        _write_private(cert_path, built.public_bytes(pem))
    return cert_path, key_path


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _write_private(path: Path, data: bytes) -> None:
    """All of it or nothing, also when the machine stops in the middle."""
    draft = path.with_suffix(".new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(file)
    draft.replace(path)
