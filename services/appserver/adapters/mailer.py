"""Mails of dialplans, by the operator's SMTP server. This is the home of aiosmtplib."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final

import aiosmtplib

from services.appserver.domain.smtp import SmtpServer

logger = logging.getLogger(__name__)

SEND_SECONDS: Final = 15.0
"""For everything: the name, the connection and the mail; a caller may be waiting."""
MAX_SENDING: Final = 20
"""Mails on their way at once."""


class SmtpMailer:
    """`services.appserver.ports.Mailer`."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender
        self._room = asyncio.Semaphore(MAX_SENDING)

    async def send(self, to: Sequence[str], subject: str, body: str) -> str:
        """Send one. Never raises; the words of the server are for the log alone."""
        try:
            async with asyncio.timeout(SEND_SECONDS), self._room:
                return await self._send(self._written(to, subject, body))
        except TimeoutError:
            return "the mail server does not answer"
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            logger.warning("a mail was not sent: %s", error)
            return "the mail server did not take it"

    def _written(self, to: Sequence[str], subject: str, body: str) -> EmailMessage:
        """Raises ValueError for what can't stand in a header."""
        mail = EmailMessage()
        mail["From"] = self._sender
        mail["To"] = _plain(", ".join(to))
        mail["Subject"] = _plain(subject)
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2] or None)
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody answers it by machine
        mail.set_content(body)
        return mail

    async def _send(self, mail: EmailMessage) -> str:
        server = self._server
        refused, _ = await aiosmtplib.send(
            mail,
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password or None,
            use_tls=server.tls,
            start_tls=None if not server.tls else False,
            timeout=SEND_SECONDS,
        )
        return f"refused for {', '.join(refused)}" if refused else ""


def _plain(text: str) -> str:
    """Text that holds no encoded word (RFC 2047): `email` would decode `=?utf-8?q?=0d=0aBcc:…?=`
    and write what is in it as lines of its own."""
    return text.replace("=?", "= ?")
