"""Tokens: what a proxy writes into the user part of its Record-Route and Path.

    flow token    f<payload><mac>  which proxy holds the flow, its transport and remote address,
                                   and for a connection its id with the epoch of the process
    owner token   o<payload><mac>  the link address of the appserver that has the dialog

Both are base64url, so they need no escape in a URI. The mac is keyed with the cluster's key, so
any proxy of the cluster trusts a token of another; reading one needs no key. A UDP flow token
outlives a restart (it names addresses only), a connection's dies with the process.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAC_SIZE: Final = 9
"""Bytes of the mac: 72 bits can't be guessed online, and 9 fill base64 without padding."""

MAX_TOKEN: Final = 200
"""Characters; a longer one isn't ours (a link address has at most 255, usually 20)."""

TRANSPORTS: Final = ("udp", "tcp", "tls", "ws", "wss")

MAX_READ: Final = 4096
"""Tokens that are remembered with what they say, about 0.8 kB each: of phones that call now."""

_FIXED: Final = struct.Struct(">BBH")  # transport and family, listener, port
_CONNECTION: Final = struct.Struct(">IQ")  # epoch, connection: of streams only


@dataclass(frozen=True, slots=True)
class FlowName:
    """What a flow token says."""

    proxy: str
    """The link address of the proxy that holds the flow."""
    transport: str
    host: str
    """Numeric, IPv6 without brackets."""
    port: int
    listener: int = 0
    """The number of the UDP socket, in the order of the configuration."""
    epoch: int = 0
    """Which process holds the connection; 0 for UDP."""
    connection: int = 0
    """The flow's id in that process; 0 for UDP."""

    @property
    def text(self) -> str:
        """`udp:203.0.113.7:5060`, for events and records."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}:{host}:{self.port}"


class TokenKey:
    """Signs and checks tokens with the cluster's key."""

    def __init__(self, key: bytes) -> None:
        self._mac = hashlib.blake2b(key=hashlib.sha256(key).digest(), digest_size=MAC_SIZE)

    def mac(self, data: bytes) -> bytes:
        """The keyed hash of `data`, MAC_SIZE bytes."""
        mac = self._mac.copy()
        mac.update(data)
        return mac.digest()

    def sign_flow(self, name: FlowName) -> str:
        """The token that names this flow."""
        return self._sign("f", _pack(name))

    def sign_owner(self, appserver: str) -> str:
        """The token that names the appserver with this link address."""
        return self._sign("o", appserver.encode())

    def open_flow(self, token: str) -> FlowName | None:
        """What a flow token of this cluster says; None for any other text."""
        payload = self._open("f", token)
        return None if payload is None else _unpack(payload)

    def open_owner(self, token: str) -> str | None:
        """The appserver that an owner token of this cluster names; None for any other text."""
        payload = self._open("o", token)
        return None if payload is None else payload.decode("utf-8", "replace")

    def _sign(self, kind: str, payload: bytes) -> str:
        mac = self.mac(kind.encode() + payload)
        return kind + base64.urlsafe_b64encode(mac + payload).decode().rstrip("=")

    def _open(self, kind: str, token: str) -> bytes | None:
        raw = _decode(kind, token)
        if raw is None:
            return None
        mac, payload = raw[:MAC_SIZE], raw[MAC_SIZE:]
        return payload if hmac.compare_digest(mac, self.mac(kind.encode() + payload)) else None


def describe(token: str) -> tuple[str, str, str, int] | None:
    """(link address of the proxy, transport, remote host, remote port) of a flow token, None for
    what is none. The signature isn't checked: for those who got it over the internal link."""
    name = read_flow(token)
    return None if name is None else (name.proxy, name.transport, name.host, name.port)


@lru_cache(maxsize=MAX_READ)
def read_flow(token: str) -> FlowName | None:
    """All that a flow token says, its signature not checked; None for what is none."""
    raw = _decode("f", token)
    return None if raw is None else _unpack(raw[MAC_SIZE:])


def _decode(kind: str, token: str) -> bytes | None:
    if token[:1] != kind or len(token) > MAX_TOKEN or not token.isascii():
        return None
    text = token[1:]
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) > MAC_SIZE else None


def _pack(name: FlowName) -> bytes:
    ip = ipaddress.ip_address(name.host)
    transport = TRANSPORTS.index(name.transport)
    kind = transport | (0x80 if ip.version == 6 else 0)
    connection = _CONNECTION.pack(name.epoch, name.connection) if transport else b""
    fixed = _FIXED.pack(kind, name.listener, name.port)
    return fixed + ip.packed + connection + name.proxy.encode()


def _unpack(payload: bytes) -> FlowName | None:
    try:
        kind, listener, port = _FIXED.unpack_from(payload)
        at = _FIXED.size + (16 if kind & 0x80 else 4)
        host = str(ipaddress.ip_address(payload[_FIXED.size : at]))
        transport = TRANSPORTS[kind & 0x7F]
        epoch = connection = 0
        if kind & 0x7F:
            epoch, connection = _CONNECTION.unpack_from(payload, at)
            at += _CONNECTION.size
        return FlowName(payload[at:].decode(), transport, host, port, listener, epoch, connection)
    except (struct.error, ValueError, IndexError):
        return None
