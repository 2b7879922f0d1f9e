"""A phone that subscribes at an appserver of `tests.support.appserver`, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from tandem.bus.ports import Topic
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import DOMAIN, Phone, Site

DIALOG = "{urn:ietf:params:xml:ns:dialog-info}"


@dataclass
class Subscriber:
    """One subscription of a phone."""

    phone: Phone
    package: str = "dialog"
    target: str = f"sip:bob@{DOMAIN}"
    accepted: Response | None = None
    refused: Response | None = None
    notifies: list[Request] = field(default_factory=list)
    """All that came in its dialog."""

    @property
    def site(self) -> Site:
        return self.phone.site

    async def subscribe(self, *headers: str, expires: int | None = 600, **options: Any) -> int:
        """SUBSCRIBE with credentials; the status. What comes with a 200 must come after it."""
        lines = [f"Event: {self.package}", *headers]
        if expires is not None:
            lines.append(f"Expires: {expires}")
        answer, *rest = await self.phone.asked("SUBSCRIBE", self.target, *lines, **options)
        assert isinstance(answer, Response)
        if answer.status == 200:
            self.accepted = answer
            self._take(rest)
        else:
            self.refused = answer
            assert rest == []
        return answer.status

    async def subscribed(self, *headers: str, **options: Any) -> Subscriber:
        """Subscribe, and answer the first NOTIFY."""
        assert await self.subscribe(*headers, **options) == 200
        assert len(self.notifies) == 1
        await self.answer()
        return self

    async def again(
        self, *headers: str, expires: int | None = 600, event: str = "", method: str = "SUBSCRIBE"
    ) -> Response:
        """A request in the dialog; its answer. What follows that is noted."""
        accepted = self.accepted
        assert accepted is not None
        lines = [f"Event: {event or self.package}", *headers]
        if expires is not None:
            lines.append(f"Expires: {expires}")
        request = self.phone.request(
            method, str(accepted.contacts[0].uri), *lines,
            from_=accepted.first("from"), to=accepted.first("to"),
        )  # fmt: skip
        request.set("Call-ID", accepted.call_id)
        answer, *rest = await self.site.send(request)
        assert isinstance(answer, Response)
        self._take(rest)
        return answer

    def hear(self, seconds: float = 0.0) -> list[Request]:
        """Let time pass; the NOTIFYs of this dialog that came since, which wait for answers.
        Those that are sent again are not counted."""
        self.site.advance(seconds)
        before = len(self.notifies)
        self._take(self.site.link.take())
        return self.notifies[before:]

    def _take(self, messages: list[Any]) -> None:
        assert self.accepted is not None
        for message in messages:
            if isinstance(message, Request) and message.call_id == self.accepted.call_id:
                assert message.method == "NOTIFY"
                assert message.from_tag == self.accepted.to_tag
                assert message.to_tag == self.accepted.from_tag
                if message.cseq.number not in [known.cseq.number for known in self.notifies]:
                    self.notifies.append(message)

    async def answer(self, status: int = 200, *headers: str) -> list[Request]:
        """Answer the last NOTIFY; those that follow at once."""
        response = response_to(self.notifies[-1], status, headers=headers)
        before = len(self.notifies)
        self._take(await self.site.send(response.to_bytes()))
        return self.notifies[before:]

    # -- the last NOTIFY -------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Subscription-State."""
        return self.notifies[-1].first("subscription-state") or ""

    @property
    def body(self) -> str:
        """The document."""
        return self.notifies[-1].body.decode()

    @property
    def version(self) -> int:
        """Of a dialog-info."""
        return int(ElementTree.fromstring(self.body).get("version") or "-1")

    @property
    def dialogs(self) -> list[tuple[str, str]]:
        """Direction and state of each dialog."""
        root = ElementTree.fromstring(self.body)
        return [(d.get("direction") or "", d.findtext(f"{DIALOG}state") or "") for d in root]


async def exchange(*sites: Site) -> None:
    """Carry what the appservers said of lines to each other, until they have no more to say."""
    while said := [
        (site, payload)
        for site in sites
        for topic, payload in site.bus.published
        if topic is Topic.LINES
    ]:
        for site in sites:
            site.bus.published = [(t, p) for t, p in site.bus.published if t is not Topic.LINES]
        for sender, payload in said:
            for site in sites:
                await site.bus.deliver(Topic.LINES, payload, node=sender.app.config.node_id)
        for site in sites:
            site.advance(0.03)
