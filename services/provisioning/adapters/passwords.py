"""Argon2id in threads: implements `ports.PasswordHasher`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from tandem.rpc.directory import DirectoryUnavailable

THREADS: Final = 2
"""Hashes at a time: each takes a core and its memory for some tens of milliseconds."""
MAX_WAITING: Final = 32
"""Hashes that wait or run: a second or two of work; more means a flood of logins."""

T = TypeVar("T")


class Argon2Hasher:
    """Hashes and verifies off the event loop, a few at a time."""

    def __init__(self, *, time_cost: int, memory_kib: int, parallelism: int) -> None:
        self._hasher = PasswordHasher(time_cost, memory_kib, parallelism)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobody = self._hasher.hash(os.urandom(16).hex())

    async def hash(self, password: str) -> str:
        """What to keep of a password."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether it is the one; None takes as long, and is never right."""
        right = await self._run(lambda: self._matches(stored or self._nobody, password))
        return right and stored is not None

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise DirectoryUnavailable("too many passwords wait to be checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1
