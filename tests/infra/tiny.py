"""A small ASGI application for tests of the process layer: what it answers says what it was given."""

import asyncio
import json
import os
import time


def create_app(settings, database_url, valkey_url):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "websocket":
            await chat(receive, send)
        else:
            await PATHS.get(scope["path"], report)(send)

    async def report(send):
        given = {"pid": os.getpid(), "port": settings.port, "database_url": database_url, "valkey_url": valkey_url}
        await answer(send, json.dumps(given).encode())

    return app


async def lifespan(receive, send):
    await receive()
    if os.environ.get("TINY_BREAKS"):
        await send({"type": "lifespan.startup.failed", "message": "it was told to"})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def chat(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def answer(send, body):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def slow(send):
    """Longer than a moment, shorter than a stop: a request under way that must be answered."""
    await asyncio.sleep(1)
    await answer(send, b"done")


async def stream(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
        await asyncio.sleep(0.1)


async def block(_send):
    time.sleep(60)  # noqa: ASYNC251  the fault under test


async def die(_send):
    os._exit(1)


PATHS = {"/slow": slow, "/stream": stream, "/block": block, "/die": die}
