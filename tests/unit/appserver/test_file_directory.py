"""Accounts in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.appserver.adapters.file_directory import FileDirectory
from tandem.rpc.directory import Domain
from tandem.sip.digest import ha1


def write(path: Path, content: Any) -> Path:
    file = path / "accounts.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


async def test_accounts_and_domains_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, {
        "domains": [{"name": "Example.com", "aliases": ["alias.example"]}],
        "accounts": [
            {
                "username": "Alice", "domain": "EXAMPLE.com", "password": "secret",
                "ip_acl": ["::/0"],
            },
            {"username": "bob", "domain": "example.com", "ha1": {"MD5": "x"}, "owner": "b"},
        ],
    })  # fmt: skip
    directory = FileDirectory(file)
    assert await directory.domains() == [Domain("example.com", ("alias.example",))]
    alice = await directory.account("alice", "example.com")
    assert alice is not None
    assert (alice.aor, alice.owner, alice.ip_acl) == ("Alice@example.com", "Alice", ("::/0",))
    assert alice.ha1["SHA-256"] == ha1("SHA-256", "Alice", "example.com", "secret")
    bob = await directory.account("BOB", "example.com")
    assert bob is not None
    assert (bob.owner, bob.ha1) == ("b", {"MD5": "x"})
    assert await directory.account("carol", "example.com") is None
    assert await directory.bindings() == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "line 1"),
        ("[]", "must hold an object"),
        ({"accounts": [{"username": "a"}]}, "account a@\\? is incomplete"),
        ({"accounts": [{"username": "a", "domain": "d"}]}, "incomplete"),
        ({"accounts": [{"username": "a", "domain": "d", "password": "p", "x": 1}]}, "unknown x"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    tmp_path: Path, content: Any, text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        FileDirectory(write(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        FileDirectory(tmp_path / "none.json")
