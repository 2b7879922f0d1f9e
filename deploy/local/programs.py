"""Finding the programs of servers, and giving them folders and users."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from deploy.local.child import POLL_SECONDS, Child, StartFailed

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 90.0
RABBITMQ_PLACES: Final = ("/usr/lib/rabbitmq/bin", "/usr/local/lib/rabbitmq/bin")
"""Where its scripts lie; those in the PATH of Debian insist on users and folders of their own."""
POSTGRES_PLACE: Final = Path("/usr/lib/postgresql")
"""Debian's place, a folder for each version; none of them is in the PATH."""


class Missing(Exception):
    """A server's program is not installed; the text says what to install."""


def user_of(package: str) -> str | None:
    """Whom a server runs as: root's servers as the user of their package. Raises Missing."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(package).pw_name
    except KeyError:
        raise Missing(f"there is no user {package}: run this as another user than root") from None


def own_folder(folder: Path, user: str | None) -> None:
    """Make it, for this user alone. Raises StartFailed if he can't enter what it is in."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if user is not None:
        shutil.chown(folder, user)
        for above in folder.parents:
            if not above.stat().st_mode & 0o001 and above.owner() != user:
                raise StartFailed(f"{user} may not enter {above}; choose another --data-dir")


def write_for(path: Path, content: str, user: str | None) -> None:
    """Write a file that this user alone may read."""
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(content)
    if user is not None:
        shutil.chown(path, user)


async def listening(child: Child, port: int) -> None:
    """Wait until somebody takes connections. Raises StartFailed."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        if not child.running:
            raise StartFailed(f"{child.name} ended with {child.status}: {child.last_words()}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{child.name} does not listen: {child.last_words()}")
        await asyncio.sleep(POLL_SECONDS)


def find(program: str, places: Sequence[str], package: str) -> str:
    """The path of a program, in one of `places` or the PATH. Raises Missing."""
    found = [Path(place) / program for place in places if (Path(place) / program).exists()]
    path = found[0] if found else shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not installed (Debian, Ubuntu: apt install {package})")
    return str(path)


def postgres_bin() -> Path:
    """The folder of the newest PostgreSQL that is installed. Raises Missing."""
    found = sorted(POSTGRES_PLACE.glob("*/bin/postgres"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("postgres")
    if elsewhere is None:
        raise Missing("PostgreSQL is not installed (Debian, Ubuntu: apt install postgresql)")
    return Path(elsewhere).resolve().parent
