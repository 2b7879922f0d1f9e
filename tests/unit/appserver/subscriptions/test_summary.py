from __future__ import annotations

import pytest

from services.appserver.domain.subscriptions.summary import (
    MAX_BODY,
    MAX_NUMBER,
    Count,
    MessageSummary,
)
from tandem.sip.errors import BadMessage

# the example of RFC 3842 §5.2
EXAMPLE = (
    b"Messages-Waiting: yes\r\n"
    b"Message-Account: sip:alice@vmail.example.com\r\n"
    b"Voice-Message: 2/8 (0/2)\r\n"
)


def test_the_example_of_the_rfc_is_read_and_written_the_same() -> None:
    summary = MessageSummary.parse(EXAMPLE)
    assert summary == MessageSummary(
        True, "sip:alice@vmail.example.com", (Count("voice-message", 2, 8, (0, 2)),)
    )
    assert str(summary).encode() == EXAMPLE


@pytest.mark.parametrize(
    ("body", "summary"),
    [
        (b"Messages-Waiting: no\r\n", MessageSummary()),
        (b"Messages-Waiting: no", MessageSummary()),
        (b"", None),
        (b"hello", None),
        (b"messages-waiting:YES\nvoice-message:1/0\nx-other: 3/4\n",
         MessageSummary(True, "", (Count("voice-message", 1, 0),))),
        (b"Messages-Waiting: yes\r\nVoice-Message: 1/0\r\nFax-Message: 0/3\r\nVoice-Message: 9/9",
         MessageSummary(True, "", (Count("voice-message", 1, 0), Count("fax-message", 0, 3)))),
        (b"Voice-Message: 1/0\r\n", None),
        (b"Messages-Waiting: perhaps\r\n", None),
        (b"Messages-Waiting: yes\r\nMessage-Account: <sip:x>\r\nVoice-Message: -1/2",
         MessageSummary(True)),
        (b"Messages-Waiting: yes\r\nVoice-Message: 999999999/1",
         MessageSummary(True, "", (Count("voice-message", MAX_NUMBER, 1),))),
        (b"\xff\xfe\r\nMessages-Waiting: yes", MessageSummary(True)),
    ],
)  # fmt: skip
def test_what_can_be_read_is_read(body: bytes, summary: MessageSummary | None) -> None:
    if summary is None:
        with pytest.raises(BadMessage):
            MessageSummary.parse(body)
    else:
        assert MessageSummary.parse(body) == summary
        assert MessageSummary.parse(str(summary).encode()) == summary


def test_one_that_is_too_large_is_413() -> None:
    with pytest.raises(BadMessage) as caught:
        MessageSummary.parse(EXAMPLE + b"x" * MAX_BODY)
    assert caught.value.status == 413
