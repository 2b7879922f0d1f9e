"""OPTIONS to each appserver over the link: who answers is alive."""

from __future__ import annotations

import asyncio

from services.proxy.domain.edge import MARK
from services.proxy.domain.members import Members
from services.proxy.handlers.forwarder import PROBE_REF
from tandem.siptransport.link import Link


class OptionsProbes:
    """Asks all members, and tells them what was answered."""

    def __init__(self, members: Members, link: Link) -> None:
        self._members = members
        self._link = link
        self._number = 0
        self.found = asyncio.Event()
        """Set once the first has answered."""
        members.on_address = self.probe

    def tick(self) -> None:
        """Give up those that were silent too long, and probe all; called every INTERVAL."""
        self._members.look()
        self._number += 1
        for address in self._members.addresses:
            self.probe(address)

    def answered(self, appserver: str, status: int) -> None:
        """See ports.Probes."""
        self._members.answered(appserver, status)
        self.found.set()

    def probe(self, address: str) -> None:
        """Ask one now."""
        link = self._link.address
        branch = f"{MARK.decode()}{PROBE_REF.decode()}.{self._number}"
        text = (
            f"OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {link};branch={branch}\r\n"
            f"Max-Forwards: 1\r\nFrom: <sip:probe@{link}>;tag=probe\r\nTo: <sip:{address}>\r\n"
            f"Call-ID: probe-{self._number}@{link}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        self._link.send(text.encode(), address)
