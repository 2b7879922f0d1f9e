"""A busy lamp: a subscription that an agent of `tests.support.udpagent` has, and what lights it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from xml.etree import ElementTree

from tandem.sip.dialog import Dialog
from tandem.sip.digest import answer as digest_answer
from tandem.sip.digest import choose
from tandem.sip.message import Request, Response
from tandem.sip.transaction import ClientTransaction, ServerTransaction
from tests.support.udpagent import UdpAgent, UdpCall
from tests.support.waiting import eventually

DIALOG_INFO: Final = "{urn:ietf:params:xml:ns:dialog-info}"


class Lamp(UdpCall):
    """One subscription; `await watch()` makes it."""

    def __init__(
        self,
        agent: UdpAgent,
        target: str,
        account: str,
        password: str,
        watched: str,
        *,
        package: str = "dialog",
        expires: int = 600,
        call_id: str = "",
    ) -> None:
        """`target`: `host:port` of a proxy; `account` and `watched`: `user@domain`."""
        self._password = password
        self._expires = expires
        self._package = package
        lines = [
            f"From: <sip:{account}>;tag={secrets.token_hex(4)}",
            f"To: <sip:{watched}>",
            f"Call-ID: {call_id or secrets.token_hex(8)}",
            "CSeq: 1 SUBSCRIBE",
            "Max-Forwards: 70",
            agent.contact,
            f"Event: {package}",
            f"Expires: {expires}",
        ]
        super().__init__(agent, Request("SUBSCRIBE", f"sip:{watched}", lines), target, b"")
        self.accepted = 0
        """How many of our SUBSCRIBEs had a 2xx."""
        self.notifies: list[Request] = []
        """One that comes before the 2xx is not among them: it is answered 481."""
        agent.calls.append(self)

    async def watch(self) -> Lamp:
        """Subscribe, and wait for the first NOTIFY."""
        self.agent.send(self.invite, self.peer, self)

        async def look() -> bool:
            return bool(self.notifies) or self.status >= 300

        await eventually(look, "a subscription")
        assert self.status == 200, self.status
        return self

    def renew(self, expires: int | None = None) -> None:
        """SUBSCRIBE in the dialog; 0 ends it."""
        assert self.dialog is not None
        request = self.dialog.request("SUBSCRIBE")
        expires = self._expires if expires is None else expires
        request.lines += [
            self.agent.contact, f"Event: {self._package}", f"Expires: {expires}",
        ]  # fmt: skip
        route = self.dialog.route_set[0].partition("@")[2]
        self.agent.send(request, route.partition(";")[0].strip("<>"), self)

    # -- what it shows -------------------------------------------------------------------------

    @property
    def dialogs(self) -> list[tuple[str, str]]:
        """Direction and state of each call in the last document."""
        root = ElementTree.fromstring(self.notifies[-1].body)
        return [(d.get("direction") or "", d.findtext(f"{DIALOG_INFO}state") or "") for d in root]

    @property
    def versions(self) -> list[int]:
        """Of all documents."""
        return [int(ElementTree.fromstring(n.body).get("version") or -1) for n in self.notifies]

    @property
    def state(self) -> str:
        """Subscription-State of the last NOTIFY."""
        return self.notifies[-1].first("subscription-state") or ""

    @property
    def body(self) -> str:
        """The last document."""
        return self.notifies[-1].body.decode()

    async def shows(self, *dialogs: tuple[str, str]) -> None:
        """Wait until the last document has these calls."""
        await self.until_it(lambda: self.dialogs == list(dialogs), f"{dialogs}")

    async def until_it(self, check: Callable[[], bool], what: str) -> None:
        """Wait for anything else."""

        async def look() -> bool:
            return check()

        await eventually(look, what)

    # -- from the agent ------------------------------------------------------------------------

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        """Prove who we are, once; the dialog is there before the next datagram is read."""
        challenged = response.status == 407 and not tx.request.first("proxy-authorization")
        if challenged:
            self._prove(tx.request, response)
            return
        self.status = response.status
        if 200 <= response.status < 300:
            self.accepted += 1
            if self.dialog is None:
                self.dialog = Dialog.from_response(tx.request, response)
        else:
            self.over.set()

    def _prove(self, request: Request, response: Response) -> None:
        challenge = choose(response.values("proxy-authenticate"))
        assert challenge is not None
        user = request.from_.uri.unescaped_user
        value = digest_answer(
            challenge, "SUBSCRIBE", request.uri, user,
            password=self._password, cnonce="c0ffee", nc=1,
        )  # fmt: skip
        lines = [line for line in request.lines if line[:4] not in ("Via:", "CSeq")]
        again = Request("SUBSCRIBE", request.uri, [*lines, "CSeq: 2 SUBSCRIBE"])
        again.set("Proxy-Authorization", value)
        self.invite = again
        self.agent.send(again, self.peer, self)

    def on_request(self, tx: ServerTransaction, now: float) -> None:
        """A NOTIFY."""
        assert self.dialog is not None
        self.dialog.receive(tx.request)
        self.notifies.append(tx.request)
        self.agent.layer.reply(tx, 200, now)
        if "terminated" in self.state:
            self.over.set()


async def ended(lamp: Lamp, reason: str) -> None:
    """Wait for the last NOTIFY of a subscription, which gives this reason."""
    with suppress(TimeoutError):
        async with asyncio.timeout(15):
            await lamp.over.wait()
    assert lamp.state == f"terminated;reason={reason}"
