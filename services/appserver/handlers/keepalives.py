"""NAT keep-alives to UDP phones: each AOR has its turn once in `keepalive_seconds`."""

from __future__ import annotations

from collections import deque
from typing import Final

from services.appserver.domain.location import flow_token, proxy_of
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.siptransport.link import CONTROL

TICK_SECONDS: Final = 0.25
"""How often keep-alives go out: a slice each time, so that no tick holds the loop for long."""
REVIEW: Final = 4_000
"""AORs looked at in one tick when another node's bindings are taken over, some 10 ms of work:
100,000 phones are served anew within 7 s."""

_KEEPALIVE: Final = CONTROL + b"KEEPALIVE "


class Keepalives:
    """Those of the bindings that this node answers for."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._table = tools.table
        size = max(1, int(tools.config.keepalive_seconds / TICK_SECONDS))
        self._slices: list[set[str]] = [set() for _ in range(size)]
        self._at = 0
        self._review: deque[str] = deque()

    def stored(self, binding: Binding, account: Account | None = None) -> None:
        """A binding is in the table; `account` tells whether keep-alives are wanted."""
        if account is not None and not account.send_keepalives:
            self._slice(binding.aor).discard(binding.aor)
        elif self._wanted(binding):
            self._slice(binding.aor).add(binding.aor)

    def review(self) -> None:
        """Other nodes came or went: find what is ours to keep alive now, a piece each tick. What
        is no longer ours is left out when its turn comes."""
        self._review = deque(self._table.aors())

    def tick(self, now: float) -> None:
        """The slice whose turn it is: each AOR in it has, or had, a binding that wants them."""
        for _ in range(min(REVIEW, len(self._review))):
            self._take_over(self._review.popleft(), now)
        part = self._slices[self._at]
        self._at = (self._at + 1) % len(self._slices)
        through = self._tools.proxies.through
        for aor in list(part):
            wanting = [b for b in self._table.bindings(aor) if self._wanted(b)]
            for binding in wanting:
                line = _KEEPALIVE + flow_token(binding).encode()
                proxy = proxy_of(binding.path[0])
                if self._tools.proxies.away(proxy, now):
                    proxy = through(proxy, now, binding.received)
                self._tools.tell(line, proxy)
            if not wanting:
                part.discard(aor)

    def _take_over(self, aor: str, now: float) -> None:
        if not any(self._wanted(b) for b in self._table.bindings(aor)):
            return
        username, _, domain = aor.rpartition("@")
        account = self._tools.accounts.get(username, domain, now)
        if not isinstance(account, Account) or account.send_keepalives:
            self._slice(aor).add(aor)

    def _slice(self, aor: str) -> set[str]:
        return self._slices[hash(aor) % len(self._slices)]

    def _wanted(self, binding: Binding) -> bool:
        return (
            binding.received.startswith("udp:")
            and self._tools.ownership.owns(binding)
            and _is_natted(binding)
            and flow_token(binding) != ""
        )


def _is_natted(binding: Binding) -> bool:
    """Whether a NAT stands before a UDP phone: its Contact is not where it sends from."""
    address = binding.contact.partition(";")[0].partition("?")[0].lower()
    address = address.rpartition("@")[2] if "@" in address else address.partition(":")[2]
    if ":" not in address or address.endswith("]"):
        address += ":5060"
    return address != binding.received[4:]
