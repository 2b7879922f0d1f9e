"""CPU of calls and registrations through a whole appserver: no sockets, no proxy, no database.

    python -m bench.appserver_micro [--batches N] [--profile call|register|scripted]

As in `b2bua_micro` what comes is made before the clock runs. The figures are those of the
quickest batch: other work on the machine makes a batch slower, and nothing makes one quicker.
`scripted` is a call that a Python dialplan dials, one at a time, without what its worker computes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import hashlib
import pstats
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bench.b2bua_micro import PROXY, SDP, TOKEN, answer, inside, invite
from services.appserver.app import AppServer
from services.appserver.config import AppServerConfig
from services.appserver.ports import OutsideHop, Resolver
from tandem.bus.location import Binding
from tandem.bus.memory import MemoryBus
from tandem.bus.ports import Envelope, Keep, Topic
from tandem.dialplan.script import Dialplan, Language
from tandem.rpc.directory import Account, Directory, Domain
from tandem.rpc.programs import NoPrograms
from tandem.runtime.lifecycle import settle
from tandem.sip.message import parse_message
from tandem.sip.uri import Uri

DOMAIN: Final = "example.org"
BATCH: Final = 200
"""Calls or registrations between two looks at the clock."""
CALLER: Final = b"sip:alice@example.org"
"""Of our domain in `invite`, which would be challenged."""
OUTSIDER: Final = b"sip:alice@example.net"
SOURCE: Final = 'if sys.is_in:\n    sys.log(req.from_user)\n    sys.dial("u1@example.org", 20)\n'
SCRIPTED_BATCH: Final = 50


class Accounts(Directory):
    """Anybody has an account, with the password `secret`."""

    async def account(self, username: str, domain: str) -> Account | None:
        """It is there; calls to `front` run a dialplan."""
        hashed = _md5(f"{username}:{domain}:secret")
        dialplan = "front" if username == "front" else None
        return Account(
            username, f"of-{username}", username, domain, {"MD5": hashed}, in_dialplan=dialplan
        )

    async def domains(self) -> list[Domain]:
        """The one."""
        return [Domain(DOMAIN)]

    async def bindings(self) -> list[Binding]:
        """None."""
        return []


class Scripts(NoPrograms):
    """Every customer has the same dialplan."""

    async def dialplan(self, owner: str, name: str) -> Dialplan | None:
        """It is there."""
        return Dialplan(
            id=name, owner=owner, name=name, language=Language.PYTHON, source=SOURCE,
            max_executions=100,
        )  # fmt: skip


class Nowhere(Resolver):
    """No call leaves for the outside."""

    def resolve_now(self, uri: Uri) -> Sequence[OutsideHop]:
        """No way."""
        return ()

    async def resolve(self, uri: Uri) -> Sequence[OutsideHop]:
        """No way."""
        return ()

    async def enum(self, number: str, zone: str) -> str:
        """No URI."""
        return ""

    def judge(self, hop: str, good: bool, now: float) -> None:
        """There is none."""


class End:
    """The appserver's end of the link."""

    address = "10.0.0.9:5090"
    reliable = False

    def __init__(self) -> None:
        self.receiver: Callable[[bytes, str], None] = lambda data, peer: None
        self.sent: list[bytes] = []
        self._more = asyncio.Event()

    def send(self, data: bytes, peer: str) -> None:
        """Keep it."""
        self.sent.append(data)
        self._more.set()

    async def more(self) -> None:
        """Wait until something is sent."""
        self._more.clear()
        await self._more.wait()


