"""Whatever comes in SUBSCRIBE, NOTIFY and their answers: it is answered, and nothing breaks."""

from __future__ import annotations

import random

from services.appserver.handlers.calls import Calls
from tandem.sip.build import response_to
from tandem.sip.message import Request, Response
from tests.support.appserver import PROXY, Phone, Site, account

ROUNDS = 3_000
ACL = ("203.0.113.0/24",)
VALUES = {
    "Event": ["dialog", "presence", "message-summary", "dialog;id=1", "DIALOG ; id = 2", ";", "x",
              "dialog;id=" + "9" * 99, 'presence;x="a;b";id=z', "\x7f", "dialog\t", "é",
              "keep-alive"],
    "Expires": ["0", "60", "59", "3600", "4294967296", "-1", "", "1.5", "0600", "9" * 99],
    "Accept": ["*/*", "application/*", "application/pidf+xml", ",,,", "", ";;", "a/b;q=1",
               "application/dialog-info+xml"],
    "Contact": ["<sip:x@h>", "sip:x@h", "*", "<sip:>", "<mailto:a@b>", "<sip:x@h?a=b>", "", "<<>>",
                "<sip:a@b>, <sip:c@d>", "<sip:\x01@h>"],
    "Content-Type": ["application/simple-message-summary", "text/plain", "", "a"],
    "Subscription-State": ["active", "terminated;reason=x", "", "\x00"],
    "Record-Route": ["<sip:x@y;lr>", "<>", "x", "<sip:t@10.0.0.1:5070;lr>,"],
}  # fmt: skip
BODIES = [b"", b"Messages-Waiting: yes\r\n", b"\x00" * 100, b"Messages-Waiting: yes" + b"\n" * 5000]
STATUSES = [100, 180, 200, 202, 302, 401, 404, 481, 489, 500, 503, 606]


async def test_nothing_that_is_sent_breaks_anything() -> None:
    dice = random.Random(6665)
    accounts = [account(name, owner="we", ip_acl=ACL) for name in ("alice", "bob")]
    site = Site(*accounts, b2bua=Calls, max_account_subscriptions=50)
    async with site:
        await Phone(site, "bob").registered()
        known: list[Request] = []
        for _ in range(ROUNDS):
            request = _request(site, dice, known)
            site.link.receiver(request.to_bytes(), PROXY)
            await site.settle()
            sent = site.link.take()
            # answered, or passed on to a phone that will
            assert any(message.call_id == request.call_id for message in sent), request.lines
            for message in sent:
                if isinstance(message, Response):
                    if message.status == 200 and message.cseq.method == "SUBSCRIBE":
                        known.append(_in_dialog(message))
                else:
                    answer = response_to(message, dice.choice(STATUSES), tag="t")
                    site.link.receiver(answer.to_bytes(), PROXY)
            site.advance(dice.choice([0.0, 0.0, 0.3, 1.1, 40.0]))
            assert len(site.app.subscriptions.notifier.registry) <= 50
        assert site.app.subscriptions.notifier.counters.added > 100
        site.advance(4000)
        assert len(site.app.subscriptions.notifier.registry) == 0
        assert len(site.app.subscriptions.lines.calls) == 0
        assert len(site.app.layer) == 0


def _request(site: Site, dice: random.Random, known: list[Request]) -> Request:
    if known and dice.random() < 0.3:
        like = dice.choice(known)
        request = Phone(site).request(
            "SUBSCRIBE", like.uri, from_=like.first("from"), to=like.first("to")
        )
        request.set("Call-ID", like.call_id)
        request.set("CSeq", f"{dice.randrange(1, 99)} SUBSCRIBE")
    else:
        method = dice.choice(["SUBSCRIBE", "SUBSCRIBE", "NOTIFY", "PUBLISH"])
        target = dice.choice(["bob", "alice", "x.bob", "nobody", "b%00b", ""])
        uri = f"sip:{target}@example.com" if target else "sip:example.com"
        request = Phone(site).request(method, uri, body=dice.choice(BODIES))
    request.lines += [f"Event: {dice.choice(VALUES['Event'])}"]
    for name, values in VALUES.items():
        if dice.random() < 0.25:
            request.lines.append(f"{name}: {dice.choice(values)}")
        elif dice.random() < 0.05:
            request.remove(name.lower())
    request._forget()
    return request


def _in_dialog(accepted: Response) -> Request:
    lines = accepted.raw_lines("from", "to", "call-id")
    return Request("SUBSCRIBE", str(accepted.contacts[0].uri), lines)
