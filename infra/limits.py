"""Limits counted in Valkey, and always in this process as well: without Valkey it is the process that counts.

A key is a sorted set of the moments of its uses, at most as many as are allowed, and goes when the last one is old.
The moments are Valkey's own: the clocks of several servers need not agree.
"""

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import redis.asyncio as redis

from domain.kernel.errors import Limited
from domain.kernel.limits import Allowance
from infra.logs import get_logger

ANSWER_S_MAX = 0.25  # Valkey is asked in the way of a sign-in
AWAY_S = 5.0  # how long it is not asked again when it did not answer
KEYS_MAX = 50_000  # in this process
PREFIX = "stoa:limits:"

# KEYS: the set. ARGV: the member, how many, milliseconds. Returns the milliseconds to wait, 0 when it was counted.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local within = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - within)
if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[1], now, ARGV[1])
    redis.call('PEXPIRE', KEYS[1], within)
    return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return math.max(1, oldest[2] + within - now)
"""

T = TypeVar("T")

log = get_logger(__name__)


class CountedLimits:
    """See `domain.kernel.limits.Limits`. `secret` makes the keys what only this installation can make."""

    def __init__(self, secret: bytes, valkey_url: str | None) -> None:
        self._secret = secret
        self._near = _Near()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._away_until = 0.0
        self._valkey: Any = None
        if valkey_url is not None:
            timeouts: Any = {"socket_timeout": ANSWER_S_MAX, "socket_connect_timeout": ANSWER_S_MAX}
            self._valkey = redis.Redis.from_url(valkey_url, **timeouts)
            self._take = self._valkey.register_script(_TAKE)

    async def take(self, allowance: Allowance, key: str) -> "CountedUse":
        """Count a use, here and in Valkey."""
        name, member = self._name(f"{allowance.name}:{key}"), secrets.token_hex(8)
        wait_s = self._near.take(name, allowance)
        if wait_s == 0:
            use = CountedUse(self, name, member)
            args = [member, allowance.most, int(allowance.within_s * 1000)]
            wait_s = await self._asked(lambda: self._take(keys=[name], args=args), 0) / 1000
            if wait_s == 0:
                return use
            self._near.give_back(name)
        raise Limited("too many attempts; try again later", retry_after_s=max(1.0, wait_s))

    async def give_back(self, name: str, member: str) -> None:
        """Take a use out of the count."""
        self._near.give_back(name)
        await self._asked(lambda: self._valkey.zrem(name, member), 0)

    async def remember(self, key: str, life_s: float) -> None:
        """Know the key again."""
        name = self._name(f"remembered:{key}")
        self._near.remember(name, life_s)
        await self._asked(lambda: self._valkey.set(name, b"", px=int(life_s * 1000)), None)

    async def remembers(self, key: str) -> bool:
        """Whether it is known here, or in Valkey."""
        name = self._name(f"remembered:{key}")
        return self._near.remembers(name) or bool(await self._asked(lambda: self._valkey.exists(name), 0))

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """One after the other."""
        lock = self._turns.setdefault(key, asyncio.Lock())
        async with lock:
            yield

    async def close(self) -> None:
        """Let the connections go."""
        if self._valkey is not None:
            await self._valkey.aclose()

    def _name(self, key: str) -> str:
        return PREFIX + hmac.digest(self._secret, b"stoa limit " + key.encode(errors="replace"), "sha256").hex()[:32]

    async def _asked(self, ask: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """What Valkey says, or `otherwise` while it is away."""
        if self._valkey is None or time.monotonic() < self._away_until:
            return otherwise
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await ask()
        except (redis.RedisError, OSError, TimeoutError) as problem:
            self._away_until = time.monotonic() + AWAY_S
            log.warning("limits_counted_locally", error=type(problem).__name__, for_s=AWAY_S)
            return otherwise


@dataclass(frozen=True, slots=True)
class CountedUse:
    """See `domain.kernel.limits.Use`."""

    limits: CountedLimits
    name: str
    member: str

    async def give_back(self) -> None:
        """Take it out of the count."""
        await self.limits.give_back(self.name, self.member)


class _Near:
    """What this process has counted itself. The keys used longest ago are forgotten first."""

    def __init__(self) -> None:
        self._uses: OrderedDict[str, list[float]] = OrderedDict()
        self._known: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str, allowance: Allowance) -> float:
        """Seconds to wait; 0 when it was counted."""
        now = time.monotonic()
        uses = [moment for moment in self._uses.pop(name, []) if moment > now - allowance.within_s]
        self._uses[name] = uses
        if len(uses) >= allowance.most:
            return max(0.001, uses[0] + allowance.within_s - now) if uses else allowance.within_s
        uses.append(now)
        _bound(self._uses)
        return 0

    def give_back(self, name: str) -> None:
        """Take the newest use out of the count."""
        uses = self._uses.get(name)
        if uses:
            uses.pop()

    def remember(self, name: str, life_s: float) -> None:
        self._known.pop(name, None)
        self._known[name] = time.monotonic() + life_s
        _bound(self._known)

    def remembers(self, name: str) -> bool:
        return self._known.get(name, 0) > time.monotonic()


def _bound(keys: OrderedDict[str, Any]) -> None:
    while len(keys) > KEYS_MAX:
        keys.popitem(last=False)
