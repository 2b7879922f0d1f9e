"""An appserver over a fake link, with a clock moved by hand and everything around it in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from services.appserver.domain.call import Call
from services.appserver.domain.callbacks import Trigger
from services.appserver.domain.plan import CallPlan, Target
from services.appserver.ports import Asked, CallHost, CallsFactory, OutsideHop, Waiter
from tandem.bus.location import Binding
from tandem.bus.ports import Envelope, Handler, Keep, Topic
from tandem.rpc.directory import Account, Directory, DirectoryUnavailable, Domain
from tandem.sip.digest import ALGORITHMS, Challenge, answer, choose, ha1
from tandem.sip.message import Request, Response, parse_message
from tandem.sip.transaction import ClientTransaction, Hop, ServerTransaction
from tandem.sip.uri import Uri
from tandem.siptransport.flowtoken import FlowName, TokenKey
from tests.support.programs import FakePrograms

logger = logging.getLogger(__name__)

PROXY = "10.0.0.1:5070"
DOMAIN = "example.com"
KEY = TokenKey(b"test")


def account(username: str = "alice", password: str = "secret", **more: Any) -> Account:
    """An account of DOMAIN, with all three hashes."""
    hashes = {a: ha1(a, username, DOMAIN, password) for a in ALGORITHMS}
    made = Account(f"id-{username}", f"owner-{username}", username, DOMAIN, hashes)
    return replace(made, **more)


class FakeLink:
    """Keeps what is sent."""

    address = "10.0.0.9:5070"

    def __init__(self, *, reliable: bool = True) -> None:
        self.reliable = reliable
        self.receiver: Any = lambda data, peer: None
        self.sent: list[tuple[bytes, str]] = []

    def send(self, data: bytes, peer: str) -> None:
        self.sent.append((data, peer))

    def take(self) -> list[Request | Response]:
        """The SIP messages sent since the last time."""
        found = [parse_message(data) for data, _ in self.sent if data[:1] != b"\x01"]
        self.sent.clear()
        return found

    def take_control(self) -> list[tuple[str, str]]:
        """The control lines sent since the last time, and their peers."""
        found = [(data[1:].decode(), peer) for data, peer in self.sent if data[:1] == b"\x01"]
        self.sent.clear()
        return found


class FakeBus:
    """Keeps what is published; `deliver` plays another node."""

    def __init__(self) -> None:
        self.published: list[tuple[Topic, Any]] = []
        self.handlers: dict[Topic, Handler] = {}
        self.resumed: list[Callable[[], None]] = []

    def publish(self, topic: Topic, payload: Any, *, to: str = "") -> None:
        self.published.append((topic, payload))

    def subscribe(
        self, topic: Topic, handler: Handler, *, name: str, keep: Keep = Keep.LIVE
    ) -> None:
        self.handlers[topic] = handler

    def on_resumed(self, callback: Callable[[], None]) -> None:
        self.resumed.append(callback)

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def deliver(self, topic: Topic, *payloads: Any, node: str = "other") -> None:
        """Give a batch to the appserver."""
        batch: Sequence[Envelope] = [Envelope(str(n), 0.0, node, p) for n, p in enumerate(payloads)]
        await self.handlers[topic](batch)

    def take(self, kind: type[Any]) -> list[Any]:
        """The payloads of this very class published so far, which are then forgotten."""
        found = [p for _, p in self.published if type(p) is kind]
        self.published = [(t, p) for t, p in self.published if type(p) is not kind]
        return found


class FakeDirectory(Directory):
    """Accounts in a dict; `away` makes it unavailable; `asked` counts the questions."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts = {a.aor: a for a in accounts}
        self.snapshot: list[Binding] = []
        self.away = False
        self.asked = 0

    async def account(self, username: str, domain: str) -> Account | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise DirectoryUnavailable
        found = (a for k, a in self.accounts.items() if k.lower() == f"{username}@{domain}".lower())
        return next(found, None)

    async def domains(self) -> list[Domain]:
        if self.away:
            raise DirectoryUnavailable
        return [Domain(DOMAIN, ("alias.example",)), Domain("second.example")]

    async def bindings(self) -> list[Binding]:
        return self.snapshot


@dataclass(frozen=True)
class Address:
    """A resolved hop."""

    transport: str
    host: str
    port: int
    server_name: str | None = None


class FakeResolver:
    """`known` answers at once, `slow` after a turn of the loop; nothing else resolves."""

    def __init__(self) -> None:
        self.known: dict[str, list[OutsideHop]] = {}
        self.slow: dict[str, list[OutsideHop]] = {}
        self.judged: list[tuple[str, bool]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def resolve_now(self, uri: Uri) -> list[OutsideHop] | None:
        return None if uri.host in self.slow else self.known.get(uri.host, [])

    def judge(self, hop: str, good: bool, now: float) -> None:
        self.judged.append((hop, good))

    async def enum(self, number: str, zone: str) -> str:
        return f"sip:{number}@{zone}" if zone == "e164.example" else ""

    async def resolve(self, uri: Uri) -> list[OutsideHop]:
        await self.gate.wait()
        return self.slow.get(uri.host, [])


class FakeHttp:
    """Answers triggers with `answer`, once `gate` is open."""

    def __init__(self) -> None:
        self.asked: list[Trigger] = []
        self.answer = Asked(200)
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, trigger: Trigger, customer: str) -> Asked:
        self.asked.append(trigger)
        await self.gate.wait()
        return self.answer


