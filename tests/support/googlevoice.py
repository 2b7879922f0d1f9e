"""A service that calls back after a log-in by forms, as ORIGINAL §4 describes one: tokens in hidden
fields, cookies, and a call to the forwarding number that then is joined to the one dialled."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.provider import Asked, read_request
from tests.support.udpagent import HOST, UdpAgent, UdpCall

EMAIL = "joe@example.com"
PASSWORD = "a web password"
NUMBER = "15559876543"
"""What its calls come from."""


@dataclass
class GoogleVoice:
    """Make it with `open`. `through()` is the proxy that its calls go to, `to` the URI that its
    forwarding number stands for."""

    agent: UdpAgent
    through: Callable[[], str]
    to: str = ""
    asked: list[Asked] = field(default_factory=list)
    connected: list[dict[str, str]] = field(default_factory=list)
    """The fields of each call that was asked for."""
    calls_back: bool = True
    call_id: Callable[[], str] = lambda: ""
    """That of each call; as it comes, if empty."""
    _galx: str = ""
    _session: str = ""
    _token: str = ""
    _server: asyncio.Server = field(init=False)

    @classmethod
    async def open(cls, through: Callable[[], str]) -> GoogleVoice:
        """Listen at a free port."""
        made = cls(await UdpAgent.open("gv"), through)
        made._server = await asyncio.start_server(made._serve, HOST, 0)
        return made

    async def close(self) -> None:
        """Stop."""
        self._server.close()
        await self._server.wait_closed()
        self.agent.close()

    @property
    def url(self) -> str:
        """The server's address, as the provider's form has it."""
        return f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may be told: the password, and what the log-in gave."""
        return tuple(s for s in (PASSWORD, self._galx, self._session, self._token) if s)

    @property
    def calls(self) -> list[UdpCall]:
        """Those that it made."""
        return self.agent.calls

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await read_request(reader)
            self.asked.append(asked)
            status, headers, body = self._answer(asked)
            head = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
            writer.write("\r\n".join([*head, "Connection: close", "", ""]).encode() + body.encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> tuple[int, list[str], str]:
        path = urlsplit(asked.target).path
        if path == "/accounts/ServiceLogin":
            self._galx = secrets.token_hex(8)
            page = f'<form>\n<input type="hidden"\n  name="GALX"\n  value="{self._galx}" /></form>'
            return 200, [f"Set-Cookie: GALX={self._galx}; Path=/accounts; Secure"], page
        if path == "/accounts/ServiceLoginAuth":
            return self._log_in(asked)
        if f"SID={self._session}" not in asked.headers.get("cookie", "") or not self._session:
            return 302, [f"Location: {self.url}/accounts/ServiceLogin"], ""
        if path == "/voice":
            self._token = secrets.token_urlsafe(12) + "="
            return 200, [], f'<input name="_rnr_se" type="hidden" value="{self._token}"/>'
        return self._connect(asked)

    def _log_in(self, asked: Asked) -> tuple[int, list[str], str]:
        given = asked.fields
        good = (given["Email"], given["Passwd"], given["GALX"]) == (EMAIL, PASSWORD, self._galx)
        if not good or f"GALX={self._galx}" not in asked.headers.get("cookie", ""):
            return 200, [], "The username or password you entered is incorrect."
        self._session = secrets.token_hex(8)
        return 302, [f"Set-Cookie: SID={self._session}; Path=/", f"Location: {self.url}/voice"], ""

    def _connect(self, asked: Asked) -> tuple[int, list[str], str]:
        given = asked.fields
        if given.get("_rnr_se") != self._token:
            return 500, [], '{"ok":false}'
        self.connected.append(given)
        if self.calls_back:
            self.agent.invite(self.through(), self.to, user=NUMBER, call_id=self.call_id())
        return 200, [], '{"ok":true,"data":{"code":0}}'
