"""Where the legs of a dial lead in a dry run, as the switch would find it (dial-strings.md, "Whom a
leg rings")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tandem.dialplan.dialstring import Leg
from tandem.dialplan.scene import AccountIs, LegSays, Scene
from tandem.dialplan.world import Incoming
from tandem.sip.uri import unescape

NOWHERE: Final = "nowhere"
_SEPARATORS_RE: Final = re.compile(r"[-.()\s]")


@dataclass(frozen=True, slots=True)
class Way:
    """Where a leg leads."""

    kind: str
    """`account`, `provider`, `outside`, or `nowhere`: then it never rings."""
    says: LegSays | None = None
    """What it answers, or why it leads nowhere; None: it rings and nobody answers."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Of the legs of one run."""

    scene: Scene
    call: Incoming
    dialplan: str
    """The name of the dialplan that runs."""

    def find(self, leg: Leg) -> Way:
        """What was said of a leg holds, even if it would lead nowhere now."""
        uri = leg.uri
        for known in self.scene.legs:
            if known.fits(leg.name, str(uri)):
                kind = self._found(leg).kind
                return Way("outside" if kind == NOWHERE else kind, known)
        return self._found(leg)

    def _found(self, leg: Leg) -> Way:
        scene, uri = self.scene, leg.uri
        host = uri.host.lower()
        if leg.login is not None:
            return Way("outside")
        if not uri.is_sip:
            number = _SEPARATORS_RE.sub("", unescape(uri.opaque.partition(";")[0]))
            home = self.call.account.rpartition("@")[2] or next(iter(scene.domains.values()), "")
            return self._account(number, home)
        if host in scene.domains:
            if not uri.user:
                return _nowhere(484, f"No user before {uri.host}")
            return self._account(uri.unescaped_user, host)
        if host in map(str.lower, scene.providers):
            return Way("provider")
        if host in map(str.lower, scene.disabled):
            return _nowhere(403, f"Provider {uri.host} is disabled")
        if "." not in host and ":" not in host:
            return _nowhere(404, f"There is no provider and no domain {uri.host}")
        return Way("outside")

    def _account(self, user: str, domain: str) -> Way:
        found = account(self.scene, user, domain)
        if found is None:
            home = self.scene.domains.get(domain, domain)
            return _nowhere(404, f"There is no account {user}@{home}")
        if not found.enabled:
            return _nowhere(403, "Account is disabled")
        if found.dialplan and not (found.mine and found.dialplan == self.dialplan):
            return Way("account")
        return Way("account") if found.phones else _nowhere(480, "Not registered")


def account(scene: Scene, user: str, domain: str) -> AccountIs | None:
    """The account that is meant: this one, else the one after the last dot."""
    home = scene.domains.get(domain.lower(), domain.lower())
    for name in (user.lower(), user.lower().rpartition(".")[2]):
        for found in scene.accounts:
            if found.user.lower() == name and found.domain.lower() == home:
                return found
    return None


def _nowhere(status: int, reason: str) -> Way:
    return Way(NOWHERE, LegSays(to="", status=status, reason=reason, after=0.0))
