"""Argon2id, in threads and bounded in number: each hash takes 19 MiB and about 20 ms of a core."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=Type.ID)
AT_ONCE_MAX = max(1, (os.cpu_count() or 2) // 2)


class Argon2Passwords:
    """See `domain.identity.ports.Passwords`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE_MAX, thread_name_prefix="argon2")
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """A PHC string."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, HASHER.hash, password)

    async def matches(self, hash: str | None, password: str) -> bool:
        """Whether `password` made `hash`; for None it works as long, and says no."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._matches, hash, password)

    def _matches(self, hash: str | None, password: str) -> bool:
        if self._nobody is None:
            self._nobody = HASHER.hash(os.urandom(16).hex())
        try:
            return HASHER.verify(hash or self._nobody, password) and hash is not None
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, hash: str) -> bool:
        """Whether today's parameters are other ones."""
        return HASHER.check_needs_rehash(hash)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