@dataclass
class FakeCalls:
    """Notes what the core hands over."""

    host: CallHost
    started: list[tuple[ServerTransaction, CallPlan]] = field(default_factory=list)
    heard: list[tuple[str, Any]] = field(default_factory=list)

    def start(self, tx: ServerTransaction, plan: CallPlan, now: float) -> None:
        self.started.append((tx, plan))

    def in_dialog(self, tx: ServerTransaction, now: float) -> None:
        self.heard.append(("in_dialog", tx))

    def on_ack(self, ack: Request, hop: Hop, now: float) -> None:
        self.heard.append(("ack", ack))

    def on_cancel(self, tx: ServerTransaction, cancel: Request, now: float) -> None:
        self.heard.append(("cancel", tx))

    def on_response(self, tx: ClientTransaction, response: Response, now: float) -> None:
        self.heard.append(("response", response))

    def on_client_failure(self, tx: ClientTransaction, status: int, now: float) -> None:
        self.heard.append(("failure", status))

    def on_stray_response(self, response: Response, hop: Hop, now: float) -> None:
        self.heard.append(("stray", response))

    def on_server_timeout(self, tx: ServerTransaction, now: float) -> None:
        self.heard.append(("timeout", tx))

    def flow_closed(self, token: str, now: float) -> None:
        self.heard.append(("flow closed", token))

    def proxy_lost(self, proxy: str, now: float) -> None:
        self.heard.append(("proxy lost", proxy))

    def live(self) -> list[Call]:
        return []

    def find(self, call_id: str) -> Call | None:
        return None

    def accounts_of(self, call_id: str) -> tuple[Account, ...]:
        return ()

    def wait(self, call_id: str, waiter: Waiter, now: float) -> bool:
        return False

    def stop_waiting(self, call_id: str, now: float) -> bool:
        return False

    def dial_out(
        self, account: Account, targets: tuple[Target, ...], waiter: Waiter, now: float
    ) -> str | None:
        return None

    def waiting(self, call_id: str) -> bool:
        return False

    def hang_up(self, call_id: str, reason: str, now: float) -> bool:
        return False

    @property
    def dialogs(self) -> int:
        return 2 * len(self.started)

    def __len__(self) -> int:
        return len(self.started)

    async def stop(self) -> None:
        self.heard.append(("stop", None))


