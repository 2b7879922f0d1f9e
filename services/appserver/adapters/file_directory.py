"""A Directory in one JSON file: for an appserver that runs without provisioning.

    {"domains": [{"name": "example.com", "aliases": ["sip.example.com"]}],
     "accounts": [{"username": "alice", "domain": "example.com", "password": "…",
                   "owner": "alice", "max_bindings": 5}]}

An account has a `password`, or `ha1` (algorithm to hash); its other fields are those of
`tandem.rpc.directory.Account`. The file is read once, at the start.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from tandem.bus.location import Binding
from tandem.rpc.directory import Account, Directory, Domain
from tandem.sip.digest import ALGORITHMS, ha1

MAX_FILE: Final = 64 * 1024 * 1024
"""Bytes: some hundred thousand accounts; more belong into a database."""

_FIELDS: Final = frozenset(field.name for field in fields(Account))


class FileDirectory(Directory):
    """All in memory. Raises ValueError, in one line, for a file that can't be used."""

    def __init__(self, path: Path) -> None:
        content = _read(path)
        self._domains = [
            Domain(str(item["name"]).lower(), tuple(item.get("aliases", ())))
            for item in content.get("domains", ())
        ]
        accounts = [_account(item, path) for item in content.get("accounts", ())]
        self._accounts = {(a.username.lower(), a.domain): a for a in accounts}

    async def account(self, username: str, domain: str) -> Account | None:
        """As the file has it."""
        return self._accounts.get((username.lower(), domain))

    async def domains(self) -> list[Domain]:
        """In the file's order."""
        return self._domains

    async def bindings(self) -> list[Binding]:
        """None: phones register again."""
        return []


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE:
            raise ValueError(f"{path}: larger than {MAX_FILE} bytes")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: line {error.lineno}: {error.msg}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold an object")
    return content


def _account(item: dict[str, Any], path: Path) -> Account:
    values = dict(item)
    username, domain = values.get("username"), str(values.get("domain", "")).lower()
    password = values.pop("password", None)
    unknown = values.keys() - _FIELDS
    if not username or not domain or (password is None) == ("ha1" not in values) or unknown:
        what = f"unknown {', '.join(sorted(unknown))}" if unknown else "incomplete"
        raise ValueError(f"{path}: account {username or '?'}@{domain or '?'} is {what}")
    if password is not None:
        values["ha1"] = {a: ha1(a, username, domain, password) for a in ALGORITHMS}
    values["domain"] = domain
    values["ip_acl"] = tuple(values.get("ip_acl", ()))
    return Account(**({"id": f"{username}@{domain}", "owner": username} | values))
