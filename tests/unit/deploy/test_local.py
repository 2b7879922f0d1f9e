"""The local cluster's plan, folder and programs, without starting any."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from deploy.local import programs, servers
from deploy.local.__main__ import main
from deploy.local.child import Child, StartFailed
from deploy.local.folder import Folder, FolderProblem, free_port, is_free
from deploy.local.plan import KINDS, Plan, Shared
from services.appserver.config import AppServerConfig
from services.events.config import EventsConfig
from services.provisioning.config import ProvisioningConfig
from services.proxy.config import ProxyConfig
from tandem.runtime.config import load, variable
from tests.support.waiting import eventually

CONFIGS: dict[str, type[Any]] = {
    "proxy": ProxyConfig,
    "appserver": AppServerConfig,
    "provisioning": ProvisioningConfig,
    "events": EventsConfig,
}


def shared(plan: Plan) -> Shared:
    """A plan with ports from 20000 on."""
    return Shared(
        plan=plan,
        ports={name: 20_000 + index for index, name in enumerate(plan.ports())},
        broker_url="amqp://tandem:pw@127.0.0.1:5672/",
        database_urls={
            "provisioning": "postgresql://tandem:pw@127.0.0.1/provisioning",
            "events": "postgresql://tandem:pw@127.0.0.1/events",
        },
        cluster_key="k" * 32,
        admin_password="correct horse battery",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "nonsense"], "argument --host: 'nonsense' is not an IPv4 address"),
        (
            ["--host", "203.0.113.77"],
            "argument --host: 203.0.113.77 is no address of this computer",
        ),
        (["--host", "0.0.0.0"], "argument --host: 0.0.0.0 is everywhere"),
        (["--host", "::1"], "argument --host: '::1' is not an IPv4 address"),
        (["--domain", "999"], "argument --domain: '999' is no domain name"),
        (["--domain", "foo bar;"], "argument --domain: 'foo bar;' is no domain name"),
        (["--domain", "a..b"], "argument --domain: 'a..b' is no domain name"),
        (["--domain", ""], "argument --domain: '' is no domain name"),
        (["--domain", "-a.example"], "argument --domain: '-a.example' is no domain name"),
        (
            ["--domain", "good.example,bad"],
            "argument --domain: 'good.example,bad' is no domain name",
        ),
        (["--tls-cert", "/none.pem", "--tls-key", "/none.pem"], "argument --tls-cert: /none.pem:"),
        (["--port-base", "1"], "argument --port-base: '1' is not a port"),
        (["--proxies", "0"], "argument --proxies: '0' is not a number"),
        (["--nosuch"], "unrecognized arguments: --nosuch"),
    ],
)
def test_nonsense_is_told_in_one_line_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    options = [f"{arguments[0]}={arguments[1]}", *arguments[2:]] if arguments[1:] else arguments
    with pytest.raises(SystemExit) as caught:
        main([*options, "--data-dir", str(tmp_path / "cluster")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tandem cluster: {said}")
    assert line.endswith("(see --help)")
    assert not (tmp_path / "cluster").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_each_service_takes_all_its_settings(kind: str) -> None:
    made = shared(Plan()).settings(kind, f"{kind}1")
    assert load(CONFIGS[kind], made).node_id == f"{kind}1"
    known = {variable(field) for field in fields(CONFIGS[kind])}
    # what all nodes are told, whether they ask or not
    common = {"TANDEM_DIRECTORY_URL", "TANDEM_DOMAINS"}
    assert set(made) - common <= known


def test_every_listener_has_a_port_of_its_own() -> None:
    made = shared(Plan(proxies=3, appservers=3, tls_cert=Path("c"), tls_key=Path("k")))
    listeners = [
        value
        for kind in KINDS
        for name in made.plan.names(kind)
        for variable_, value in made.settings(kind, name).items()
        if variable_.endswith("_LISTEN")
    ]
    assert len(listeners) == len(set(listeners)) == 3 * 6 + 3 * 3 + 1 * 2 + 2 * 2


def test_settings_for_one_node_are_stronger_than_those_of_its_kind() -> None:
    extra = {"proxy": {"TANDEM_RATE_LIMIT": "5"}, "proxy2": {"TANDEM_RATE_LIMIT": "7"}}
    made = shared(Plan(extra=extra))
    limits = [made.settings("proxy", f"proxy{n}")["TANDEM_RATE_LIMIT"] for n in (1, 2)]
    assert limits == ["5", "7"]


def test_no_setting_comes_from_the_launchers_own_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TANDEM_MAX_CALLS", "1")
    monkeypatch.setenv("LANG", "C")
    found = shared(Plan()).environment("appserver", "appserver1")
    assert "TANDEM_MAX_CALLS" not in found
    assert found["LANG"] == "C"


# -- the folder ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """Open."""
    made = Folder(tmp_path / "data")
    made.open()
    yield made
    made.close()


def test_secrets_are_made_once_and_kept_private(folder: Folder) -> None:
    first, new = folder.secret("cluster_key")
    assert new
    assert len(first) >= 32
    assert folder.secret("cluster_key") == (first, False)
    assert folder.secret("admin_password", "given") == ("given", True)
    assert folder.secret("admin_password", "other") == ("given", False)
    assert (folder.path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_is_for_one_at_a_time(folder: Folder) -> None:
    other = Folder(folder.path)
    folder.remember({"proxy1": os.getpid()})
    noted = (folder.path / "processes.json").read_text()
    with pytest.raises(FolderProblem, match="another cluster runs"):
        other.open()
    other.remember({})  # what the other one does in its end changes nothing
    other.close()
    assert (folder.path / "processes.json").read_text() == noted
    folder.remember({})
    folder.close()
    other.open()
    other.close()


def test_ports_stay_until_somebody_else_takes_them(folder: Folder) -> None:
    first = folder.ports(["a", "b"], None)
    assert len(set(first.values())) == 2
    assert folder.ports(["a", "b"], None) == first
    with socket.create_server(("127.0.0.1", first["a"])):
        assert not is_free(first["a"])
        second = folder.ports(["a", "b"], None)
    assert second["b"] == first["b"]
    assert second["a"] != first["a"]


def test_ports_from_a_base_are_in_order_or_refused(folder: Folder) -> None:
    base = free_port()
    if is_free(base + 1):
        assert folder.ports(["a", "b"], base) == {"a": base, "b": base + 1}
    with socket.create_server(("127.0.0.1", base)):
        with pytest.raises(FolderProblem, match=rf"port {base} \(a\) is in use"):
            folder.ports(["a", "b"], base)


def test_what_a_killed_launcher_left_is_ended(folder: Folder, monkeypatch: Any) -> None:
    monkeypatch.setattr("deploy.local.folder.LEFTOVER_SECONDS", 0.1)
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder.remember({"proxy1": left.pid})
    folder.close()
    again = Folder(folder.path)
    again.open()
    again.close()
    assert left.wait(10) == -9


def test_a_process_that_merely_has_an_old_number_is_left_alone(folder: Folder) -> None:
    (folder.path / "processes.json").write_text(json.dumps({"proxy1": [os.getpid(), "12345"]}))
    folder.close()
    again = Folder(folder.path)
    again.open()  # would end this very test
    again.close()


def test_a_damaged_file_is_named(folder: Folder) -> None:
    (folder.path / "secrets.json").write_text("{")
    with pytest.raises(FolderProblem, match=r"secrets\.json is damaged"):
        folder.secret("cluster_key")


# -- programs --------------------------------------------------------------------------------------


def test_a_missing_server_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "RABBITMQ_PLACES", ())
    monkeypatch.setattr(programs, "POSTGRES_PLACE", tmp_path)
    with pytest.raises(programs.Missing, match="apt install rabbitmq-server"):
        servers.Rabbit(tmp_path, 1, 2, 3, "pw")
    with pytest.raises(programs.Missing, match="apt install postgresql"):
        servers.Postgres(tmp_path, 1, "pw", ())


def child(tmp_path: Path, code: str) -> Child:
    """A Python program."""
    command = [sys.executable, "-u", "-c", code]
    return Child("node", command, dict(os.environ), tmp_path / "log" / "node.log")


async def test_a_child_is_ready_when_it_says_so(tmp_path: Path) -> None:
    made = child(tmp_path, "import time; print('ready: here'); time.sleep(600)")
    made.spawn()
    await made.ready(20)
    assert made.running
    assert await made.terminate(20)
    assert made.status == -15
    made.spawn()  # the word of its earlier life does not count
    await made.ready(20)
    made.kill()
    assert made.status == -9


async def test_a_child_that_ends_too_early_is_quoted(tmp_path: Path) -> None:
    made = child(tmp_path, "print('port 1 is in use'); raise SystemExit(2)")
    made.spawn()
    with pytest.raises(StartFailed, match="node ended with 2: port 1 is in use"):
        await made.ready(20)


async def test_a_child_that_hangs_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(600)"
    made = child(tmp_path, code)
    made.spawn()
    await made.ready(20)
    assert not await made.terminate(0.2)
    assert made.status == -9


async def test_a_child_ends_with_its_launcher(tmp_path: Path) -> None:
    """A launcher that starts a child and is killed."""
    code = f"""
import os, sys, time
from pathlib import Path
from deploy.local.child import Child
made = Child("node", ["sleep", "600"], dict(os.environ), Path({str(tmp_path)!r}) / "node.log")
made.spawn()
print(made.pid, flush=True)
time.sleep(600)
"""
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert launcher.stdout is not None
    orphan = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()

    async def gone() -> bool:
        try:
            return Path(f"/proc/{orphan}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    await eventually(gone, "the child to end")
