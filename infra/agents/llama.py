"""A model in a file (GGUF), as a server of OpenAI's chat protocol on a Unix socket: a program of its own.

    python -m infra.agents.llama FILE CONTEXT_TOKENS SOCKET

`infra.agents.local` runs it beside the server. It thinks of one answer at a time, on all cores, and stops when whoever
asked has left.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from infra.agents.markup import Hearing, for_template

WAITING_MAX = 16  # who waits for their turn
BUSY = "the local model has too many questions to answer already"
TEMPERATURE = 0.2

Asked = Mapping[str, Any]


class LocalModel:
    """The model in memory. Raises ValueError for a file that holds none."""

    def __init__(self, file: Path, context_tokens: int) -> None:
        from llama_cpp import Llama

        self._llama = Llama(str(file), n_ctx=context_tokens, verbose=False)
        self._template = str(self._llama.metadata.get("tokenizer.chat_template", ""))
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def complete(self, request: Request) -> Response:
        """POST /v1/chat/completions; whatever was asked for, the answer is a stream."""
        asked = await request.json()
        if self._waiting >= WAITING_MAX:
            return JSONResponse({"error": {"message": BUSY}}, 503)
        return StreamingResponse(self._answer(asked), media_type="text/event-stream")

    async def _answer(self, asked: Asked) -> AsyncIterator[bytes]:
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            async for event in iterate_in_threadpool(self._events(asked)):
                yield b"data: " + orjson.dumps(event) + b"\n\n"
        except ValueError as problem:  # of a conversation that is too long, or that the template does not take
            yield b"data: " + orjson.dumps({"error": {"message": str(problem)}}) + b"\n\n"
        finally:
            self._turn.release()
        yield b"data: [DONE]\n\n"

    def _events(self, asked: Asked) -> Iterator[dict[str, Any]]:
        tools = asked.get("tools") or []
        hearing = Hearing([tool["function"]["name"] for tool in tools])
        finish, tokens = "stop", 0
        for chunk in self._chunks(asked, tools):
            choice = chunk["choices"][0]
            finish = choice["finish_reason"] or finish
            tokens += "content" in choice["delta"]
            said = hearing.take(choice["delta"].get("content") or "")
            if said:
                yield _event(asked, {"content": said})
        said, calls = hearing.end()
        if said:
            yield _event(asked, {"content": said})
        if calls:
            yield _event(asked, {"tool_calls": [call.spelled(index) for index, call in enumerate(calls)]})
        yield _event(asked, {}, "tool_calls" if calls and finish == "stop" else finish)
        asked_tokens = max(0, self._llama.n_tokens - tokens)
        usage = {"prompt_tokens": asked_tokens, "completion_tokens": tokens, "total_tokens": asked_tokens + tokens}
        yield {**_event(asked, {}), "choices": [], "usage": usage}

    def _chunks(self, asked: Asked, tools: list[Any]) -> Iterator[Any]:
        messages: Any = for_template(asked["messages"], tools, self._template)
        found: Any = self._llama.create_chat_completion(
            messages=messages,
            tools=tools if "tools" in self._template else None,
            max_tokens=asked.get("max_completion_tokens") or asked.get("max_tokens"),
            temperature=asked.get("temperature", TEMPERATURE),
            stream=True,
        )
        return iter(found)


def _event(asked: Asked, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
    whole = {"id": "local", "object": "chat.completion.chunk", "created": 0, "model": asked["model"]}
    return {**whole, "choices": [choice]}


def main(file: str, context_tokens: str, socket: str) -> None:
    try:
        model = LocalModel(Path(file), int(context_tokens))
    except ValueError as problem:
        sys.exit(str(problem))
    app = Starlette(routes=[Route("/v1/chat/completions", model.complete, methods=["POST"])])
    uvicorn.run(app, uds=socket, log_level="warning", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
