"""Asterisk's side of FastAGI, as its res_agi speaks it: connects, tells about the channel, executes
what it is told and answers each command."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from tandem.runtime.address import HostPort

PATIENCE: Final = 30.0
"""Seconds until a silent server fails the test."""
USAGE: Final = (
    "520-Invalid command syntax.  Proper usage follows:",
    " Usage: ANSWER",
    "\tAnswers channel if not already in answer state.",
    "520 End of proper usage.",
)


class Asterisk:
    """One call in `AGI(agi://SERVER/SCRIPT,arguments…)`."""

    def __init__(self, server: HostPort) -> None:
        self._server = server
        self.commands: list[str] = []
        """What it was told to do."""
        self.answers: dict[str, Sequence[str]] = {}
        """Lines of the reply to a command; any other gets `200 result=0`."""

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            self._server.host, self._server.port
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()

    def send(self, *lines: str) -> None:
        """Say these lines."""
        self.writer.write("".join(f"{line}\n" for line in lines).encode())

    def begin(
        self,
        script: str,
        arguments: Sequence[str] = (),
        extension: str = "1000",
        callerid: str = "200",
        calleridname: str = "unknown",
        more: Mapping[str, str] | None = None,
    ) -> None:
        """The environment, in the order and with the names of `setup_env`."""
        values = {
            "network": "yes",
            "network_script": script,
            "request": f"agi://{self._server}/{script}",
            "channel": "PJSIP/tandem-00000001",
            "language": "en",
            "type": "PJSIP",
            "uniqueid": "1795773462.1",
            "version": "20.9.2",
            "callerid": callerid,
            "calleridname": calleridname,
            "callingpres": "0",
            "callingani2": "0",
            "callington": "0",
            "callingtns": "0",
            "dnid": extension,
            "rdnis": "unknown",
            "context": "from-tandem",
            "extension": extension,
            "priority": "1",
            "enhanced": "0.0",
            "accountcode": "",
            "threadid": "140013",
            **{f"arg_{number}": text for number, text in enumerate(arguments, 1)},
            **(more or {}),
        }
        self.send(*(f"agi_{name}: {value}" for name, value in values.items()), "")

    async def command(self) -> str:
        """The next command, "" when the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            text = (await self.reader.readline()).decode().rstrip("\n")
        if text:
            self.commands.append(text)
        return text

    async def execute(self) -> list[str]:
        """Do what it is told until the server closes; all commands."""
        while text := await self.command():
            self.send(*self.answers.get(text, ("200 result=0",)))
        return self.commands
