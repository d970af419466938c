"""Hearing what processes tell each other over Valkey."""

import asyncio
from collections.abc import AsyncGenerator

import redis.asyncio as redis

AGAIN_S = 1.0


async def heard(valkey: redis.Redis, channel: str) -> AsyncGenerator[bytes | None, None]:
    """What is said on a channel, for ever; None whenever it begins to listen: something may have been missed."""
    while True:
        try:
            async with valkey.pubsub() as messages:
                await messages.subscribe(channel)
                async for message in messages.listen():
                    yield message["data"] if message["type"] == "message" else None
        except (redis.RedisError, OSError):
            await asyncio.sleep(AGAIN_S)
