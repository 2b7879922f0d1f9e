"""OPTIONS to each appserver over the link: who answers is active."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from services.proxy.domain.appservers import Appservers
from services.proxy.domain.edge import MARK
from services.proxy.handlers.forwarder import PROBE_REF
from tandem.siptransport.link import Link

INTERVAL: Final = 0.5
"""Seconds between two probes of an appserver."""
SILENCE: Final = 1.6
"""Seconds without an answer until an appserver counts as gone: three probes; so that new calls
go elsewhere within two seconds (DESIGN §8)."""


class OptionsProbes:
    """Keeps `appservers` to those that answer. `clock` is monotonic, in seconds."""

    def __init__(
        self, names: Iterable[str], link: Link, appservers: Appservers, clock: Callable[[], float]
    ) -> None:
        self._names = tuple(names)
        self._link = link
        self._appservers = appservers
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._number = 0
        self.found = asyncio.Event()
        """Set once the first is active."""

    def tick(self) -> None:
        """Probe all, and give up those that were silent too long; called every INTERVAL."""
        self._judge()
        self._number += 1
        for name in self._names:
            self._link.send(self._probe(name), name)

    def answered(self, appserver: str, status: int) -> None:
        """An answer came: 503 says that it wants no new calls (it is draining), any other that
        it serves."""
        if appserver not in self._names:
            return
        if status == 503:
            self._heard.pop(appserver, None)
        else:
            self._heard[appserver] = self._clock()
        self._judge()

    def _judge(self) -> None:
        since = self._clock() - SILENCE
        active = frozenset(name for name, heard in self._heard.items() if heard > since)
        if active != self._appservers.active:
            self._appservers.set_active(active)
            self.found.set()

    def _probe(self, name: str) -> bytes:
        link = self._link.address
        branch = f"{MARK.decode()}{PROBE_REF.decode()}.{self._number}"
        return (
            f"OPTIONS sip:{name} SIP/2.0\r\nVia: SIP/2.0/UDP {link};branch={branch}\r\n"
            f"Max-Forwards: 1\r\nFrom: <sip:probe@{link}>;tag=probe\r\nTo: <sip:{name}>\r\n"
            f"Call-ID: probe-{self._number}@{link}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ).encode()
