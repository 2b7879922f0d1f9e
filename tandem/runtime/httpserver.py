"""uvicorn as a part of a process that handles its own signals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from tandem.runtime.address import HostPort

GRACE_SECONDS: Final = 3
"""How long open requests may go on when the server stops."""
MAX_CONNECTIONS: Final = 1000
"""Connections at a time; uvicorn answers 503 above it."""
BACKLOG: Final = 128


class HttpServer:
    """Serves one ASGI application on one socket: HTTPS if it is given a certificate's chain and
    its key (PEM files, see `tandem.runtime.certificates`), else HTTP."""

    def __init__(
        self,
        app: Any,
        listen: HostPort,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._listen = listen
        self._scheme = "http" if certificate is None else "https"
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ws_max_size=64 * 1024,
                ws="websockets-sansio",
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

    @property
    def address(self) -> HostPort:
        """Where it listens; the real port once it is open."""
        return self._listen

    @property
    def url(self) -> str:
        """The same with `http` or `https`."""
        return f"{self._scheme}://{self._listen}"

    def open(self) -> None:
        """Bind and listen. Raises OSError when the address is taken or not ours."""
        family = socket.AF_INET6 if ":" in self._listen.host else socket.AF_INET
        bound = socket.create_server(
            (self._listen.host, self._listen.port), family=family, backlog=BACKLOG
        )
        self._listen = HostPort(self._listen.host, bound.getsockname()[1])
        self._socket = bound

    async def start(self) -> None:
        """Answer requests from now on; opens the socket if that was not done."""
        if self._socket is None:
            self.open()
        assert self._socket is not None
        serving = self._server.serve(sockets=[self._socket])
        self._task = asyncio.get_running_loop().create_task(serving, name="http server")
        await self._server.up.wait()

    async def stop(self) -> None:
        """Take no more requests, let open ones end for GRACE_SECONDS, close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        if self._socket is not None:
            self._socket.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and tell when it is done."""
        try:
            await super().startup(sockets)
        finally:
            self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to the process."""
        yield