class Node:
    """An appserver with those who listen to what it says, and a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.end = End()
        self.bus = MemoryBus("bench")
        for topic, keep in ((Topic.EVENTS, Keep.SHARED), (Topic.LOCATION, Keep.SHARED)):
            self.bus.subscribe(topic, self._listen, name=f"bench-{topic}", keep=keep)
        config = AppServerConfig(node_id="bench", domains=(DOMAIN,), max_calls=10**6)
        self.server = AppServer(
            config, self.bus, Accounts(), self.end, Nowhere(), clock=lambda: self.now,
            programs=Scripts(),
        )  # fmt: skip
        self.seconds = 0.0
        self.profile: cProfile.Profile | None = None

    async def _listen(self, batch: Sequence[Envelope]) -> None:
        """A service hears it."""

    def __call__(self, messages: Sequence[bytes], *, take: bool = True) -> list[bytes]:
        """Have these messages come in, by the clock; returns what is sent, if it is to be taken."""
        receive = self.end.receiver
        with self._clocked():
            for data in messages:
                receive(data, PROXY)
        if not take:
            return []
        sent, self.end.sent = self.end.sent, []
        return sent

    @contextmanager
    def _clocked(self) -> Iterator[None]:
        """Count what is done meanwhile, by all threads; only this one's is profiled."""
        if self.profile:
            self.profile.enable()
        begun = time.process_time()
        yield
        self.seconds += time.process_time() - begun
        if self.profile:
            self.profile.disable()

    async def sends(self, start: bytes) -> bytes:
        """Wait for a message that begins so, by the clock."""
        with self._clocked():
            while not (found := [data for data in self.end.sent if data.startswith(start)]):
                await self.end.more()
        return found[0]

    async def ends(self) -> None:
        """Wait until no dialplan runs, by the clock."""
        with self._clocked():
            while self.server.dialplans:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)

    async def rest(self, seconds: float) -> None:
        """Let what is due happen, by the clock: the bus, and what this much later is due."""
        self.now += seconds
        begun = time.process_time()
        self.server.run_deadlines(self.now)
        for _ in range(20):
            await asyncio.sleep(0)
        self.seconds += time.process_time() - begun
        self.end.sent.clear()

    async def register(self, messages: list[bytes]) -> list[bytes]:
        """Registrations whose accounts are not at hand yet: their answers come later."""
        self(messages)
        answers: list[bytes] = []
        while len(answers) < len(messages):
            await asyncio.sleep(0)
            answers += self.end.sent
            self.end.sent = []
        return answers


def register(n: int, cseq: int, nonce: str) -> bytes:
    """The REGISTER of phone `n` as it comes over the link, without credentials for no nonce."""
    uri, authorization = f"sip:{DOMAIN}", ""
    if nonce:
        hashed, nc = _md5(f"u{n}:{DOMAIN}:secret"), f"{cseq:08x}"
        response = _md5(f"{hashed}:{nonce}:{nc}:c0ffee:auth:{_md5(f'REGISTER:{uri}')}")
        authorization = (
            f'Authorization: Digest username="u{n}", realm="{DOMAIN}", nonce="{nonce}", '
            f'uri="{uri}", response="{response}", algorithm=MD5, cnonce="c0ffee", qop=auth, '
            f"nc={nc}\r\n"
        )
    address = f"192.0.2.2:{5060 + n}"
    return (
        f"REGISTER {uri} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {PROXY};branch=z9hG4bKp{n}r{cseq}\r\n"
        f"Via: SIP/2.0/UDP {address};branch=z9hG4bK{n}r{cseq};"
        f"rport={5060 + n};received=192.0.2.2\r\n"
        f"Path: <sip:{TOKEN}@{PROXY};lr>\r\nMax-Forwards: 69\r\n"
        f"From: <sip:u{n}@{DOMAIN}>;tag=t{n}\r\nTo: <sip:u{n}@{DOMAIN}>\r\n"
        f"Call-ID: register-{n}\r\nCSeq: {cseq} REGISTER\r\n"
        f"Contact: <sip:u{n}@{address}>\r\nExpires: 3600\r\nUser-Agent: Phone/1.0\r\n"
        f"{authorization}Content-Length: 0\r\n\r\n"
    ).encode()


