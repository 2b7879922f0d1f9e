"""The client's side of digest authentication: RFC 3261 §22.2 and §22.3, RFC 7616, RFC 8760.

    request ──► 401, 407 ──► again(request, response) ──► the request with credentials, or None
    a further request of the same dialog ──► lines(method, uri) ──► credentials before it is asked

One of these serves one dialog, or one registration: the nonces that it learned are used for all
its requests, each time with the next count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tandem.sip.digest import Challenge, Credentials, answer, choose
from tandem.sip.errors import RemoteFault
from tandem.sip.grammar import clean
from tandem.sip.message import Request, Response

CHALLENGED: Final = frozenset({401, 407})
"""Answers that ask for credentials."""

MAX_REALMS: Final = 4
"""Realms that are answered at a time: the server's, and those of proxies before it."""

MAX_CHAINS: Final = 16
"""Requests whose challenges are remembered: more than are under way at once in one dialog."""

_ANSWERS: Final = {
    "www-authenticate": ("authorization", "Authorization"),
    "proxy-authenticate": ("proxy-authorization", "Proxy-Authorization"),
}

Key = tuple[str, str]
"""The header that asks, and the realm."""


@dataclass(slots=True)
class _Known:
    """A challenge that was answered, for use with further requests."""

    challenge: Challenge
    cnonce: str
    count: int = 0


class DigestClient:
    """Answers challenges with the credentials of one user. `new_token` gives random text.

    `realm` is the only realm that gets them; empty: any.
    """

    def __init__(
        self, username: str, password: str, new_token: Callable[[], str], *, realm: str = ""
    ) -> None:
        self.username = username
        self._password = password
        self._realm = realm
        self._new_token = new_token
        self._known: dict[Key, _Known] = {}
        self._chains: dict[int, dict[Key, int]] = {}
        """By the CSeq of a request that was sent anew: how often each realm was answered."""
        self._of_invite: list[str] = []

    def again(self, request: Request, response: Response, seq: int | None = None) -> Request | None:
        """The request that is to be sent in place of one that got this 401 or 407; without Via.

        `seq` is its CSeq, the next number if not given; Call-ID and From stay (RFC 3261 §22.2).
        None: there is no challenge that we can answer, or our credentials are the wrong ones.
        "The client SHOULD NOT attempt to retry" with those, but with a nonce that is stale.
        """
        chain = dict(self._chains.pop(request.cseq.number, {}))
        asked = self._asked(response)
        if not asked or not all(self._may(chain, request, *each) for each in asked.items()):
            return None
        for key, challenge in asked.items():
            self._known[key] = _Known(challenge, self._new_token())
            chain[key] = chain.get(key, 0) + 1
        number = request.cseq.number + 1 if seq is None else seq
        self._remember(number, chain)
        return self._with_credentials(request, number)

    def lines(self, method: str, uri: str) -> list[str]:
        """Header lines for a further request, in answer to what was asked before. "A UAC ... MAY"
        send them without being asked (§22.3). An ACK has those of its INVITE (§22.1)."""
        if method == "ACK":
            return self._of_invite
        return self._answers(method, uri, b"", also_with_body=False)

    def _asked(self, response: Response) -> dict[Key, Challenge]:
        """The strongest challenge of each realm among those for us."""
        groups: dict[Key, list[str]] = {}
        for header in _ANSWERS:
            for value in response.values(header):
                realm = _realm_of(value)
                if realm is not None and self._realm in ("", realm):
                    groups.setdefault((header, realm), []).append(value)
        chosen = ((key, choose(values)) for key, values in groups.items())
        return dict([(key, one) for key, one in chosen if one is not None][:MAX_REALMS])

    def _may(self, chain: dict[Key, int], request: Request, key: Key, asked: Challenge) -> bool:
        """Once, and once more if the nonce had only become stale; never with a nonce that was just
        refused."""
        if self._nonce_in(request, key) == asked.nonce and not asked.stale:
            return False
        answered = chain.get(key, 0)
        return answered == 0 or (answered == 1 and asked.stale)

    def _nonce_in(self, request: Request, key: Key) -> str | None:
        """The nonce that this request had credentials for."""
        header, realm = key
        for value in request.values(_ANSWERS[header][0]):
            try:
                sent = Credentials.parse(value)
            except RemoteFault:  # another's, passed on
                continue
            if sent.realm == realm:
                return sent.nonce
        return None

    def _remember(self, number: int, chain: dict[Key, int]) -> None:
        self._chains[number] = chain
        if len(self._chains) > MAX_CHAINS:
            del self._chains[next(iter(self._chains))]
        while len(self._known) > MAX_REALMS:
            del self._known[next(iter(self._known))]

    def _with_credentials(self, request: Request, seq: int) -> Request:
        method = request.method
        copy = request.with_uri(request.uri)
        copy.remove("via", "authorization", "proxy-authorization", "content-length")
        copy.set("CSeq", f"{seq} {method}")
        copy.lines += self._answers(method, request.uri, request.body, also_with_body=True)
        copy._forget()
        copy.unsized = True
        return copy

    def _answers(self, method: str, uri: str, body: bytes, *, also_with_body: bool) -> list[str]:
        lines = []
        for (header, _), known in self._known.items():
            if known.challenge.quality == "auth-int" and not also_with_body:
                continue
            known.count += 1
            value = answer(
                known.challenge, method, uri, self.username, password=self._password,
                cnonce=known.cnonce, nc=known.count, body=body,
            )  # fmt: skip
            lines.append(f"{_ANSWERS[header][1]}: {clean(value)}")
        if method == "INVITE":
            self._of_invite = lines
        return lines


def _realm_of(value: str) -> str | None:
    try:
        return Challenge.parse(value).realm
    except RemoteFault:
        return None
