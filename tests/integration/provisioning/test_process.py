"""`python -m services.provisioning` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx

PATIENCE_SECONDS = 30.0


async def _start(**settings: str) -> Process:
    environ = os.environ | {f"TANDEM_{name}": value for name, value in settings.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "services.provisioning",
        env=environ, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def _line(process: Process) -> str:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
    return line.decode().strip()


async def test_it_starts_answers_and_stops_on_sigterm(tmp_path: Path) -> None:
    process = await _start(
        DATABASE_URL=f"sqlite:///{tmp_path / 'tandem.db'}",
        HTTP_LISTEN="127.0.0.1:0",
        GRPC_LISTEN="127.0.0.1:0",
        DOMAINS="office.example",
    )
    found = re.search(r"password (\S+) ", await _line(process))
    assert found is not None
    assert re.fullmatch(r"http http://127\.0\.0\.1:\d+", await _line(process))
    assert re.fullmatch(r"grpc 127\.0\.0\.1:\d+", await _line(process))
    url = (await _line(process)).removeprefix("ready: ")
    values = {"username": "admin", "password": found[1]}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        token = (await client.post("/api/v1/login", json=values)).json()["token"]
        client.headers["authorization"] = f"Bearer {token}"
        domains = (await client.get("/api/v1/domains")).json()["items"]
        assert (await client.get("/health/ready")).status_code == 200
    assert [domain["name"] for domain in domains] == ["office.example"]
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert b"Warning" not in errors


async def test_a_wrong_setting_is_one_line_and_status_2(tmp_path: Path) -> None:
    for settings, told in (
        ({"DATABASE_URL": f"sqlite:///{tmp_path / 'missing' / 'x.db'}"}, b"make its folder"),
        ({"TOKEN_SECONDS": "soon"}, b"TANDEM_TOKEN_SECONDS"),
        ({"HTTP_LISTEN": "nonsense"}, b"TANDEM_HTTP_LISTEN"),
        ({"BROKER_URL": "http://broker"}, b"TANDEM_CLUSTER_KEY is not set"),
        ({"BROKER_URL": "http://broker", "CLUSTER_KEY": "k" * 16}, b"TANDEM_BROKER_URL"),
        ({"CLUSTER_KEY": "short"}, b"too short"),
        ({"GRPC_CERT": "cert.pem"}, b"go together"),
    ):
        process = await _start(**({"HTTP_LISTEN": "127.0.0.1:0"} | settings))
        _, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        assert process.returncode == 2
        assert told in errors
        assert errors.count(b"\n") == 1
