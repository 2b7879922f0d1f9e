"""Digest authentication: RFC 7616 and RFC 8760 for SIP (RFC 3261 §22).

    Challenge ── str() ──► WWW-Authenticate ──► choose(), answer() ──► Authorization ──┐
    bool ◄── verify(credentials, ha1, method, body) ◄── Credentials.parse() ◄──────────┘

`verify` proves that the client knows the password and nothing else. Whether the nonce is ours
and fresh, and its count new, is what `NonceSource` and `NonceCounter` of nonce.py are asked.
Of two hashes that a verification takes, neither holds the password: servers keep `ha1` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5, new, sha256
from hmac import compare_digest
from typing import Final

from tandem.sip.errors import BadMessage, LocalFault
from tandem.sip.grammar import QUOTED, TOKEN, quote, unquote
from tandem.sip.nonce import NonceCounter, NonceSource, NonceState
from tandem.sip.uri import unescape

__all__ = [
    "ALGORITHMS",
    "Challenge",
    "Credentials",
    "NonceCounter",
    "NonceSource",
    "NonceState",
    "answer",
    "choose",
    "ha1",
    "verify",
]


def _md5(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return new("sha512_256", data).hexdigest()


_HASHES: Final[dict[str, Callable[[bytes], str]]] = {
    "SHA-512-256": _sha512_256,
    "SHA-256": _sha256,
    "MD5": _md5,
}

ALGORITHMS: Final = tuple(_HASHES)
"""The algorithms in the order of preference, strongest first (RFC 8760 §2.1)."""

_SESS: Final = "-sess"
# Algorithm names are compared without case (RFC 3261 §7.3.1); these are their right spellings.
_SPELLINGS: Final = {
    f"{name}{suffix}".lower(): f"{name}{suffix}" for name in _HASHES for suffix in ("", _SESS)
}

# digest-cln = "Digest" LWS dig-resp *( COMMA dig-resp ) ; dig-resp = token EQUAL value.
# The last group catches what is no parameter. Unquoted values hold whatever real phones send.
_PARAM_RE: Final = re.compile(
    rf'[\s,]*+(?:({TOKEN}+)\s*+=\s*+({QUOTED}|[^\s,"]*+)|(\S+))', re.DOTALL
)
_SCHEME_RE: Final = re.compile(r"\s*Digest\s+", re.IGNORECASE)
# nc-value = 8LHEX ; fewer digits occur
_NC_RE: Final = re.compile(r"[0-9A-Fa-f]{1,8}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What Authorization and Proxy-Authorization hold; all values unquoted, "" when absent."""

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    """As ALGORITHMS spells it, perhaps with `-sess`; an unknown one as it came."""
    cnonce: str = ""
    qop: str = ""
    """`auth`, `auth-int`, or "" for a client of RFC 2069."""
    nc: str = ""
    opaque: str = ""

    @classmethod
    def parse(cls, value: str) -> Credentials:
        """Parse a header value; order, blanks and case of names are free. Raises BadMessage."""
        params = _params(value, "Malformed credentials")
        get = params.get
        username = get("username")
        if username is None:
            username = _extended(get("username*", ""))
        nc = get("nc", "")
        if nc and _NC_RE.fullmatch(nc) is None:
            raise BadMessage("Malformed nonce count")
        try:
            return cls(
                username,
                params["realm"],
                params["nonce"],
                params["uri"],
                params["response"].lower(),
                _algorithm(get("algorithm")),
                get("cnonce", ""),
                get("qop", "").lower(),
                nc,
                get("opaque", ""),
            )
        except KeyError as missing:
            raise BadMessage(f"Credentials without {missing.args[0]}") from None

    @property
    def count(self) -> int:
        """The nonce count. 1 where there is none, so that such an answer is good once."""
        return int(self.nc, 16) if self.nc else 1

    def __str__(self) -> str:
        text = (
            f"Digest username={quote(self.username)}, realm={quote(self.realm)}, "
            f"nonce={quote(self.nonce)}, uri={quote(self.uri)}, "
            f'response="{self.response}", algorithm={self.algorithm}'
        )
        if self.cnonce:
            text += f", cnonce={quote(self.cnonce)}"
        if self.qop:
            text += f", qop={self.qop}, nc={self.nc}"
        return f"{text}, opaque={quote(self.opaque)}" if self.opaque else text


