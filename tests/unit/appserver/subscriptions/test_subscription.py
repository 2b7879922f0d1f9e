from __future__ import annotations

import pytest

from services.appserver.domain.routing import Refusal
from services.appserver.domain.subscriptions.subscription import Asked, Package, asked
from tandem.sip.errors import BadMessage
from tandem.sip.message import Request


def subscribe(*lines: str) -> Request:
    return Request("SUBSCRIBE", "sip:bob@example.com", list(lines))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["Event: dialog", "Expires: 600"], Asked(Package.DIALOG, "dialog", 600)),
        (["Event: dialog"], Asked(Package.DIALOG, "dialog", 3600)),
        (["o: Presence"], Asked(Package.PRESENCE, "presence", 3600)),
        (["Event: presence", "Expires: 60"], Asked(Package.PRESENCE, "presence", 60)),
        (["Event: presence", "Expires: 0"], Asked(Package.PRESENCE, "presence", 0)),
        (["Event: presence", "Expires: 99999999"], Asked(Package.PRESENCE, "presence", 3600)),
        (["Event: message-summary;id=7;x=y"],
         Asked(Package.MESSAGE_SUMMARY, "message-summary;id=7", 3600)),
        (["Event: dialog;id"], Asked(Package.DIALOG, "dialog", 3600)),
        (["Event: dialog;call-id=x;id=a.b"], Asked(Package.DIALOG, "dialog;id=a.b", 3600)),
        (["Event: dialog", "Accept: application/pidf+xml, */*"],
         Asked(Package.DIALOG, "dialog", 3600)),
        (["Event: dialog", "Accept: text/plain", "Accept: Application/Dialog-Info+XML;q=0.5"],
         Asked(Package.DIALOG, "dialog", 3600)),
    ],
)  # fmt: skip
def test_what_can_be_had(lines: list[str], found: Asked) -> None:
    assert asked(subscribe(*lines)) == found


@pytest.mark.parametrize(
    ("lines", "status", "header"),
    [
        ([], 489, "Allow-Events: dialog, message-summary, presence"),
        (["Event: "], 489, "Allow-Events: dialog, message-summary, presence"),
        (["Event: refer"], 489, "Allow-Events: dialog, message-summary, presence"),
        (["Event: dialog.winfo"], 489, "Allow-Events: dialog, message-summary, presence"),
        (
            ["Event: dialog", "Accept: application/pidf+xml"],
            406,
            "Accept: application/dialog-info+xml",
        ),
        (["Event: presence", "Accept: "], 406, "Accept: application/pidf+xml"),
        (["Event: dialog", "Expires: 59"], 423, "Min-Expires: 60"),
        (["Event: dialog", "Expires: 1"], 423, "Min-Expires: 60"),
    ],
)
def test_what_can_not_be_had(lines: list[str], status: int, header: str) -> None:
    found = asked(subscribe(*lines))
    assert isinstance(found, Refusal)
    assert (found.status, found.headers) == (status, (header,))


@pytest.mark.parametrize(
    "lines",
    [
        ["Event: dialog", "Expires: soon"],
        ['Event: dialog;id="a b"'],
        ["Event: dialog;id=" + "x" * 65],
        ["Event: dialog;;;=<>"],
    ],
)
def test_what_is_malformed(lines: list[str]) -> None:
    with pytest.raises(BadMessage):
        asked(subscribe(*lines))
