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

_CHANGING_RE: Final = re.compile(rb"\r\n((?:Via|CSeq|Authorization):[^\r]*)")

# name="value" or name=value, the values without blanks, commas and escapes: what has them is
# read wrong, is not proved by it, and goes the long way.
_PARAM_RE: Final = re.compile(r'([a-z]+)=("?)([^ \t",\\]*)("?)')
_NEEDED: Final = ("username", "realm", "nonce", "uri", "response", "cnonce", "qop", "nc")
MAX_PARAMS: Final = 16
"""Parameters of an Authorization; there are ten names."""


Parts = tuple[bytes, list[bytes], bytes, bytes]
"""A REGISTER taken apart: what a refresh has in common with what it refreshes, the Vias, CSeq,
Authorization. A bare tuple: this is the fastest path."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where among the common lines an answer finds what it copies, and how the credentials are
    spelt. Phones of a kind have one layout, so few objects serve all."""

    from_: int
    to: int
    call_id: int
    path: tuple[int, ...]
    flags: int
    credentials: re.Pattern[str]


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
        layout = _layout(parts, flags) if parts is not None else None
        if parts is None or layout is None:
            return
        if len(self._layouts) > MAX_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts.setdefault(layout, layout)
        expires = round(binding.expires_at - self._tools.wall())
        self._known.put(hash(parts[0]), (binding, layout, expires), arrival.now)

    def refresh(self, data: bytes, peer: str, now: float) -> bool:
        """Take a REGISTER like one taken before; False, with nothing done, if it is another."""
        parts = dissect(data)
        if parts is None:
            return False
        fixed, _, cseq_line, authorization = parts
        name = hash(fixed)
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
        if cseq <= old.cseq or not self._proves(authorization, old, layout, wall, now):
            return False
        new = _renewed(old, cseq, wall, expires)
        self._bindings.refresh(old, new)
        self._known.put(name, (new, layout, expires), now)
        listed = (new,) if len(present) == 1 else self._table.live(old.aor, wall)
        contacts = [contact_line(binding, wall).encode() for binding in listed]
        self._answers.send(data, peer, now, self._answer(parts, layout, contacts))
        return True

    def _proves(
        self, authorization: bytes, old: Binding, layout: Layout, wall: float, now: float
    ) -> bool:
        username, _, domain = old.aor.rpartition("@")
        account = self._accounts.get(username, domain, now)
        if not isinstance(account, Account) or objection(account) is not None:
            return False
        credentials = _credentials(authorization, layout, account.username, domain)
        if credentials is None:
            return False
        return self._authenticator.accepts("REGISTER", credentials, account, old.received, wall)

    def _answer(self, parts: Parts, layout: Layout, contacts: list[bytes]) -> bytes:
        common, vias, cseq, _ = parts
        fixed = common.split(b"\r\n")
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
    """Take a REGISTER apart; None unless it is of the usual form, without a body."""
    if data.find(b"\r\n\r\n") != len(data) - 4:
        return None
    pieces = _CHANGING_RE.split(data)
    vias: list[bytes] = []
    cseq = authorization = b""
    for line in pieces[1::2]:
        first = line[:1]
        if first == b"V":
            vias.append(line)
        elif first == b"C":
            if cseq:
                return None
            cseq = line
        elif authorization:
            return None
        else:
            authorization = line
    return (b"".join(pieces[::2]), vias, cseq, authorization) if cseq and authorization else None


def _has(bindings: tuple[Binding, ...], wanted: Binding) -> bool:
    for binding in bindings:
        if binding is wanted:
            return True
    return False


def _layout(parts: Parts, flags: int) -> Layout | None:
    """None for a REGISTER that is not of the usual form."""
    found: dict[str, list[int]] = {}
    for number, line in enumerate(parts[0][:-4].split(b"\r\n")[1:], 1):
        name, colon, _ = line.partition(b":")
        if not colon or line[:1] in _BLANKS:  # a fold
            return None
        found.setdefault(header_key(name.decode("latin-1")), []).append(number)
    credentials = _form(parts[3])
    if credentials is None or found.keys() & {"via", "cseq", "authorization"}:  # spelt otherwise
        return None
    path = tuple(found.get("path", ()))
    return Layout(found["from"][0], found["to"][0], found["call-id"][0], path, flags, credentials)


_BLANKS: Final = (b" ", b"\t")


def _form(line: bytes) -> re.Pattern[str] | None:
    """What all Authorization lines look like that are spelt as this one is."""
    if not line.startswith(b"Authorization: Digest "):
        return None
    text = line.decode("utf-8", "surrogateescape")
    form, at = "", 0
    names: set[str] = set()
    for param in _PARAM_RE.finditer(text, 22):
        name, opened, _, closed = param.groups()
        if name in names or opened != closed or len(names) == MAX_PARAMS:
            return None
        names.add(name)
        form += f"{re.escape(text[at : param.start()])}{name}={opened}"
        form += rf'(?P<{name}>[^ \t",\\]*){closed}'
        at = param.end()
    return re.compile(form + re.escape(text[at:])) if names.issuperset(_NEEDED) else None


def _number(line: bytes) -> int:
    """The CSeq number, -1 for what is not of the usual form."""
    words = line[5:].split()
    if len(words) != 2 or words[1] != b"REGISTER" or line[4:5] != b":":
        return -1
    return int(words[0]) if words[0].isdigit() and len(words[0]) <= 10 else -1


def _credentials(line: bytes, layout: Layout, username: str, realm: str) -> Credentials | None:
    """The credentials of this user for this realm, None for what is not of the usual form."""
    found = layout.credentials.fullmatch(line.decode("utf-8", "surrogateescape"))
    if found is None:
        return None
    name, its_realm, nonce, uri, response, cnonce, qop, nc = found.group(*_NEEDED)
    if not (nonce and uri and response and cnonce) or len(nc) != 8 or not nc.isalnum():
        return None
    if name != username or its_realm != realm or qop != "auth":
        return None
    algorithm = found["algorithm"] if "algorithm" in layout.credentials.groupindex else "MD5"
    return Credentials(username, realm, nonce, uri, response, algorithm, cnonce, "auth", nc)


def _renewed(old: Binding, cseq: int, wall: float, expires: int) -> Binding:
    # another node's clock may have been ahead of ours: what is newer is never dated older
    at = wall if wall > old.registered_at else old.registered_at + TICK
    return Binding(
        old.aor, old.owner, old.contact, old.received, old.path, old.q, old.instance, old.reg_id,
        old.call_id, cseq, old.user_agent,
        at, wall + expires, old.node, old.proxy,
    )  # fmt: skip
