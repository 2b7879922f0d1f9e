"""What dialplans reach outside, with real servers: pages, mails and ENUM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email import message_from_string, policy
from pathlib import Path

import pytest

from services.appserver.adapters import mailer
from services.appserver.adapters.mailer import SmtpMailer
from services.appserver.adapters.web import MAX_ANSWER, HttpxWeb
from services.appserver.config import AppServerConfig
from services.appserver.domain.callbacks import Trigger
from services.appserver.domain.smtp import SmtpServer as Where
from tandem.siptransport.resolver import Resolver
from tests.support.dns import dns_server
from tests.support.provider import Provider
from tests.support.smtp import SmtpServer
from tests.support.udpagent import HOST


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    made = await SmtpServer.open()
    yield made
    await made.close()


# -- pages -----------------------------------------------------------------------------------------


async def test_a_page_is_read_as_far_as_it_is_of_use() -> None:
    provider = await Provider.open(lambda: "127.0.0.1:9")
    provider.filler = MAX_ANSWER * 4
    provider.headers = (
        "Content-Type: text/html; charset=utf-8",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
    )
    page = await HttpxWeb(private=True).fetch(Trigger(provider.url), 10, "acme")
    assert (page.status, page.body) == (200, b"x" * MAX_ANSWER)
    assert page.content_type == "text/html; charset=utf-8"
    assert page.cookies == ("a=1", "b=2")
    assert provider.asked[0].headers["accept-encoding"] == "identity"
    await provider.close()


# -- mails -----------------------------------------------------------------------------------------


async def test_a_mail_arrives(server: SmtpServer) -> None:
    sending = SmtpMailer(Where(HOST, server.port), "dialplan@switch.example")
    assert (
        await sending.send(["joe@example.com", "ann@example.com"], "Anruf: Jö", "Zeile 1\n.\n")
        == ""
    )
    (mail,) = server.mails
    assert (mail.sender, mail.to) == (
        "dialplan@switch.example",
        ["joe@example.com", "ann@example.com"],
    )
    told = message_from_string("\n".join(mail.lines), policy=policy.default)
    assert told["From"] == "dialplan@switch.example"
    assert told["To"] == "joe@example.com, ann@example.com"
    assert told["Subject"] == "Anruf: Jö"
    assert told["Auto-Submitted"] == "auto-generated"
    assert told["Message-ID"].endswith("@switch.example>")


async def test_a_subject_can_t_add_a_header(server: SmtpServer) -> None:
    sending = SmtpMailer(Where(HOST, server.port), "dialplan@switch.example")
    assert await sending.send(["joe@example.com"], "x\r\nBcc: eve@example.com", "y")
    assert server.mails == []


@pytest.mark.parametrize(
    "word",
    ["=?utf-8?q?x=0d=0aX-Eve:_1=0d=0a=0d=0abody?=", "=?utf-8?b?eA0KWC1FdmU6IDENCg0KYm9keQ==?="],
)
async def test_an_encoded_word_can_t_add_a_header_either(server: SmtpServer, word: str) -> None:
    sending = SmtpMailer(Where(HOST, server.port), "dialplan@switch.example")
    assert await sending.send(["joe@example.com"], f"call from {word}", "y") == ""
    (mail,) = server.mails
    told = message_from_string("\n".join(mail.lines), policy=policy.default)
    assert "X-Eve" not in told
    assert told["Subject"] == f"call from {word.replace('=?', '= ?')}"
    assert told.get_content().strip() == "y"


async def test_a_server_that_refuses_is_away_or_mute_is_told(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = SmtpMailer(Where(HOST, server.port), "dialplan@switch.example")
    server.refuses = "550 no"
    assert await sending.send(["joe@example.com"], "s", "b") == "the mail server did not take it"
    server.mute = True
    monkeypatch.setattr(mailer, "SEND_SECONDS", 0.2)
    assert await sending.send(["joe@example.com"], "s", "b") == "the mail server does not answer"
    closed = SmtpMailer(Where(HOST, 1), "dialplan@switch.example")
    assert await closed.send(["joe@example.com"], "s", "b") == "the mail server did not take it"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("smtp://mail.example", Where("mail.example", 587)),
        ("smtp://u%40x:p%3Aw@mail.example:25", Where("mail.example", 25, False, "u@x", "p:w")),
        ("smtps://mail.example", Where("mail.example", 465, True)),
    ],
)
def test_an_address_of_a_mail_server_is_read(url: str, where: Where) -> None:
    assert Where.parse(url) == where
    assert "p:w" not in repr(where)


@pytest.mark.parametrize("url", ["mail.example", "http://mail.example", "smtp://", "smtp://x:y"])
def test_what_is_no_mail_server_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ValueError, match="TANDEM_SMTP_URL"):
        AppServerConfig(smtp_url=url)
    with pytest.raises(ValueError, match="TANDEM_SMTP_FROM"):
        AppServerConfig(smtp_from="nobody")


# -- ENUM ------------------------------------------------------------------------------------------

ZONE = r"""
8.4.1.0.6.4.9.7.0.2.4.4 IN NAPTR 10 100 "u" "E2U+mailto" "!^.*$!mailto:a@example.com!" .
8.4.1.0.6.4.9.7.0.2.4.4 IN NAPTR 10 200 "u" "E2U+sip" "!^\\+44(.*)$!sip:0\\1@example.com!" .
1 IN NAPTR 10 100 "u" "E2U+sip" "!^(.*)+$!sip:\\1@example.com!" .
"""


async def test_enum_finds_a_number(tmp_path: Path) -> None:
    with dns_server(tmp_path, "e164.test", ZONE) as address:
        resolver = Resolver([address])
        assert await resolver.enum("+44 20 7946 0148", "e164.test") == "sip:02079460148@example.com"
        assert await resolver.enum("+442079460149", "e164.test") == ""
        assert await resolver.enum("1", "e164.test") == ""
        assert await resolver.enum("nobody", "e164.test") == ""
        await resolver.close()
