"""Kamailio as somebody's telephone provider: a registrar and a gateway with digest.

company = Kamailio(folder, {"me": "secret"}, network=agent_port)
company.start()
... register as me@127.0.0.1:PORT, call any number: it rings at the agent on `network` ...
... an INVITE from that agent's port to me@… goes to the contact that registered ...
company.stop()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.installs import require
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, eventually

HOST: Final = "127.0.0.1"
CONFIG: Final = Path(__file__).with_suffix(".cfg")


class Kamailio:
    """`network` is the port of the agent that stands for the rest of the telephone network.

    `algorithm` is MD5 or SHA-256; `least` seconds are answered 423 below, `most` are granted at
    most (0: any); `forbid` refuses each
    REGISTER with 403; `more` are further challenges, put before Kamailio's own.
    """

    def __init__(
        self,
        folder: Path,
        passwords: Mapping[str, str],
        network: int,
        *,
        algorithm: str = "MD5",
        realm: str = "company.test",
        least: int = 0,
        most: int = 0,
        forbid: bool = False,
        more: tuple[str, ...] = (),
    ) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.realm = realm
        text = CONFIG.read_text()
        entries = (f'  $sht(passwords=>{n}) = "{p}";' for n, p in passwords.items())
        values = {
            "PORT": str(self.port),
            "FOLDER": str(folder),
            "ALGORITHM": algorithm,
            "REALM": realm,
            "NETWORK": str(network),
            "LEAST": str(least),
            "MOST": str(most),
            "FORBID": "1 == 1" if forbid else "1 == 0",
            "PASSWORDS": "\n".join(entries),
            "MORE_WWW": _challenges("WWW-Authenticate", more),
            "MORE_PROXY": _challenges("Proxy-Authenticate", more),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        self._config = folder / "kamailio.cfg"
        self._config.write_text(text)

    @property
    def server(self) -> str:
        """The SIP URI of the company."""
        return f"sip:{HOST}:{self.port}"

    async def start(self) -> None:
        """Start it, or start it again with no memory, and wait until it answers."""
        program = require("kamailio")
        command = [
            program,
            "-DD",
            "-E",
            "-m",
            "32",
            "-M",
            "4",
            "-w",
            str(self._folder),
            "-f",
            str(self._config),
        ]
        log = (self._folder / "kamailio.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        await eventually(self._answers, "Kamailio")

    async def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, (self._folder / "kamailio.log").read_text()[-2000:]
        try:
            self.registrations()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """End it at once, as if its machine were off."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def registrations(self) -> dict[str, list[str]]:
        """The contacts by user name. Raises OSError when it does not answer."""
        found = self.bindings()
        return {user: [each["Address"] for each in found[user]] for user in found}

    def bindings(self) -> dict[str, list[dict[str, Any]]]:
        """All that it knows of each contact (`Address`, `Call-ID`, `CSeq`, `Expires` …), by user
        name. Raises OSError when it does not answer."""
        infos = (
            item["Info"]
            for domain in self._ask("ul.dump")["Domains"]
            for item in domain["Domain"]["AoRs"]
        )
        return {
            info["AoR"].partition("@")[0]: [each["Contact"] for each in info["Contacts"]]
            for info in infos
        }

    def _ask(self, method: str) -> dict[str, Any]:
        """One question to its JSON-RPC socket."""
        mine = str(self._folder / "asker.sock")
        Path(mine).unlink(missing_ok=True)
        question = {"jsonrpc": "2.0", "method": method, "params": [], "id": 1}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
            asker.bind(mine)
            asker.settimeout(PATIENCE_SECONDS)
            asker.sendto(json.dumps(question).encode(), str(self._folder / "rpc.sock"))
            answer = json.loads(asker.recv(1 << 20))
        result: dict[str, Any] = answer.get("result", {})
        return result


def _challenges(header: str, more: tuple[str, ...]) -> str:
    lines = (line.replace('"', '\\"') for line in more)
    return "\n    ".join(f'append_to_reply("{header}: {line}\\r\\n");' for line in lines)
