"""The refresh of a registration, most of what a registrar sees, on a short way.

A REGISTER was taken in full once. If another has the same lines, but for Via, CSeq and
Authorization, it asks for the same, and needs no parsing beyond its credentials: the fingerprint
of those lines leads to the binding. Whatever is unusual is left to the registrar.
"""

from __future__ import annotations

from typing import Final

from services.appserver.domain.authentication import Authenticator, Source, credentials_of
from services.appserver.domain.recent import Recent
from services.appserver.domain.routing import objection
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.register_answers import Arrival, RegisterAnswers
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.sip.message import Request

MAX_KNOWN: Final = 200_000
"""Fingerprints in each generation, about 200 bytes each."""

_VARYING: Final = frozenset({"via", "cseq", "authorization"})


class Refresher:
    """Knows the REGISTERs that made the present bindings."""

    def __init__(self, tools: Tools, bindings: Bindings, answers: RegisterAnswers) -> None:
        self._tools = tools
        self._table = tools.table
        self._authenticator: Authenticator = tools.authenticator
        self._bindings = bindings
        self._answers = answers
        self._known: Recent[int, tuple[Binding, int]] = Recent(tools.config.max_expires, MAX_KNOWN)

    def remember(self, arrival: Arrival, binding: Binding, flags: int) -> None:
        """This REGISTER made this binding and no other."""
        self._known.put(fingerprint(arrival.request), (binding, flags), arrival.now)

    def refresh(self, arrival: Arrival) -> bool:
        """Take a REGISTER like one taken before; False, with nothing done, if it is another."""
        request, now = arrival.request, arrival.now
        name = fingerprint(request)
        known = self._known.get(name, now)
        if known is None:
            return False
        old, flags = known
        wall = self._tools.wall()
        present = self._table.bindings(old.aor)
        # the very same object: nothing has changed this binding since
        if old.expires_at <= wall or not any(binding is old for binding in present):
            return False
        cseq = request.cseq.number
        if cseq <= old.cseq or not self._proves(request, old, wall, now):
            return False
        new = _renewed(old, cseq, wall)
        self._bindings.refresh(old, new)
        self._known.put(name, (new, flags), now)
        listed = (new,) if len(present) == 1 else tuple(self._table.live(old.aor, wall))
        self._answers.accept(arrival, listed, flags, wall)
        return True

    def _proves(self, request: Request, old: Binding, wall: float, now: float) -> bool:
        username, _, domain = old.aor.rpartition("@")
        account = self._tools.accounts.get(username, domain, now)
        if not isinstance(account, Account) or objection(account) is not None:
            return False
        credentials = credentials_of(request, "authorization", domain)
        if credentials is None or credentials.username != account.username:
            return False
        source = Source(old.received, old.received.partition(":")[2].rpartition(":")[0].strip("[]"))
        return self._authenticator.accepts(request, credentials, account, source, wall)


def fingerprint(request: Request) -> int:
    """A hash over the lines that say what a REGISTER asks for, keyed anew in each process."""
    index, lines = request.index, request.lines
    fixed = [request.uri]
    for key, numbers in index.items():
        if key not in _VARYING:
            fixed += [lines[n] for n in numbers]
    return hash("\n".join(fixed))


def _renewed(old: Binding, cseq: int, wall: float) -> Binding:
    return Binding(
        old.aor, old.owner, old.contact, old.received, old.path, old.q, old.instance, old.reg_id,
        old.call_id, cseq, old.user_agent,
        wall, wall + round(old.expires_at - old.registered_at), old.node, old.proxy,
    )  # fmt: skip
