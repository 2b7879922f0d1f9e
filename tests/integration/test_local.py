"""`tandem local` as a process: what it prints, how it fails, how it stops, what it leaves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tandem.rpc.channel import open_channel
from tandem.rpc.security import Security
from tandem.stubs.ops.v1 import ops_pb2
from tandem.stubs.ops.v1.ops_pb2_grpc import OpsStub
from tests.support.load import register
from tests.support.ports import free_port
from tests.support.switch import ADMIN_PASSWORD, DOMAIN, STOP_SECONDS, Switch
from tests.support.waiting import PATIENCE_SECONDS, eventually
from tests.support.wsclient import WebPhone

COMMAND = (sys.executable, "-m", "services.local")
ANY_PORTS = ("--sip", "127.0.0.1:0", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
SIP_PASSWORD = "secret1"  # what tests.support.load registers with


@dataclass(frozen=True)
class Ended:
    """What became of a program."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that it wrote on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("tandem: "), self.err
        return self.err.strip()


class Program:
    """`tandem` with options of the test's own, read until it is ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []

    @classmethod
    async def start(cls, *options: str, env: Mapping[str, str] | None = None) -> Program:
        """Start it."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=clean | {"PYTHONUNBUFFERED": "1", **(env or {})},
        )
        return cls(process)

    async def ready(self) -> list[str]:
        """The lines up to `ready`."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS * 2):
            while not self.lines or not self.lines[-1].startswith("ready"):
                line = (await self._process.stdout.readline()).decode()
                assert line, "it ended before it was ready"
                self.lines.append(line.rstrip("\n"))
        return self.lines

    def shown(self, name: str) -> list[str]:
        """What follows this word at the start of a line."""
        return [line.split()[1] for line in self.lines if line.split()[0] == name]

    async def end(self, number: signal.Signals | None = None) -> Ended:
        """Wait for its end, after this signal."""
        if number is not None:
            self._process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                out, err = await self._process.communicate()
        except TimeoutError:
            self.kill()
            raise
        assert self._process.returncode is not None
        return Ended(self._process.returncode, out.decode(), err.decode())

    def kill(self) -> None:
        """Should the test have failed."""
        with suppress(ProcessLookupError):
            self._process.kill()


async def run(*options: str, env: Mapping[str, str] | None = None) -> Ended:
    """A program that ends by itself."""
    return await (await Program.start(*options, env=env)).end()


async def once(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> Program:
    """Start it in this folder, wait until it is ready, and end it."""
    program = await Program.start("local", "--data-dir", str(folder), *options, env=env)
    try:
        await program.ready()
        ended = await program.end(signal.SIGTERM)
    finally:
        program.kill()
    assert (ended.status, ended.err) == (0, "")
    return program


@pytest_asyncio.fixture
async def switch(tmp_path: Path) -> AsyncIterator[Switch]:
    """One that a test may stop and start."""
    switch = Switch(tmp_path / "data")
    yield switch
    await switch.stop()


# -- starting --------------------------------------------------------------------------------------


async def test_it_prints_its_addresses_the_first_password_once_and_then_ready(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "new" / "data"
    first = await once(folder, *ANY_PORTS)
    assert first.lines[-1].startswith("ready")
    assert first.shown("sip") == ["udp", "tcp"]
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", first.shown("http")[0])
    assert first.shown("administrator") == ["admin"]
    assert len(first.shown("password")[0]) >= 12
    assert re.fullmatch(r"phones +set 127\.0\.0\.1:\d+ as their server", first.lines[-2])
    second = await once(folder, *ANY_PORTS)
    assert not second.shown("password")
    assert not second.shown("administrator")


async def test_a_password_that_was_given_is_not_shown(tmp_path: Path) -> None:
    env = {"TANDEM_ADMIN_PASSWORD": ADMIN_PASSWORD}
    program = await once(tmp_path / "data", *ANY_PORTS, env=env)
    assert not program.shown("password")


async def test_the_password_shown_logs_in(tmp_path: Path) -> None:
    program = await Program.start("local", "--data-dir", str(tmp_path / "data"), *ANY_PORTS)
    try:
        await program.ready()
        body = {"username": "admin", "password": program.shown("password")[0]}
        async with httpx.AsyncClient(base_url=program.shown("http")[0], trust_env=False) as client:
            assert (await client.post("/api/v1/login", json=body)).status_code == 200
        assert (await program.end(signal.SIGINT)).status == 0
    finally:
        program.kill()


async def test_operators_tools_see_the_parts_of_the_switch(tmp_path: Path) -> None:
    env = {"TANDEM_ADMIN_PASSWORD": ADMIN_PASSWORD}
    folder = str(tmp_path / "data")
    program = await Program.start("local", "--data-dir", folder, *ANY_PORTS, env=env)
    try:
        await program.ready()
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        async with httpx.AsyncClient(base_url=program.shown("http")[0], trust_env=False) as client:
            token = (await client.post("/api/v1/login", json=body)).json()["token"]
        channel = open_channel(program.shown("grpc")[0], Security.of_one_process(), token=token)
        ops = OpsStub(channel)

        async def nodes() -> set[tuple[str, str]]:
            answer = await ops.ListNodes(ops_pb2.ListNodesRequest(), timeout=PATIENCE_SECONDS)
            found = {(node.said.kind, node.said.state) for node in answer.nodes}
            kinds = ("proxy", "appserver", "provisioning")
            return found if found >= {(kind, "active") for kind in kinds} else set()

        await eventually(nodes, "all parts to announce themselves")
        hints = await ops.ListHints(ops_pb2.ListHintsRequest(), timeout=PATIENCE_SECONDS)
        assert not hints.silent_nodes
        await channel.close()
        assert (await program.end(signal.SIGTERM)).status == 0
    finally:
        program.kill()


async def test_it_listens_on_ipv6_alone(tmp_path: Path) -> None:
    options = ("--sip", "[::1]:0", "--http", "[::1]:0", "--grpc", "[::1]:0")
    program = await once(tmp_path / "data", *options)
    assert program.shown("http")[0].startswith("http://[::1]:")
    assert program.shown("grpc")[0].startswith("[::1]:")
    assert all(line.split()[2].startswith("[::1]:") for line in program.lines if "sip " in line)


async def test_phones_are_told_an_address_and_not_a_wildcard(tmp_path: Path) -> None:
    program = await once(tmp_path / "data", "--sip", "0.0.0.0:0", *ANY_PORTS[2:])
    assert "sip udp 0.0.0.0:" in program.lines[2]
    assert program.shown("phones") == ["set"]
    assert "0.0.0.0" not in program.lines[-2]


# -- not starting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--sip", "--sip/udp", "--tls", "--ws", "--http", "--grpc"])
async def test_a_port_in_use_is_named_in_one_line(option: str, tmp_path: Path) -> None:
    option, _, transport = option.partition("/")
    kind = socket.SOCK_DGRAM if transport else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if not transport:
            other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        given = [value for pair in _with(option, taken) for value in pair]
        ended = await run("local", "--data-dir", str(tmp_path / "data"), *given)
    assert ended.status == 1
    assert f"{taken} is in use by another program" in ended.complaint
    assert f"{option} HOST:PORT" in ended.complaint


def _with(option: str, value: str) -> list[tuple[str, str]]:
    free = dict(zip(ANY_PORTS[::2], ANY_PORTS[1::2], strict=True))
    return list((free | {option: value}).items())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sip", "nonsense"), "'nonsense' is not HOST:PORT"),
        (("--sip", "127.0.0.1:70000"), "'127.0.0.1:70000' is not HOST:PORT"),
        (("--sip", "sip.example.com:5060"), "--sip sip.example.com:5060: give a numeric address"),
        (("--domain", "two words"), "--domain 'two words' is no domain name"),
        (("--tls-cert", "x.pem"), "--tls-cert and --tls-key go together"),
        (("--tls-cert", "/x.pem", "--tls-key", "/y.pem"), "--tls-cert /x.pem: there is no such"),
        (("--log-level", "loud"), "invalid choice: 'loud'"),
        (("--speed", "11"), "unrecognized arguments: --speed 11"),
    ],
)
async def test_a_wrong_option_is_one_line_and_status_2(
    options: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    ended = await run("local", "--data-dir", str(tmp_path / "data"), *options)
    assert ended.status == 2
    assert says in ended.complaint
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TANDEM_RATE_LIMIT", "fast"),
        ("TANDEM_RATE_LIMIT", "-1"),
        ("TANDEM_DIGEST_ALGORITHMS", "SHA-1"),
        ("TANDEM_ADMIN_PASSWORD", "short"),
    ],
)
async def test_a_wrong_setting_is_one_line_and_status_2(
    name: str, value: str, tmp_path: Path
) -> None:
    folder = str(tmp_path / "data")
    ended = await run("local", "--data-dir", folder, *ANY_PORTS, env={name: value})
    assert ended.status == 2
    assert ended.complaint.startswith(f"tandem: {name}: ")


async def test_a_certificate_that_is_none_is_one_line_and_status_2(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    options = ("--tls", "127.0.0.1:0", "--tls-cert", str(wrong), "--tls-key", str(wrong))
    ended = await run("local", "--data-dir", str(tmp_path / "data"), *ANY_PORTS, *options)
    assert ended.status == 2
    assert "--tls-cert or --tls-key can't be used" in ended.complaint


@pytest.mark.parametrize("name", ["provisioning.db", "events.db"])
async def test_a_database_that_is_none_is_named_and_left_alone(name: str, tmp_path: Path) -> None:
    wrong = tmp_path / name
    wrong.write_bytes(b"a letter to my aunt" * 500)
    ended = await run("local", "--data-dir", str(tmp_path), *ANY_PORTS)
    assert ended.status == 1
    assert f"{wrong} is no SQLite database" in ended.complaint
    assert wrong.read_bytes() == b"a letter to my aunt" * 500


async def test_a_data_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    ended = await run("local", "--data-dir", str(tmp_path / "data"), *ANY_PORTS)
    assert ended.status == 1
    assert "can't make the data folder" in ended.complaint
    assert "--data-dir" in ended.complaint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_data_folder_that_is_read_only_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ended = await run("local", "--data-dir", str(tmp_path), *ANY_PORTS)
    assert ended.status == 1
    assert f"this user may not write to {tmp_path}" in ended.complaint


async def test_a_second_tandem_on_the_same_data_is_refused(switch: Switch) -> None:
    await switch.start()
    ended = await run("local", "--data-dir", str(switch.data_dir), *ANY_PORTS)
    assert ended.status == 1
    assert "another Tandem uses the data folder" in ended.complaint
    await switch.api.no_calls()


# -- help ------------------------------------------------------------------------------------------


async def test_help_names_every_option_and_setting() -> None:
    ended = await run("local", "--help")
    assert (ended.status, ended.err) == (0, "")
    for name in ("--sip", "--tls", "--ws", "--http", "--grpc", "--domain", "--data-dir"):
        assert name in ended.out
    for name in ("TANDEM_ADMIN_PASSWORD", "TANDEM_DATA_DIR", "TANDEM_RATE_LIMIT"):
        assert name in ended.out


async def test_without_a_command_it_points_to_the_help() -> None:
    ended = await run()
    assert ended.status == 2
    assert "tandem --help" in ended.complaint
    assert "local" in (await run("--help")).out
    assert re.fullmatch(r"tandem \d+\.\d+\.\d+\n", (await run("--version")).out)


# -- stopping --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_cleanly_under_a_console_and_connected_phones(
    number: signal.Signals, switch: Switch
) -> None:
    await switch.start()
    await switch.api.add_account("ann", SIP_PASSWORD)
    phone = WebPhone("ann", SIP_PASSWORD)
    await phone.connect(switch.address("ws"))
    assert (await phone.register()).status == 200
    host, _, port = switch.address("tcp").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"\r\n"
    stream = {"Accept": "text/event-stream"}
    async with switch.api.client.stream("GET", "/api/v1/events", headers=stream) as console:
        assert console.status_code == 200
        os.kill(switch.pid, number)
        said = "".join([piece async for piece in console.aiter_text()])
    assert "event: closed" in said
    assert await reader.read() == b""
    writer.close()
    await phone.close()
    await switch.ended()


# -- what is left ----------------------------------------------------------------------------------


async def test_a_registration_outlives_a_kill_and_is_called(switch: Switch) -> None:
    await switch.start()
    await switch.api.add_account("ben", SIP_PASSWORD)
    await switch.api.add_account("ann", SIP_PASSWORD)
    port = free_port()
    await register(switch, "ben", port)
    await switch.api.bound(f"ben@{DOMAIN}")
    await switch.kill()
    await switch.start()
    assert [b["aor"] for b in (await switch.api.get("/bindings"))["items"]] == [f"ben@{DOMAIN}"]
    ann = WebPhone("ann", SIP_PASSWORD)
    await ann.connect(switch.address("ws"))
    assert (await ann.register()).status == 200
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ben:
        ben.setblocking(False)
        ben.bind(("127.0.0.1", port))
        calling = asyncio.create_task(ann.call("ben"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (got := await loop.sock_recv(ben, 65535)).startswith(b"INVITE"):
                pass  # the keep-alive packets
        assert b"INVITE sip:ben@127.0.0.1:%d" % port in got
        calling.cancel()
    await ann.close()


async def test_nobody_else_can_read_what_it_keeps_and_no_log_tells_secrets(
    switch: Switch, tmp_path: Path
) -> None:
    switch.data_dir.mkdir(mode=0o755)
    await switch.start(
        (
            "--sip",
            "127.0.0.1:0",
            "--tls",
            "127.0.0.1:0",
            "--ws",
            "127.0.0.1:0",
            "--log-level",
            "debug",
        )
    )
    await switch.api.add_account("ann", SIP_PASSWORD)
    phone = WebPhone("ann", SIP_PASSWORD)
    await phone.connect(switch.address("ws"))
    assert (await phone.register()).status == 200
    await phone.close()
    token = switch.api.client.headers["Authorization"].split()[1]
    kept = [path for path in switch.data_dir.iterdir() if path.is_file()]
    assert {"provisioning.db", "events.db", "secret.key", "tls-key.pem"} <= {p.name for p in kept}
    assert [p for p in kept if stat.S_IMODE(p.stat().st_mode) & 0o077] == []
    await switch.stop()
    log = switch.errors.read_text()
    for secret in (ADMIN_PASSWORD, SIP_PASSWORD, token):
        assert secret not in log
        assert not any(secret.encode() in p.read_bytes() for p in kept if p.exists())
