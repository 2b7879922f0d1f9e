"""Who sends this request? Digest authentication of RFC 3261 §22 with RFC 7616 and RFC 8760.

An unknown account and a wrong password take the same way, cost the same and are answered alike,
so that nobody learns which accounts exist.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from services.appserver.domain.guard import Guard
from tandem.rpc.directory import Account
from tandem.sip.digest import Challenge, Credentials, verify
from tandem.sip.errors import RemoteFault
from tandem.sip.message import Request
from tandem.sip.nonce import NonceCounter, NonceSource, NonceState

NOBODY: Final = "0" * 32
"""The hash that an unknown account is verified against: no password has it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The account's owner sent it."""

    account: Account


@dataclass(frozen=True, slots=True)
class Challenged:
    """Ask for credentials. `failure` says what was wrong with those that came, "" for none."""

    lines: tuple[str, ...]
    """The values of WWW-Authenticate or Proxy-Authenticate, one line each."""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """No more questions. `delay` is how many seconds to wait with the answer."""

    status: int
    reason: str
    failure: str
    delay: float = 0.0


Verdict = Allowed | Challenged | Refused


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request really came from."""

    text: str
    """`udp:203.0.113.7:5060`"""
    host: str
    """Without brackets."""


class Authenticator:
    """Judges the credentials of requests. `wall` is Unix seconds."""

    def __init__(
        self,
        nonces: NonceSource,
        counter: NonceCounter,
        guard: Guard,
        algorithms: tuple[str, ...],
    ) -> None:
        self.guard = guard
        self._nonces = nonces
        self._counter = counter
        self._algorithms = algorithms
        self._offer = algorithms
        self._hashes: AbstractSet[str] = set(algorithms)

    def judge(
        self,
        request: Request,
        credentials: Credentials | None,
        account: Account | None,
        realm: str,
        source: Source,
        wall: float,
    ) -> Verdict:
        """`credentials` are those of this realm; `account` is the one that they, or where there
        are none the request, name; None if there is no such account. One that is made of a
        provider's contact is none here: nobody proves to be it."""
        if account is not None and account.contact_only:
            account = None
        name = _name(credentials, account)
        if account is not None and account.ha1.keys() != self._hashes:
            self._learn_hashes(account)
        if left := self.guard.banned_for(source.host, name, wall):
            why = f"banned for another {left:.0f} s after too many wrong passwords"
            return Refused(403, "Too many failed attempts", why)
        if account is not None and account.ip_acl and admits(account.ip_acl, source.host):
            return Allowed(account)
        if credentials is None or credentials.algorithm not in self._offer:
            return self._challenge(realm, wall)
        state = self._nonces.check(credentials.nonce, wall)
        if state is NonceState.FOREIGN:
            return self._challenge(realm, wall)
        if not self._proves(request, credentials, account) or account is None:
            return self._failed(realm, name, account, source, wall)
        if state is NonceState.STALE or not self._counter.accept(
            credentials.nonce, credentials.count
        ):
            return self._challenge(realm, wall, stale=True)
        self.guard.succeeded(source.host, name)
        return Allowed(account)

    def accepts(
        self,
        method: str,
        credentials: Credentials,
        account: Account,
        received: str,
        wall: float,
    ) -> bool:
        """Whether these credentials of a request without a body are right. False leaves no trace:
        judge the request then."""
        if account.contact_only:
            return False
        if self.guard.busy and self._is_banned(received, credentials, wall):
            return False
        return (
            credentials.algorithm in self._offer
            and self._is_valid(credentials.nonce, wall)
            and verify(credentials, account.ha1.get(credentials.algorithm, NOBODY), method)
            and self._counter.accept(credentials.nonce, credentials.count)
        )

    def _is_valid(self, nonce: str, wall: float) -> bool:
        if nonce in self._counter:  # it was seen to be ours
            return self._nonces.is_fresh(nonce, wall)
        return self._nonces.check(nonce, wall) is NonceState.VALID

    def _is_banned(self, received: str, credentials: Credentials, wall: float) -> bool:
        host = received.partition(":")[2].rpartition(":")[0].strip("[]")
        return self.guard.banned_for(host, user_of(credentials).lower(), wall) > 0.0

    def _learn_hashes(self, account: Account) -> None:
        """Offer what accounts have hashes for. Unknown accounts are offered what the last known
        one was, so that they can't be told apart by it."""
        self._hashes = account.ha1.keys()
        self._offer = tuple(a for a in self._algorithms if a in account.ha1) or self._algorithms

    def _proves(self, request: Request, credentials: Credentials, account: Account | None) -> bool:
        ha1 = account.ha1.get(credentials.algorithm, NOBODY) if account is not None else NOBODY
        return verify(credentials, ha1, request.method, request.body)

    def _failed(
        self, realm: str, name: str, account: Account | None, source: Source, wall: float
    ) -> Verdict:
        failure = self.guard.failed(source.host, name, wall)
        why = "unknown account" if account is None else "wrong password"
        why = f"{why}, attempt {failure.count}"
        if failure.banned_for:
            why += f", banned for {failure.banned_for:.0f} s"
        if failure.forbidden:
            return Refused(403, "Wrong password", why, failure.delay)
        return self._challenge(realm, wall, failure=why)

    def _challenge(
        self, realm: str, wall: float, *, stale: bool = False, failure: str = ""
    ) -> Challenged:
        nonce = self._nonces.issue(wall)
        lines = tuple(
            str(Challenge(realm, nonce, algorithm, stale=stale)) for algorithm in self._offer
        )
        return Challenged(lines, failure)


def credentials_of(request: Request, header: str, realm: str) -> Credentials | None:
    """Those for our realm among the request's; what is of another realm, another scheme or
    malformed is passed over: other servers on the way may have asked for it."""
    for value in request.values(header):
        try:
            found = Credentials.parse(value)
        except RemoteFault:
            continue
        if found.realm == realm:
            return found
    return None


def user_of(credentials: Credentials) -> str:
    """The account's user name: some phones are told `user@domain` as their authentication id."""
    name, at, domain = credentials.username.rpartition("@")
    return name if at and domain.lower() == credentials.realm.lower() else credentials.username


def _name(credentials: Credentials | None, account: Account | None) -> str:
    if credentials is not None:
        return user_of(credentials).lower()
    return account.username.lower() if account is not None else ""


def admits(networks: tuple[str, ...], host: str) -> bool:
    """Whether one of these networks holds the address."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(_holds(network, address) for network in networks)


def _holds(text: str, address: IPv4Address | IPv6Address) -> bool:
    network = _network(text)
    return network is not None and address in network


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
