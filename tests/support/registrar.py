"""An appserver whose providers are registrars in memory, with a clock moved by hand.

async with Bench(provider()) as bench:
    await bench.run(3)
    assert bench.contact()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tandem.rpc.programs import Provider, RegistrationReport
from tandem.sip.address import Address as SipAddress
from tandem.sip.build import response_to
from tandem.sip.digest import Challenge, Credentials, ha1, verify
from tandem.sip.message import Request, Response
from tests.support.appserver import PROXY, Address, Site

COMPANY: Final = "sip.company.example"
FIRST: Final = "udp:198.51.100.4:5060"
SECOND: Final = "udp:198.51.100.5:5060"
REALM: Final = "company.example"

Answer = Callable[[Request], Response | None]
"""What a registrar says to a REGISTER; None: nothing."""


def provider(key: str = "p1", **more: Any) -> Provider:
    """A provider of alice's that is to be registered at."""
    values: dict[str, Any] = {
        "owner": "alice", "name": "company", "server": f"sip:{COMPANY}", "username": "me",
        "password": "secret", "register": True, "register_contact": "alice@example.com",
        "register_expires": 600,
    }  # fmt: skip
    return Provider(id=key, **values | more)


class Registrar:
    """Asks for a password, keeps contacts; `answers` are said first, one to each REGISTER."""

    def __init__(self, password: str = "secret", algorithms: tuple[str, ...] = ("MD5",)) -> None:
        self.password = password
        self.algorithms = algorithms
        self.most = 3600
        """The longest registration that it grants."""
        self.away = False
        self.answers: list[Answer] = []
        self.contacts: dict[str, int] = {}
        """What is registered, and for how long."""

    def hears(self, request: Request) -> Response | None:
        """A REGISTER, and the answer."""
        if self.away:
            return None
        if self.answers:
            return self.answers.pop(0)(request)
        if not self._knows(request):
            return response_to(request, 401, tag="r", headers=self.challenges())
        return self.accepts(request)

    def challenges(self) -> list[str]:
        """Its demands for a password."""
        made = (Challenge(REALM, f"nonce-{name}", name) for name in self.algorithms)
        return [f"WWW-Authenticate: {challenge}" for challenge in made]

    def _knows(self, request: Request) -> bool:
        for value in request.values("authorization"):
            sent = Credentials.parse(value)
            known = ha1(sent.algorithm, sent.username, sent.realm, self.password)
            if sent.algorithm in self.algorithms and verify(sent, known, "REGISTER"):
                return True
        return False

    def accepts(self, request: Request) -> Response:
        """200, with all contacts."""
        for address in SipAddress.parse_list(request.values("contact")):
            seconds = int(address.param("expires") or 0)
            if seconds:
                self.contacts[str(address.uri)] = min(seconds, self.most)
            else:
                self.contacts.pop(str(address.uri), None)
        lines = [f"Contact: <{uri}>;expires={left}" for uri, left in self.contacts.items()]
        return response_to(request, 200, tag="r", headers=lines)


class Bench:
    """The site, one proxy, and the registrars by the addresses of their servers."""

    def __init__(self, *providers: Provider, **settings: Any) -> None:
        self.site = Site(**settings)
        self.programs = self.site.programs
        for each in providers:
            self.programs.put(each)
        self.company = Registrar()
        self.registrars = {FIRST: self.company}
        self.site.resolver.known[COMPANY] = [_address(FIRST)]
        self.site.app.tools.proxies.said(PROXY, "active")
        self.sent: list[Request] = []
        """All REGISTERs, those that were sent again too."""
        self.sent_at: list[float] = []
        self._started = False

    async def __aenter__(self) -> Bench:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.site.__aexit__(*exc)

    def add_hop(self) -> Registrar:
        """A second server of the company."""
        made = self.registrars[SECOND] = Registrar()
        self.site.resolver.known[COMPANY] = [_address(FIRST), _address(SECOND)]
        return made

    async def run(self, seconds: float = 0.0) -> None:
        """Let time pass; the first time the appserver starts."""
        site, end = self.site, self.site.now + seconds
        if not self._started:
            self._started = True
            await site.app.start()
        await self._settle()
        while (due := site.app.deadlines.next()) is not None and due <= end:
            site.now = max(site.now, due)
            site.app.run_deadlines(site.now)
            await self._settle()
        site.now = end

    async def _settle(self) -> None:
        await self.site.settle()
        while self.site.link.sent:
            for message in self.site.link.take():
                assert isinstance(message, Request)
                self._deliver(message)
            await self.site.settle()

    def _deliver(self, request: Request) -> None:
        assert request.method == "REGISTER"
        self.sent.append(request)
        self.sent_at.append(self.site.now)
        where = request.values("route")[0].partition("dst=")[2].rstrip(">")
        answer = self.registrars[where].hears(request)
        if answer is not None:
            self.site.link.receiver(answer.to_bytes(), PROXY)

    def take(self) -> list[Request]:
        """The REGISTERs since the last time."""
        found, self.sent = self.sent, []
        self.sent_at.clear()
        return found

    def report(self, key: str = "p1") -> RegistrationReport:
        """What was told last of a provider."""
        return [report for report in self.programs.reports if report.provider == key][-1]

    def contact(self) -> str:
        """The one contact at the company."""
        (found,) = self.company.contacts
        return found


def says(status: int, *headers: str, reason: str | None = None) -> Answer:
    """Always the same answer."""
    return lambda request: response_to(request, status, reason, tag="r", headers=headers)


def expires_of(request: Request) -> int:
    """What a REGISTER asks for."""
    return int(request.first("expires") or -1)


def _address(text: str) -> Address:
    transport, host, port = text.split(":")
    return Address(transport, host, int(port))
