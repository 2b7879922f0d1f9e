"""The internal link over UDP: for services that run in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from tandem.runtime.address import HostPort
from tandem.siptransport.link import Receiver
from tandem.siptransport.udp import UdpSocket, pack_address, unpack_address

MAX_PEERS: Final = 4096
"""Addresses whose two forms are remembered: more than a cloud has proxies and appservers."""


class UdpLink:
    """A `Link` on a UDP socket inside the cloud. Peers are `host:port`, numeric; when `allowed`
    is given (`allow` changes it), what comes from any other address is dropped and counted in
    `strangers`."""

    reliable = False

    def __init__(
        self,
        socket: UdpSocket,
        allowed: Iterable[str] | None = None,
        admits: Callable[[str], bool] | None = None,
    ) -> None:
        """`admits` is asked once about each sender, where a list of them can't be given."""
        self.address = str(HostPort(socket.host, socket.port))
        self.receiver: Receiver = lambda data, peer: None
        self.strangers = 0
        self._allowed = None if allowed is None else frozenset(allowed)
        self._admits = admits
        self._socket = socket
        self._packed: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        socket.receiver = self._receive

    def start(self) -> None:
        """Begin to receive, on the running loop."""
        self._socket.start()

    def allow(self, peers: Iterable[str]) -> None:
        """Take packets from these addresses alone from now on."""
        self._allowed = frozenset(peers)
        self._names.clear()

    def ask_again(self) -> None:
        """Ask `admits` anew about each sender."""
        self._names.clear()

    def send(self, data: bytes, peer: str) -> None:
        """Queue for `peer`; leaves when this turn of the loop ends. An unknown form is lost."""
        packed = self._packed.get(peer) or self._pack(peer)
        if packed:
            self._socket.send(data, packed)

    def hold(self) -> None:
        """A batch begins: what is sent waits for `flush`."""
        self._socket.hold()

    def flush(self) -> None:
        """Send what is queued now."""
        self._socket.flush()

    def close(self) -> None:
        """Send what is queued and close."""
        self._socket.close()

    def _receive(self, datagrams: list[bytes], sources: list[bytes]) -> None:
        receiver, names = self.receiver, self._names
        for data, source in zip(datagrams, sources, strict=True):
            name = names.get(source) or self._name(source)
            if name:
                receiver(data, name)

    def _pack(self, peer: str) -> bytes:
        try:
            address = HostPort.parse(peer)
            packed = pack_address(address.host, address.port)
        except ValueError:
            return b""
        if len(self._packed) >= MAX_PEERS:
            self._packed.clear()
        self._packed[peer] = packed
        return packed

    def _name(self, source: bytes) -> str:
        name = str(HostPort(*unpack_address(source)))
        if (self._allowed is not None and name not in self._allowed) or (
            self._admits is not None and not self._admits(name)
        ):
            self.strangers += 1
            return ""
        if len(self._names) >= MAX_PEERS:
            self._names.clear()
        self._names[source] = name
        return name
