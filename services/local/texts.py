"""What `tandem local` tells at its start: what it listens on, or why it can't."""

from __future__ import annotations

import errno
import socket

from services.local.addresses import reachable
from services.proxy.app import Proxy
from tandem.runtime.address import HostPort


def taken(option: str, address: object, error: OSError) -> str:
    """What to do about an address that can't be listened on."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{address} is in use by another program; stop that, or choose another port "
            f"with --{option} HOST:PORT"
        )
    if error.errno == errno.EACCES:
        return f"not allowed to listen on {address}; choose a port above 1023 with --{option}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is no address of this machine; choose another with --{option}"
    if isinstance(error, socket.gaierror):
        return f"{address} is not found; give a numeric address with --{option}"
    return f"can't listen on {address}: {error.strerror or error}"


def start_lines(proxy: Proxy, http: str, grpc: HostPort, password: str | None) -> list[str]:
    """What is shown at the start: how to log in, and where phones go."""
    lines = []
    if password is not None:
        lines += ["administrator  admin", f"password       {password}   (shown only this once)"]
    for transport, host, port in proxy.addresses:
        lines.append(f"sip {transport} {HostPort(host, port)}")
    lines += [f"http {http}", f"grpc {grpc}"]
    servers = [a for a in proxy.addresses if a[0] in ("udp", "tls")]
    if servers:
        _, host, port = servers[0]
        lines.append(f"phones         set {HostPort(reachable(host), port)} as their server")
    return lines
