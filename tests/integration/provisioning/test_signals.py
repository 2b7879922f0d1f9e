"""What voice applications hand back, over /api/v1/signals."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.callcontrol import ControlledNode
from tests.support.callmanager import Stage
from tests.support.provisioning import sqlite_in


@pytest.fixture
def database(tmp_path: Path) -> str:
    """SQLite: what the databases differ in is tested in test_open_methods.py."""
    return sqlite_in(tmp_path)


async def _waiting(node: ControlledNode, key: str = "k") -> asyncio.Task[str | None]:
    task = asyncio.create_task(node.signals.wait("alice", key, 60))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize(
    ("content", "kind", "heard"),
    [
        (b'{"digits": "12"}', "application/json", '{"digits": "12"}'),
        (b"digits=12&who=%C3%A4&x=1&x=2&x=3", "application/x-www-form-urlencoded",
         '{"digits": "12", "who": "ä", "x": ["1", "2", "3"]}'),
        ("12 ä".encode(), "text/plain; charset=utf-8", "12 ä"),
        (b"12", "", "12"),
        (b"", "", ""),
    ],
)  # fmt: skip
async def test_a_signal_reaches_the_dialplan_that_waits(
    stage: Stage, alice: httpx.AsyncClient, content: bytes, kind: str, heard: str
) -> None:
    task = await _waiting(stage.two)
    headers = {"content-type": kind} if kind else {}
    answer = await alice.post("/api/v1/signals/k", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"delivered": 1, "kept": False, "silent_nodes": []}
    assert await task == heard
    assert await _none_kept(stage.one)


async def _none_kept(node: ControlledNode) -> bool:
    task = await _waiting(node)
    node.now += 60
    node.deadlines.run(node.now)
    return await task is None


async def test_an_early_signal_is_kept_by_every_appserver(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    answer = await alice.post("/api/v1/signals/k", content=b"early")
    assert answer.status_code == 202
    assert answer.json() == {"delivered": 0, "kept": True, "silent_nodes": []}
    for node in (stage.one, stage.two):
        assert await node.signals.wait("alice", "k", 0) == "early"


async def test_silent_appservers_are_named(stage: Stage, alice: httpx.AsyncClient) -> None:
    await stage.silence()
    task = await _waiting(stage.one)
    answer = await alice.post("/api/v1/signals/k", content=b"x")
    assert answer.json() == {"delivered": 1, "kept": False, "silent_nodes": ["as2"]}
    assert await task == "x"
    await stage.one.server.stop()
    answer = await alice.post("/api/v1/signals/k", content=b"x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_signal_is_its_owners_alone(
    stage: Stage, admin: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    task = await _waiting(stage.one)
    assert (await bob.post("/api/v1/signals/k", content=b"x")).status_code == 202
    answer = await bob.post("/api/v1/signals/k", params={"owner": "alice"}, content=b"x")
    assert answer.status_code == 403
    assert (await stage.anybody.post("/api/v1/signals/k", content=b"x")).status_code == 401
    await asyncio.sleep(0)
    assert not task.done()
    answer = await admin.post("/api/v1/signals/k", params={"owner": "alice"}, content=b"x")
    assert answer.json()["delivered"] == 1
    assert await task == "x"


@pytest.mark.parametrize(
    ("key", "content", "kind", "status"),
    [
        ("k", b"x" * 8193, "text/plain", 413),
        ("k", b"x=" + b"%C3%A4" * 1300, "application/x-www-form-urlencoded", 202),
        ("k", b"\xff", "text/plain", 422),
        ("k", b"x=%FF", "application/x-www-form-urlencoded", 422),
        ("k", b"&".join([b"x=1"] * 101), "application/x-www-form-urlencoded", 422),
        ("k", b"{", "application/json", 422),
        ("k", b"[" * 8000, "application/json", 422),
        ("k", b"x\0", "text/plain", 422),
        ("a%20b", b"x", "text/plain", 422),
        ("x" * 129, b"x", "text/plain", 422),
        ("a/b", b"x", "text/plain", 404),
    ],
)
async def test_a_signal_that_makes_no_sense_is_refused(
    stage: Stage, alice: httpx.AsyncClient, key: str, content: bytes, kind: str, status: int
) -> None:
    headers = {"content-type": kind}
    answer = await alice.post(f"/api/v1/signals/{key}", content=content, headers=headers)
    assert answer.status_code == status, answer.text


async def test_more_signals_than_are_kept_are_refused(
    stage: Stage, alice: httpx.AsyncClient
) -> None:
    answers = [await alice.post("/api/v1/signals/k", content=b"x") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [202] * 8 + [409]
