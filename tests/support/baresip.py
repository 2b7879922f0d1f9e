"""baresip without a sound card, driven over its control connection (JSON in netstrings)."""

from __future__ import annotations

import asyncio
import json
import wave
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

from tests.support.installs import require
from tests.support.ports import free_port
from tests.support.switch import DOMAIN
from tests.support.waiting import PATIENCE_SECONDS, eventually

MODULES: Final = "/usr/lib/baresip/modules"

CONFIG: Final = """\
poll_method epoll
sip_listen {host}:0
net_interface {address}
audio_player aufile,{folder}/heard.wav
audio_source aufile,{folder}/said.wav
audio_alert aufile,{folder}/alert.wav
call_local_timeout {patience}
rtp_ports 20000-40000
module_path {modules}
module g711.so
module aufile.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
dns_server {dns}
{more}
"""

SOUND_SECONDS: Final = 120
"""Of silence to send; longer than any call of a test."""

Event = dict[str, Any]


class Baresip:
    """One phone with one account. Events are kept until somebody awaits them, in order."""

    def __init__(
        self,
        folder: Path,
        *,
        ipv6: bool = False,
        patience: int = 120,
        dns: str = "127.0.0.1:9",
        modules: tuple[str, ...] = (),
        contacts: tuple[str, ...] = (),
        account: str = "",
    ) -> None:
        """`patience`: seconds after which an unanswered incoming call is given up. `dns`: the
        address of its DNS server; without one it finds numeric addresses alone. `modules`: more
        than every phone has, `mwi.so` for one. `contacts`: lines of its address book. `account`:
        what `account_line` makes, for modules that want one at the start."""
        self._folder = folder
        self._patience = patience
        self._dns = dns
        self._modules = modules
        self._contacts = contacts
        self._account = account
        self._address = "::1" if ipv6 else "127.0.0.1"
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None
        self._events: list[Event] = []
        self._answers: dict[str, asyncio.Future[Event]] = {}
        self._news = asyncio.Condition()
        self._numbers = count(1)
        self._aor = ""

    async def start(self) -> None:
        """Start it and connect to its control port."""
        program = require("baresip")
        control = free_port()
        self._folder.mkdir(parents=True)
        host = f"[{self._address}]" if ":" in self._address else self._address
        (self._folder / "config").write_text(
            CONFIG.format(
                host=host,
                address=self._address,
                folder=self._folder,
                patience=self._patience,
                modules=MODULES,
                control=control,
                dns=self._dns,
                more="\n".join(f"module_app {name}" for name in self._modules),
            )
        )
        (self._folder / "accounts").write_text(f"{self._account}\n")
        (self._folder / "contacts").write_text("".join(f"{line}\n" for line in self._contacts))
        with wave.open(str(self._folder / "said.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(2 * 8000 * SOUND_SECONDS))
        with (self._folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(program, "-s", "-f", str(self._folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        connection = await eventually(lambda: _connect(control), "baresip's control port")
        assert connection is not None
        reader, self._writer = connection
        self._pump = asyncio.create_task(self._read(reader))

    @property
    def log(self) -> str:
        """What it printed: its SIP trace too."""
        return (self._folder / "log").read_text(errors="replace")

    async def stop(self, *, abruptly: bool = False) -> None:
        """Have it quit, unregistering; or kill it, as if the phone vanished."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if abruptly:
            process.kill()
        elif process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        if self._writer is None or self._pump is None:
            return  # it never got up
        self._writer.close()
        await self._pump
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    # -- what a person does --------------------------------------------------------------------

    async def register(
        self, user: str, password: str, server: str, transport: str = "udp", expires: int = 600
    ) -> None:
        """Set up an account at the switch that listens at `server`, which registers it."""
        self._aor = f"sip:{user}@{DOMAIN}"
        await self._command("uanew", account_line(user, password, server, transport, expires))

    async def registered(
        self, user: str, password: str, server: str, transport: str = "udp"
    ) -> None:
        """Register and wait for the success."""
        await self.register(user, password, server, transport)
        await self.event("REGISTER_OK")

    async def unregister(self) -> None:
        """Delete the account, which unregisters it."""
        await self._command("uadel", self._aor)

    async def dial(self, user: str) -> None:
        """Call somebody in the domain."""
        await self._command("dial", f"sip:{user}@{DOMAIN}")

    async def answer(self) -> None:
        """Accept the incoming call."""
        await self._command("accept")

    async def hang_up(self) -> None:
        """End the call, cancel the outgoing one or decline the incoming one."""
        await self._command("hangup")

    async def hold(self) -> None:
        """Put the call on hold: a re-INVITE."""
        await self._command("hold")

    async def resume(self) -> None:
        """Take it back."""
        await self._command("resume")

    async def transfer(self, user: str) -> None:
        """Refer the other end to somebody in the domain."""
        await self._command("transfer", f"sip:{user}@{DOMAIN}")

    # -- what it tells -------------------------------------------------------------------------

    async def event(self, type_: str, seconds: float = PATIENCE_SECONDS) -> Event:
        """Wait for an event of this type; it and those before it are forgotten."""

        def look() -> int | None:
            return next((n for n, e in enumerate(self._events) if e["type"] == type_), None)

        number = await self._until(look, type_, seconds)
        found = self._events[number]
        del self._events[: number + 1]
        return found

    def seen(self, type_: str) -> bool:
        """Whether such an event waits."""
        return any(event["type"] == type_ for event in self._events)

    def forget(self) -> None:
        """Forget the events so far."""
        self._events.clear()

    async def _until(self, look: Callable[[], int | None], what: str, seconds: float) -> int:
        try:
            async with asyncio.timeout(seconds), self._news:
                while (found := look()) is None:
                    await self._news.wait()
                return found
        except TimeoutError:
            seen = [event["type"] for event in self._events]
            raise AssertionError(f"no {what} but {seen}; {self.log[-6000:]}") from None

    async def _command(self, name: str, params: str = "") -> None:
        token = str(next(self._numbers))
        self._answers[token] = asyncio.get_running_loop().create_future()
        data = json.dumps({"command": name, "params": params, "token": token}).encode()
        assert self._writer is not None
        self._writer.write(b"%d:%s," % (len(data), data))
        answer = await asyncio.wait_for(self._answers[token], PATIENCE_SECONDS)
        assert answer["ok"], answer

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while size := (await reader.readuntil(b":"))[:-1]:
                data = await reader.readexactly(int(size) + 1)
                await self._take(json.loads(data[:-1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # it ended

    async def _take(self, message: Event) -> None:
        if message.get("response"):
            future = self._answers.pop(message["token"])
            if not future.done():
                future.set_result(message)
            return
        async with self._news:
            self._events.append(message)
            self._news.notify_all()


def account_line(
    user: str, password: str, server: str, transport: str = "udp", expires: int = 600
) -> str:
    """An account at the switch that listens at `server`, as baresip has it."""
    return (
        f"<sip:{user}@{DOMAIN};transport={transport}>;auth_user={user};auth_pass={password}"
        f';outbound="sip:{server};transport={transport}";regint={expires}'
    )


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