class Site:
    """The appserver and everything round it. `wall` is `now` plus a constant."""

    def __init__(
        self, *accounts: Account, b2bua: CallsFactory = FakeCalls, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.link = FakeLink(reliable=settings.pop("reliable", True))
        parts = settings.pop("parts", None)
        self.bus = FakeBus()
        self.directory = FakeDirectory(*accounts)
        self.resolver = FakeResolver()
        self.http = FakeHttp()
        self.programs = FakePrograms()
        config = AppServerConfig(
            **{
                "node_id": "as1", "local_hosts": ("192.0.2.1:5060",),
                "digest_algorithms": ("MD5", "SHA-256", "SHA-512-256"), **settings,
            }
        )  # fmt: skip
        self.app = AppServer(
            config, self.bus, self.directory, self.link, self.resolver,
            calls=b2bua, clock=lambda: self.now, wall=lambda: self.wall, http=self.http,
            programs=self.programs,
            parts=parts,
        )  # fmt: skip
        self.serial = 0

    @property
    def calls(self) -> FakeCalls:
        """What the core hands over, unless there is a real B2BUA."""
        assert isinstance(self.app.calls, FakeCalls)
        return self.app.calls

    @property
    def wall(self) -> float:
        return self.now + 1_700_000_000.0

    async def __aenter__(self) -> Site:
        await self.app.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.app.stop()
        assert self.app.counters.errors == 0

    async def settle(self) -> None:
        """Let the look-ups that are under way end."""
        for _ in range(10):
            await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        """Move the clock, meeting every deadline on the way in its time."""
        end = self.now + seconds
        while (due := self.app.deadlines.next()) is not None and due <= end:
            self.now = max(self.now, due)
            self.app.run_deadlines(self.now)
        self.now = end

    async def send(self, data: bytes | Request) -> list[Request | Response]:
        """Give the appserver a message as from the proxy; what it sent by then."""
        raw = data if isinstance(data, bytes) else data.to_bytes()
        self.link.receiver(raw, PROXY)
        await self.settle()
        return self.link.take()

    def next(self) -> int:
        self.serial += 1
        return self.serial


class Numbers(Protocol):
    """Gives numbers for branches and Call-IDs."""

    def next(self) -> int:
        """One more."""


@dataclass
class Phone:
    """A phone behind the proxy: builds requests as they arrive over the link."""

    numbers: Numbers
    username: str = "alice"
    password: str = "secret"
    host: str = "203.0.113.7"
    port: int = 5060
    transport: str = "udp"
    contact: str = ""
    call_id: str = ""
    domain: str = DOMAIN
    cseq: int = 0
    challenge: Challenge | None = None
    nc: int = 0

    def __post_init__(self) -> None:
        self.contact = self.contact or f"sip:{self.username}@192.168.1.2:5060"
        self.call_id = self.call_id or f"reg-{self.username}-{self.numbers.next()}"

    @property
    def token(self) -> str:
        return KEY.sign_flow(FlowName(PROXY, self.transport, self.host, self.port))

    @property
    def aor(self) -> str:
        return f"{self.username}@{DOMAIN}"

    def vias(self) -> list[str]:
        number = self.numbers.next()
        return [
            f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKp{number}",
            f"Via: SIP/2.0/{self.transport.upper()} 192.168.1.2:5060;branch=z9hG4bKc{number};"
            f"rport={self.port};received={self.host}",
        ]

    def register(
        self,
        *contacts: str,
        expires: int | None = None,
        headers: Sequence[str] = (),
        to: str | None = None,
        uri: str | None = None,
    ) -> Request:
        """A REGISTER; a contact is a whole Contact value. With credentials once challenged."""
        self.cseq += 1
        uri = uri or f"sip:{self.domain}"
        lines = [
            *self.vias(),
            f"Path: <sip:{self.token}@{PROXY};lr;ob>",
            "Max-Forwards: 69",
            f"From: <sip:{self.username}@{self.domain}>;tag=f1",
            f"To: {to or f'<sip:{self.username}@{self.domain}>'}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} REGISTER",
            *(f"Contact: {contact}" for contact in contacts),
            "User-Agent: test phone",
            *headers,
        ]
        if expires is not None:
            lines.append(f"Expires: {expires}")
        request = Request("REGISTER", uri, lines)
        self.authorize(request, "Authorization")
        return request

    def request(
        self, method: str, uri: str, *headers: str, body: bytes = b"", from_: str | None = None,
        to: str | None = None,
    ) -> Request:  # fmt: skip
        """Any other request, outside of a dialog unless `to` has a tag."""
        self.cseq += 1
        lines = [
            *self.vias(),
            f"Record-Route: <sip:{self.token}@{PROXY};lr>",
            "Max-Forwards: 69",
            f"From: {from_ or f'<sip:{self.username}@{self.domain}>;tag=f{self.numbers.next()}'}",
            f"To: {to or f'<{uri}>'}",
            f"Call-ID: call-{self.numbers.next()}",
            f"CSeq: {self.cseq} {method}",
            f"Contact: <{self.contact}>",
            *headers,
        ]
        request = Request(method, uri, lines, body)
        self.authorize(request, "Proxy-Authorization")
        return request

    def cancel(self, invite: Request) -> Request:
        """The CANCEL of an INVITE (RFC 3261 §9.1), its Via stack the same by way of the proxy."""
        return Request("CANCEL", invite.uri, [
            *invite.raw_lines("via", "from", "to", "call-id"),
            f"CSeq: {invite.cseq.number} CANCEL",
            "Max-Forwards: 69",
        ])  # fmt: skip

    def authorize(self, request: Request, header: str) -> None:
        """Answer the challenge that was last got."""
        if self.challenge is not None:
            self.nc += 1
            value = answer(
                self.challenge, request.method, request.uri, self.username,
                password=self.password, cnonce="c0ffee", nc=self.nc,
            )  # fmt: skip
            request.set(header, value)

    def learn(self, response: Request | Response) -> None:
        """Take the strongest challenge of a 401 or 407."""
        values = [*response.values("www-authenticate"), *response.values("proxy-authenticate")]
        self.challenge = choose(values)
        assert self.challenge is not None
        self.nc = 0

    @property
    def site(self) -> Site:
        """Where it sends to."""
        assert isinstance(self.numbers, Site)
        return self.numbers

    async def send(self, request: Request) -> Response:
        """Send and return the one answer."""
        answers = await self.site.send(request)
        assert len(answers) == 1
        response = answers[0]
        assert isinstance(response, Response)
        return response

    async def registered(self, *contacts: str, **options: Any) -> Response:
        """Register, answering one challenge; the last answer."""
        contacts = contacts or (f"<{self.contact}>",)
        response = await self.send(self.register(*contacts, **options))
        if response.status == 401:
            self.learn(response)
            response = await self.send(self.register(*contacts, **options))
        return response

    async def asked(self, method: str, uri: str, *headers: str, **options: Any) -> list[Any]:
        """Send a request, answering one challenge; what the appserver sent at last, but 100."""
        sent = await self._asked(self.request(method, uri, *headers, **options))
        if sent and isinstance(sent[0], Response) and sent[0].status == 407:
            self.learn(sent[0])
            sent = await self._asked(self.request(method, uri, *headers, **options))
        return sent

    async def _asked(self, request: Request) -> list[Any]:
        sent = await self.site.send(request)
        return [m for m in sent if not (isinstance(m, Response) and m.status == 100)]