async def registrations(node: Node, batches: int) -> float:
    """Seconds for each refresh."""
    phones = range(BATCH)
    challenges = await node.register([register(n, 1, "") for n in phones])
    nonces = [re.search(rb'nonce="([^"]*)"', data)[1].decode() for data in challenges]  # type: ignore[index]
    best = float("inf")
    for cseq in range(2, batches + 2):
        messages = [register(n, cseq, nonces[n]) for n in phones]
        node.seconds = 0.0
        answers = node(messages)
        assert all(data.startswith(b"SIP/2.0 200") for data in answers), answers[0]
        await node.rest(0.1)
        if cseq > 2:
            best = min(best, node.seconds)
    return best / BATCH


async def calls(node: Node, batches: int) -> float:
    """Seconds for each call from outside to `bob`, INVITE to the BYE's 200, both legs."""
    best = float("inf")
    for first in range(0, batches * BATCH, BATCH):
        numbers = range(first, first + BATCH)
        node.seconds = 0.0
        tags = _set_up(node, numbers)
        _hang_up(node, numbers, tags)
        await node.rest(200)
        best = min(best, node.seconds)
    return best / BATCH


async def scripted(node: Node, batches: int) -> float:
    """Seconds for each call to `front`, as in `calls`, all threads of the process included."""
    best = float("inf")
    for first in range(0, batches * SCRIPTED_BATCH, SCRIPTED_BATCH):
        node.seconds = 0.0
        for n in range(first, first + SCRIPTED_BATCH):
            node([_from_outside(invite(n)).replace(b"sip:u1@", b"sip:front@")], take=False)
            sent = await node.sends(b"INVITE ")
            node.end.sent.clear()
            one = range(n, n + 1)
            _hang_up(node, one, _answer(node, one, [sent]))
        await node.ends()
        await node.rest(200)
        best = min(best, node.seconds)
    return best / SCRIPTED_BATCH


def _set_up(node: Node, numbers: range) -> list[str]:
    out = node([_from_outside(invite(n)) for n in numbers])
    sent = [data for data in out if data.startswith(b"INVITE ")]
    assert len(sent) == len(numbers), out[0]
    return _answer(node, numbers, sent)


def _answer(node: Node, numbers: range, sent: list[bytes]) -> list[str]:
    node([answer(n, data, 180) for n, data in zip(numbers, sent, strict=True)])
    out = node([answer(n, data, 200, SDP) for n, data in zip(numbers, sent, strict=True)])
    answers = [parse_message(data) for data in out if data.startswith(b"SIP/2.0 200")]
    tags = [message.to.tag or "" for message in answers]
    node([_from_outside(inside(n, "ACK", 1, t)) for n, t in zip(numbers, tags, strict=True)])
    return tags


def _hang_up(node: Node, numbers: range, tags: list[str]) -> None:
    out = node([_from_outside(inside(n, "BYE", 2, t)) for n, t in zip(numbers, tags, strict=True)])
    byes = [data for data in out if data.startswith(b"BYE")]
    assert len(byes) == len(numbers), out[0]
    node([answer(n, data, 200) for n, data in zip(numbers, byes, strict=True)])


def _from_outside(data: bytes) -> bytes:
    return data.replace(CALLER, OUTSIDER).replace(b"sip:bob@", b"sip:u1@")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def measure(batches: int, profiled: str) -> None:
    """Both figures, or the profile of one."""
    node = Node()
    await node.bus.start()
    await node.server.start()
    kinds = {"register": registrations, "call": calls, "scripted": scripted}
    for name, run in kinds.items():
        node.profile = cProfile.Profile(time.thread_time) if name == profiled else None
        if not profiled or name in ("register", profiled):
            print(f"{name}: {await run(node, batches) * 1e6:.1f} µs", flush=True)
        if node.profile:
            pstats.Stats(node.profile).sort_stats("tottime").print_stats(45)
    await node.server.stop()
    await node.bus.close()


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=50)
    parser.add_argument("--profile", choices=("call", "register", "scripted"), default="")
    arguments = parser.parse_args()
    settle()
    asyncio.run(measure(arguments.batches, arguments.profile))


if __name__ == "__main__":
    main()
