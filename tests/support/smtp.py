"""A mail server in a few lines: takes mails, or refuses them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tests.support.udpagent import HOST


@dataclass
class Mail:
    """A mail that was taken."""

    sender: str = ""
    to: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class SmtpServer:
    """Make it with `open`. `refuses` is what RCPT is answered with in place of 250; `mute`: it says
    nothing at all."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refuses = ""
        self.mute = False
        self._server: asyncio.Server

    @classmethod
    async def open(cls) -> SmtpServer:
        """Listen at a free port."""
        made = cls()
        made._server = await asyncio.start_server(made._serve, HOST, 0)
        return made

    @property
    def port(self) -> int:
        """Where."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        """Stop."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.mute:
                await reader.read()
                return
            writer.write(b"220 mail\r\n")
            await self._session(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mail = Mail()
        while line := (await reader.readline()).decode().strip():
            verb, answer = line.split(" ")[0].upper(), "250 ok"
            if verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            if verb == "MAIL":
                mail = Mail(line.partition("<")[2].partition(">")[0])
            elif verb == "RCPT":
                mail.to.append(line.partition("<")[2].partition(">")[0])
                answer = self.refuses or answer
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                while (text := (await reader.readline()).decode().rstrip("\r\n")) != ".":
                    mail.lines.append(text)
                self.mails.append(mail)
            writer.write(f"{answer}\r\n".encode())
