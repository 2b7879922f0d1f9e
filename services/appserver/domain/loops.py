"""INVITEs that we send to ourselves, so that an account's own dialplan is run for them.

What must not be believed of a header is told beside the message, within the process: who calls,
and where the call came from. It is found by the branch of the INVITE, which we chose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem.rpc.directory import Account

MAX_LOOPS: Final = 10
"""How often one call may come back to us. Max-Forwards and Max-Breadth bound what it grows to;
this bounds what two dialplans that call each other may cost."""

MAX_TOLD: Final = 50_000
"""INVITEs on their way to ourselves: as many as may wait there (`adapters/loopback.py`), so that
none arrives of which nothing is known any more."""


@dataclass(frozen=True, slots=True)
class Looped:
    """What is known of a call that we sent to ourselves."""

    caller: Account | None
    """Who proved to be the caller when it came from outside; None for a stranger."""
    source: str
    """Where it came from then: `udp:203.0.113.7:5060`."""
    proxy: str
    """The link address of the proxy that brought it: what leaves leaves by it."""
    times: int = 1
    """How often it has come back by now."""


class Loops:
    """What was told of INVITEs that are on their way."""

    def __init__(self) -> None:
        self._told: dict[str, Looped] = {}

    def tell(self, branch: str, looped: Looped) -> None:
        """This INVITE is on its way."""
        self._told[branch] = looped
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]

    def take(self, branch: str) -> Looped | None:
        """It is here. None: nobody told of it."""
        return self._told.pop(branch, None)
