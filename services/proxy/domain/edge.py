"""What this proxy is: its addresses, domains and key, and what it writes into Via and Route.

Our branch tells the way back, for there is no state:

    towards an appserver  z9hG4bK-t-PEER.LOOP.BRANCH       PEER: where the response leaves
    towards the public    z9hG4bK-t-APPSERVER.LOOP.MAC.BRANCH

LOOP is the hash of what decides the way (RFC 5393 §4.2). BRANCH is the received branch as it
came, so that a retransmission, and the ACK of a failure and the CANCEL of an INVITE, which share
it, get the same one from us (RFC 3261 §16.11). What comes over the link is trusted; a response
from the public one must bring back a MAC that only our key makes.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import zlib
from binascii import b2a_base64
from collections.abc import Iterable
from typing import Final

from services.proxy.domain.known import KnownRoutes
from services.proxy.domain.peer import Peer
from tandem.siptransport.flowtoken import FlowName, TokenKey

MARK: Final = b"z9hG4bK-t-"
"""What every branch of ours begins with."""

MAX_BRANCH: Final = 100
"""Bytes of a received branch that is carried along; of a longer one, its hash."""

_PLAIN_BRANCH_RE: Final = re.compile(rb"z9hG4bK[A-Za-z0-9\-.!%*_+`'~]{1,100}")
_URI_TRANSPORT: Final = {"udp": "", "tcp": ";transport=tcp", "tls": ";transport=tls"}
DIALOG_METHODS: Final = frozenset({b"INVITE", b"SUBSCRIBE", b"REFER", b"NOTIFY"})
"""Requests that make a dialog, or may (RFC 3261 §12, RFC 6665 §4.4.1)."""
SPECIAL_METHODS: Final = DIALOG_METHODS | {b"REGISTER"}
"""Requests that get a line of ours beside the Via."""


OUTWARD: Final = b""
"""In the place of a method in `Peer.extras`: the Record-Route of any request to the peer."""
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def b64(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def unb64(text: bytes) -> bytes:
    """The reverse; raises ValueError."""
    return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)


class Edge:
    """The identity of a proxy, and what it writes. `epoch` differs in each process."""

    def __init__(
        self,
        link: str,
        key: TokenKey,
        epoch: int,
        node: str = "",
        domains: Iterable[str] = (),
        public_name: str = "",
    ) -> None:
        self.link = link
        self.key = key
        self.epoch = epoch
        self.domains = frozenset(domain.lower() for domain in domains)
        self.own: set[str] = {link.lower()}
        """`host:port` of every address that is ours, lower case; and the name of all proxies."""
        self._public_name = public_name.lower()
        if public_name:
            self.own |= {f"{self._public_name}{port}" for port in ("", ":5060", ":5061")}
        self.loop_seed = int.from_bytes(key.mac(b"loop " + node.encode())[:4], "big")
        self.known = KnownRoutes()
        self._owners: dict[str, str] = {}
        self._refs: dict[str, bytes] = {}
        self._named: dict[bytes, str] = {}

    # -- peers -----------------------------------------------------------------------------

    def dress(self, peer: Peer) -> Peer:
        """Make the byte strings of a new peer."""
        transport = peer.name.transport.upper().encode()
        link = self.link.encode()
        peer.via_in = b"Via: SIP/2.0/UDP %s;branch=%s%s." % (link, MARK, peer.ref)
        peer.via_out = b"Via: SIP/2.0/%s %s;rport;branch=%s" % (
            transport,
            peer.public.encode(),
            MARK,
        )
        return peer

    def ref(self, name: FlowName, port: int = 0) -> bytes:
        """How a branch names this peer; `port` in place of its own, for UDP without rport."""
        if name.connection:
            return b"c%x_%x" % (name.epoch, name.connection)
        ip = ipaddress.ip_address(name.host).packed
        return b"u" + b64(bytes((name.listener,)) + (port or name.port).to_bytes(2, "big") + ip)

    def holds(self, name: FlowName) -> bool:
        """Whether a connection is one of this process."""
        return name.epoch == self.epoch and name.proxy == self.link

    def read_ref(self, ref: bytes) -> FlowName | None:
        """The flow that a reference names (of a connection no more than epoch and id)."""
        try:
            if ref[:1] == b"c":
                epoch, _, number = ref[1:].partition(b"_")
                name = FlowName(self.link, "tcp", "0.0.0.0", 0, 0, int(epoch, 16), int(number, 16))
            else:
                raw = unb64(ref[1:])
                host = str(ipaddress.ip_address(raw[3:]))
                name = FlowName(self.link, "udp", host, int.from_bytes(raw[1:3], "big"), raw[0])
        except (ValueError, IndexError):
            return None
        return name

    # -- lines -----------------------------------------------------------------------------

    def extra(self, peer: Peer, method: bytes, appserver: str) -> bytes:
        """The Record-Route or Path line that a request from `peer` gets, b"" for none."""
        if method not in SPECIAL_METHODS:
            return b""
        line = peer.extras.get((method, appserver))
        if line is None:
            line = self._make_extra(peer, method, appserver)
            peer.extras[method, appserver] = line
        if method == b"REGISTER":
            peer.registered = True
        return line

    def _make_extra(self, peer: Peer, method: bytes, appserver: str) -> bytes:
        inner = self.inner_route(peer)
        if method == b"REGISTER":
            # RFC 5626 §5.1: "ob" tells the registrar that we keep the flow to the phone
            return f"Path: <{inner};ob>\r\n".encode()
        return f"Record-Route: <{inner}>, <{self.outer_route(peer, appserver)}>\r\n".encode()

    def record_route_out(self, peer: Peer, appserver: str) -> bytes:
        """The Record-Route line of a request towards `peer`: the public side topmost."""
        line = peer.extras.get((OUTWARD, appserver))
        if line is None:
            text = f"{self.outer_route(peer, appserver)}>, <{self.inner_route(peer)}"
            line = peer.extras[OUTWARD, appserver] = f"Record-Route: <{text}>\r\n".encode()
        return line

    def inner_route(self, peer: Peer) -> str:
        """The URI by which appservers reach this peer through us."""
        return f"sip:{self.key.sign_flow(peer.name)}@{self.link};lr"

    def outer_route(self, peer: Peer, appserver: str) -> str:
        """The URI by which this peer reaches that appserver through us."""
        owner = self._owners.get(appserver)
        if owner is None:
            owner = self._owners[appserver] = self.key.sign_owner(appserver)
        transport = _URI_TRANSPORT.get(peer.name.transport, ";transport=ws")
        # by a name a client finds another proxy when this one is gone (RFC 3263 §4), which
        # reads the same token; a port would keep it from looking for more than addresses (§4.2)
        return f"sip:{owner}@{self._public_name or peer.public}{transport};lr"

    # -- branches --------------------------------------------------------------------------

    def loop_hash(self, uri: bytes, routes: bytes = b"") -> bytes:
        """RFC 5393 §4.2.2: of what the way depends on here, Request-URI and Route."""
        return b"%08x" % zlib.crc32(routes, zlib.crc32(uri, self.loop_seed))

    def tail(self, branch: bytes | None, otherwise: bytes) -> bytes:
        """What of the received branch goes into ours. Without one by RFC 3261 (or with one too
        long or odd) it is the hash of what §16.11 names instead, given in `otherwise`."""
        if branch is not None and _PLAIN_BRANCH_RE.fullmatch(branch):
            return branch[7:]
        return b"*" + b64(self.key.mac(otherwise if branch is None else b"b" + branch))

    def via_out(self, peer: Peer, appserver: str, loop: bytes, tail: bytes) -> bytes:
        """Our Via line towards `peer`."""
        ref = self._refs.get(appserver)
        if ref is None:
            ref = self._refs[appserver] = b64(appserver.encode())
        inside = b"%s.%s." % (ref, loop)
        return b"%s%s%s.%s\r\n" % (peer.via_out, inside, self._mac(inside + tail), tail)

    def read_via_out(self, branch: bytes) -> str | None:
        """The appserver that the branch of a response from outside names; None for a forgery."""
        parts = branch[len(MARK) :].split(b".", 3)
        if not branch.startswith(MARK) or len(parts) != 4:
            return None
        ref, loop, mac, tail = parts
        return self.signed(ref, loop, mac, tail)

    def signed(self, ref: bytes, loop: bytes, mac: bytes, tail: bytes) -> str | None:
        """The same by the parts of the branch."""
        if mac != self._mac(b"%s.%s.%s" % (ref, loop, tail)):
            return None
        name = self._named.get(ref)
        if name is None:
            name = self._named[ref] = unb64(ref).decode()  # we wrote it: there are few
        return name

    def _mac(self, data: bytes) -> bytes:
        return b2a_base64(self.key.mac(data), newline=False).translate(_URL_SAFE)
