"""What `tandem local` can be told."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.local import settings
from tandem.runtime.address import HostPort
from tandem.runtime.certificates import check_certificate
from tandem.runtime.config import ConfigError
from tandem.sip.uri import is_host_port

DEFAULT_DOMAIN: Final = "local"
"""The domain of a switch that was given none: phones are then set up with the PC's address."""


@dataclass(frozen=True, slots=True)
class LocalConfig:
    """One switch in one process."""

    data_dir: Path
    """Where databases, keys and the certificate live; made if missing."""
    domains: tuple[str, ...] = (DEFAULT_DOMAIN,)
    """Serviced domains, the default one first."""
    contact_host: str = ""
    """`host` or `host:port` that providers are given to call; empty: the default domain, or where
    that is nobody's else but ours, this PC's address."""
    sip: tuple[HostPort, ...] = (HostPort("0.0.0.0", 5060),)
    """UDP and TCP."""
    tls: tuple[HostPort, ...] = ()
    ws: tuple[HostPort, ...] = ()
    wss: tuple[HostPort, ...] = ()
    tls_cert: Path | None = None
    """PEM file of the certificate chain; a self-signed one is made when this is None."""
    tls_key: Path | None = None
    http: HostPort = HostPort("127.0.0.1", 8080)  # noqa: RUF009  # it is immutable
    http_cert: Path | None = None
    """PEM file of a certificate's chain; with it `http` speaks HTTPS."""
    http_key: Path | None = None
    fastagi: HostPort | None = None
    """Where Asterisk machines ask what to do with a call; None: nowhere."""
    grpc: HostPort = HostPort("127.0.0.1", 50051)  # noqa: RUF009  # it is immutable
    """Where operators' tools ask."""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The services' own variables (`settings.py`)."""
    admin_password: str | None = None
    """The administrator's first password; None: a random one, shown once."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        check_certificate(self.http_cert, self.http_key, ("--http-cert", "--http-key"))
        for option, listener in self.listeners:
            if not _numeric(listener.host):
                raise ValueError(f"--{option} {listener}: give a numeric address")
        for option, path in (("tls-cert", self.tls_cert), ("tls-key", self.tls_key)):
            if path is not None and not os.access(path, os.R_OK):
                raise ValueError(f"--{option} {path}: there is no such file that can be read")
        if not self.sip and not self.tls and not self.ws and not self.wss:
            raise ValueError("nothing to listen on: give --sip, --tls, --ws or --wss")
        if self.contact_host and not is_host_port(self.contact_host):
            raise ValueError(f"TANDEM_CONTACT_HOST: {self.contact_host!r} is no host or host:port")
        try:
            settings.check(self.environ)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @property
    def listeners(self) -> list[tuple[str, HostPort]]:
        """Where it listens for SIP, each with the option that says so."""
        ways = {"sip": self.sip, "tls": self.tls, "ws": self.ws, "wss": self.wss}
        return [(option, listener) for option, places in ways.items() for listener in places]


def _numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """TANDEM_DATA_DIR, else `tandem` in the user's data folder (XDG base directories)."""
    chosen = environ.get("TANDEM_DATA_DIR")
    if chosen:
        return Path(chosen)
    base = environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(base) / "tandem"
