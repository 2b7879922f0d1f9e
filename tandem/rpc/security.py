"""What protects gRPC between services: a key that all nodes share, and mutual TLS when there are
certificates.

A service proves itself by a token that only holders of the cluster key can make. The key itself is
never sent. Without certificates the network must be one's own: the token could be read there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MIN_KEY: Final = 16
"""Characters of a cluster key: below, it could be guessed from one token."""
_LABEL: Final = b"tandem grpc service token 1"


@dataclass(frozen=True, slots=True)
class Security:
    """Raises ValueError, one line, for files or a key that can't be used."""

    cert: Path | None = None
    """PEM file of this node's certificate chain; it serves as server's and as client's."""
    key: Path | None = None
    """PEM file of its private key."""
    ca: Path | None = None
    """PEM file of the authority that the certificates of all nodes must come from."""
    cluster_key: str = field(default="", repr=False)
    """The secret of all nodes."""
    server_name: str = ""
    """A name that the certificates of all nodes carry, for where addresses change; empty: each
    carries the host that it is dialled by."""

    def __post_init__(self) -> None:
        if not self.cluster_key:
            raise ValueError("TANDEM_CLUSTER_KEY is not set")
        if len(self.cluster_key) < MIN_KEY:
            raise ValueError(f"TANDEM_CLUSTER_KEY is too short: {MIN_KEY} characters at least")
        given = [path for path in (self.cert, self.key, self.ca) if path is not None]
        if given and len(given) < 3:
            raise ValueError("TANDEM_GRPC_CERT, TANDEM_GRPC_KEY and TANDEM_GRPC_CA go together")
        if given:
            self._check_files()

    @classmethod
    def of_one_process(cls) -> Security:
        """For a switch without a cluster: a random key, so that nobody else is a service."""
        return cls(cluster_key=secrets.token_hex(32))

    @property
    def tls(self) -> bool:
        """Whether connections are mutual TLS."""
        return self.cert is not None

    @property
    def service_token(self) -> str:
        """What a service shows as its bearer token."""
        digest = hmac.digest(self.cluster_key.encode(), _LABEL, hashlib.sha256)
        return f"svc_{digest.hex()}"

    def is_service(self, token: str) -> bool:
        """Whether a service shows this; takes the same time however much of it is right."""
        return hmac.compare_digest(token.encode(), self.service_token.encode())

    def read(self) -> tuple[bytes, bytes, bytes]:
        """The PEM texts of key, certificate chain and authority, when there is TLS."""
        assert self.cert is not None
        assert self.key is not None
        assert self.ca is not None
        return self.key.read_bytes(), self.cert.read_bytes(), self.ca.read_bytes()

    def _check_files(self) -> None:
        # gRPC would take anything, and then fail every handshake without a word.
        assert self.cert is not None
        assert self.key is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for name, path in (("CERT", self.cert), ("KEY", self.key), ("CA", self.ca)):
            try:
                assert path is not None
                path.read_bytes()
            except OSError as error:
                raise ValueError(f"TANDEM_GRPC_{name}: {path}: {error.strerror}") from None
        try:
            context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError:
            raise ValueError(
                f"TANDEM_GRPC_CERT and TANDEM_GRPC_KEY: {self.cert} and {self.key} are no "
                "certificate and its unencrypted key in PEM"
            ) from None
        try:
            context.load_verify_locations(self.ca)
        except ssl.SSLError:
            raise ValueError(f"TANDEM_GRPC_CA: {self.ca} is no certificate in PEM") from None
