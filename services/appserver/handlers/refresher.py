"""The refresh of a registration, most of what a registrar sees, on a short way.

A REGISTER was taken in full once. If another is made of the same lines, but for Via, CSeq and
Authorization, it asks for the same, and only its credentials and CSeq need a look: the
fingerprint of the lines leads to the binding. This works on bytes, with no parsed message.
Whatever is unusual (a fold, a body, another spelling, a wrong password) is left to the registrar,
and nothing has been done by then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.appserver.domain.location import TICK
from services.appserver.domain.recent import Recent
from services.appserver.domain.routing import objection
from services.appserver.handlers.bindings import Bindings
from services.appserver.handlers.register_answers import (
    ECHO_PATH,
    OUTBOUND,
    Arrival,
    RegisterAnswers,
    contact_line,
)
from services.appserver.handlers.tools import Tools
from tandem.bus.location import Binding
from tandem.rpc.directory import Account
from tandem.sip.digest import Credentials
from tandem.sip.message import header_key

MAX_KNOWN: Final = 200_000
"""Fingerprints in each generation, about 200 bytes each."""

# name="value" or name=value, the values without blanks, commas and escapes: what has them is
# read wrong, is not proved by it, and goes the long way.
_PARAM_RE: Final = re.compile(r'([a-z]+)="?([^\s",\\]*)"?')


Parts = tuple[list[bytes], list[bytes], bytes, bytes]
"""A REGISTER taken apart: the lines that a refresh has in common with what it refreshes (the
request line first), the Vias, CSeq, Authorization. A bare tuple: this is the fastest path."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in `fixed` an answer finds what it copies. Phones of a kind have one layout, so few
    objects serve all."""

    from_: int
    to: int
    call_id: int
    path: tuple[int, ...]
    flags: int


class Refresher:
    """Knows the REGISTERs that made the present bindings."""

    def __init__(self, tools: Tools, bindings: Bindings, answers: RegisterAnswers) -> None:
        self._tools = tools
        self._table = tools.table
        self._accounts = tools.accounts
        self._authenticator = tools.authenticator
        self._bindings = bindings
        self._answers = answers
        self._known: Recent[int, tuple[Binding, Layout, int]] = Recent(
            tools.config.max_expires, MAX_KNOWN
        )
        self._layouts: dict[Layout, Layout] = {}
        self._tail = f"{SUPPORTED}\r\nServer: {tools.config.server_name}\r\n".encode()
        self._tail += b"Content-Length: 0\r\n\r\n"

    def remember(self, arrival: Arrival, binding: Binding, flags: int) -> None:
        """This REGISTER made this binding and no other."""
        parts = dissect(arrival.data)
        layout = _layout(parts[0], flags) if parts is not None else None
        if parts is None or layout is None:
            return
        if len(self._layouts) > MAX_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts.setdefault(layout, layout)
        expires = round(binding.expires_at - self._tools.wall())
        self._known.put(_fingerprint(parts[0]), (binding, layout, expires), arrival.now)

    def refresh(self, data: bytes, peer: str, now: float) -> bool:
        """Take a REGISTER like one taken before; False, with nothing done, if it is another."""
        parts = dissect(data)
        if parts is None:
            return False
        fixed, _, cseq_line, authorization = parts
        name = _fingerprint(fixed)
        known = self._known.get(name, now)
        if known is None:
            return False
        old, layout, expires = known
        wall = self._tools.wall()
        present = self._table.bindings(old.aor)
        # the very same object: nothing has changed this binding since
        if old.expires_at <= wall or not _has(present, old):
            return False
        cseq = _number(cseq_line)
        if cseq <= old.cseq or not self._proves(authorization, old, wall, now):
            return False
        new = _renewed(old, cseq, wall, expires)
        self._bindings.refresh(old, new)
        self._known.put(name, (new, layout, expires), now)
        listed = (new,) if len(present) == 1 else self._table.live(old.aor, wall)
        contacts = [contact_line(binding, wall).encode() for binding in listed]
        self._answers.send(data, peer, now, self._answer(parts, layout, contacts))
        return True

    def _proves(self, authorization: bytes, old: Binding, wall: float, now: float) -> bool:
        username, _, domain = old.aor.rpartition("@")
        account = self._accounts.get(username, domain, now)
        if not isinstance(account, Account) or objection(account) is not None:
            return False
        credentials = _credentials(authorization, account.username, domain)
        if credentials is None:
            return False
        return self._authenticator.accepts("REGISTER", credentials, account, old.received, wall)

    def _answer(self, parts: Parts, layout: Layout, contacts: list[bytes]) -> bytes:
        fixed, vias, cseq, _ = parts
        to = fixed[layout.to]
        if b";tag=" not in to:
            to += b";tag=" + self._tools.new_token().encode()
        lines = [
            b"SIP/2.0 200 OK",
            *vias,
            fixed[layout.from_],
            to,
            fixed[layout.call_id],
            cseq,
            *contacts,
        ]
        if layout.flags & ECHO_PATH:
            lines += [fixed[n] for n in layout.path]
        if layout.flags & OUTBOUND:
            lines.append(b"Require: outbound")
        lines.append(self._tail)
        return b"\r\n".join(lines)


SUPPORTED: Final = "Supported: path, outbound"
MAX_LAYOUTS: Final = 1_000
"""Kinds of phones; a client that shuffles its headers makes new ones."""


def dissect(data: bytes) -> Parts | None:
    """Take a REGISTER apart; None unless it is of the usual form, without body and folds."""
    if not data.endswith(b"\r\n\r\n"):
        return None
    fixed: list[bytes] = []
    vias: list[bytes] = []
    cseq = authorization = b""
    for line in data[:-4].split(b"\r\n"):
        start = line[:4]
        if start == b"Via:":
            vias.append(line)
        elif start == b"CSeq":
            if cseq:
                return None
            cseq = line
        elif start == b"Auth":
            if authorization:
                return None
            authorization = line
        elif start[:1] in _FOLDS:
            return None
        else:
            fixed.append(line)
    return (fixed, vias, cseq, authorization) if cseq and authorization else None


def _fingerprint(fixed: list[bytes]) -> int:
    """A hash over the common lines; its key is new in each process."""
    return hash(b"\n".join(fixed))


def _has(bindings: tuple[Binding, ...], wanted: Binding) -> bool:
    for binding in bindings:
        if binding is wanted:
            return True
    return False


_FOLDS: Final = (b"", b" ", b"\t")


def _layout(fixed: list[bytes], flags: int) -> Layout | None:
    found: dict[str, list[int]] = {}
    for number, line in enumerate(fixed[1:], 1):
        name = line.partition(b":")[0].decode("latin-1")
        found.setdefault(header_key(name), []).append(number)
    if found.keys() & {"via", "cseq", "authorization"}:  # of another spelling: not the usual form
        return None
    return Layout(
        found["from"][0], found["to"][0], found["call-id"][0], tuple(found.get("path", ())), flags
    )


def _number(line: bytes) -> int:
    """The CSeq number, -1 for what is not of the usual form."""
    words = line[5:].split()
    if len(words) != 2 or words[1] != b"REGISTER" or line[4:5] != b":":
        return -1
    return int(words[0]) if words[0].isdigit() and len(words[0]) <= 10 else -1


def _credentials(line: bytes, username: str, realm: str) -> Credentials | None:
    """The credentials of this user for this realm, None for what is not of the usual form."""
    if not line.startswith(b"Authorization: Digest "):
        return None
    found = _PARAM_RE.findall(line.decode("utf-8", "surrogateescape"), 22)
    params = dict(found)
    if len(params) != len(found):
        return None
    get = params.get
    nonce, uri, response, cnonce = get("nonce"), get("uri"), get("response"), get("cnonce")
    nc = get("nc", "")
    if not (nonce and uri and response and cnonce) or len(nc) != 8 or not nc.isalnum():
        return None
    if get("username") != username or get("realm") != realm or get("qop") != "auth":
        return None
    algorithm = get("algorithm", "MD5")
    return Credentials(username, realm, nonce, uri, response, algorithm, cnonce, "auth", nc)


def _renewed(old: Binding, cseq: int, wall: float, expires: int) -> Binding:
    # another node's clock may have been ahead of ours: what is newer is never dated older
    at = wall if wall > old.registered_at else old.registered_at + TICK
    return Binding(
        old.aor, old.owner, old.contact, old.received, old.path, old.q, old.instance, old.reg_id,
        old.call_id, cseq, old.user_agent,
        at, wall + expires, old.node, old.proxy,
    )  # fmt: skip