@dataclass(frozen=True, slots=True)
class Challenge:
    """What WWW-Authenticate and Proxy-Authenticate hold: one algorithm each (RFC 8760 §2.4)."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    qop: str = "auth"
    """The qualities offered, separated by commas; "" for a server of RFC 2069."""
    stale: bool = False
    """The password was right, only the nonce is too old: answer anew without asking anybody."""
    opaque: str = ""

    @classmethod
    def parse(cls, value: str) -> Challenge:
        """Parse a header value; raises BadMessage."""
        params = _params(value, "Malformed challenge")
        if "realm" not in params or "nonce" not in params:
            raise BadMessage("Challenge without realm or nonce")
        return cls(
            params["realm"],
            params["nonce"],
            _algorithm(params.get("algorithm")),
            params.get("qop", "").lower(),
            params.get("stale", "").lower() == "true",
            params.get("opaque", ""),
        )

    @property
    def quality(self) -> str | None:
        """The qop to answer with: `auth` before `auth-int`, "" for none, None if we know none."""
        offered = {item.strip() for item in self.qop.split(",")}
        return next((qop for qop in ("auth", "auth-int", "") if qop in offered), None)

    def __str__(self) -> str:
        text = f"Digest realm={quote(self.realm)}, nonce={quote(self.nonce)}"
        if self.opaque:
            text += f", opaque={quote(self.opaque)}"
        text += f", algorithm={self.algorithm}"
        if self.qop:
            text += f', qop="{self.qop}"'
        return f"{text}, stale=true" if self.stale else text


def ha1(algorithm: str, username: str, realm: str, password: str) -> str:
    """H(username:realm:password) in hexadecimal: what a server keeps in place of a password.

    Raises LocalFault for an algorithm that is not in ALGORITHMS.
    """
    return _hash(algorithm)(_bytes(f"{username}:{realm}:{password}"))


def verify(credentials: Credentials, ha1_hex: str, method: str, body: bytes = b"") -> bool:
    """Whether the response is the one of a client that knows the password behind `ha1_hex`.

    `ha1_hex` must be of the credentials' algorithm (without `-sess`). False, too, for an
    algorithm or qop that we don't know. `body` matters to `auth-int` alone.
    """
    expected = _response(credentials, ha1_hex, method, body)
    return expected is not None and compare_digest(expected, _bytes(credentials.response))


def choose(values: Iterable[str]) -> Challenge | None:
    """The strongest challenge that we can answer among these header values, the topmost of
    equals; None if there is none. What is malformed or of another scheme is passed over."""
    best: Challenge | None = None
    for value in values:
        try:
            challenge = Challenge.parse(value)
        except BadMessage:
            continue
        if challenge.quality is None or challenge.algorithm.lower() not in _SPELLINGS:
            continue
        if best is None or _rank(challenge) < _rank(best):
            best = challenge
    return best


def answer(
    challenge: Challenge,
    method: str,
    uri: str,
    username: str,
    *,
    password: str | None = None,
    ha1: str | None = None,
    cnonce: str,
    nc: int = 1,
    body: bytes = b"",
) -> str:
    """The Authorization value that answers `challenge`, from the password or from its `ha1`.

    `cnonce` is fresh random text, `nc` how often this nonce was used, this time included.
    Raises LocalFault for a challenge that `choose` would not choose, or without a secret.
    """
    quality = challenge.quality
    if quality is None:
        raise LocalFault("Cannot answer this qop")
    secret = _secret(challenge, username, password, ha1)
    session = challenge.algorithm.endswith(_SESS)
    blank = Credentials(
        username,
        challenge.realm,
        challenge.nonce,
        uri,
        "",
        challenge.algorithm,
        cnonce if quality or session else "",
        quality,
        f"{nc:08x}" if quality else "",
        challenge.opaque,
    )
    response = _response(blank, secret, method, body)
    assert response is not None  # _secret and quality admit what _response knows
    return str(_with_response(blank, response.decode()))


def _secret(challenge: Challenge, username: str, password: str | None, known: str | None) -> str:
    base = challenge.algorithm.removesuffix(_SESS)
    _hash(base)
    if known is not None:
        return known
    if password is None:
        raise LocalFault("Neither password nor ha1 given")
    return ha1(base, username, challenge.realm, password)


def _with_response(blank: Credentials, response: str) -> Credentials:
    return Credentials(
        blank.username,
        blank.realm,
        blank.nonce,
        blank.uri,
        response,
        blank.algorithm,
        blank.cnonce,
        blank.qop,
        blank.nc,
        blank.opaque,
    )


def _response(credentials: Credentials, secret: str, method: str, body: bytes) -> bytes | None:
    """RFC 7616 §3.4.1: KD(H(A1), nonce : nc : cnonce : qop : H(A2))."""
    algorithm = credentials.algorithm
    nonce = credentials.nonce
    h = _HASHES.get(algorithm)
    if h is None:
        h = _HASHES.get(algorithm.removesuffix(_SESS))
        if h is None:
            return None
        secret = h(_bytes(f"{secret}:{nonce}:{credentials.cnonce}"))
    qop = credentials.qop
    a2 = f"{method}:{credentials.uri}"
    if qop == "auth":
        nonce = f"{nonce}:{credentials.nc}:{credentials.cnonce}:auth"
    elif qop == "auth-int":
        a2 = f"{a2}:{h(body)}"
        nonce = f"{nonce}:{credentials.nc}:{credentials.cnonce}:auth-int"
    elif qop:
        return None
    return h(_bytes(f"{secret}:{nonce}:{_a2(h, a2)}")).encode()


@lru_cache(maxsize=256)
def _a2(h: Callable[[bytes], str], a2: str) -> str:
    """H(A2): all phones of a domain register with the same."""
    return h(_bytes(a2))


def _rank(challenge: Challenge) -> int:
    return ALGORITHMS.index(challenge.algorithm.removesuffix(_SESS))


def _hash(algorithm: str) -> Callable[[bytes], str]:
    found = _HASHES.get(algorithm)
    if found is None:
        raise LocalFault(f"Unknown digest algorithm {algorithm}")
    return found


def _algorithm(text: str | None) -> str:
    # "If this is not present it is assumed to be MD5" (RFC 7616 §3.3)
    return "MD5" if not text else _SPELLINGS.get(text.lower(), text)


def _params(value: str, fault: str) -> dict[str, str]:
    scheme = _SCHEME_RE.match(value)
    if scheme is None:
        raise BadMessage("Authentication scheme is not Digest")
    params: dict[str, str] = {}
    found: list[tuple[str, str, str]] = _PARAM_RE.findall(value.rstrip(" \t\r\n,"), scheme.end())
    for name, text, garbage in found:
        if garbage:
            raise BadMessage(fault)
        if text[:1] == '"':
            text = unquote(text) if "\\" in text else text[1:-1]
        params[name.lower()] = text
    if len(params) < len(found):
        raise BadMessage(fault)
    return params


def _extended(text: str) -> str:
    # username* = charset'language'percent-encoded (RFC 5987), which RFC 7616 §3.4 allows
    charset, _, rest = text.partition("'")
    if charset.lower() != "utf-8":
        raise BadMessage("Credentials without username")
    return unescape(rest.partition("'")[2])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
