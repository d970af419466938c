"""Runs a deployed app written in Python, and gives it `serve`, `log`, `emit` and the context its handlers get.

    prelude.py ENTRY_POINT

The app imports them from the module `stoa`:

    from stoa import serve

    async def greet(params, caller, ctx):
        return {"hello": params["name"], "notes": await ctx.collection("notes").find({})}

    serve(rpc={"greet": greet})

Handlers are coroutines or plain functions; plain ones run in threads. One JSON object a line goes each way, as for
apps in JavaScript. What the app prints becomes lines of its log. An app that never calls `serve` reads standard input
itself. Standard library only: this file runs inside of the sandbox.
"""

import asyncio
import contextvars
import inspect
import io
import json
import os
import runpy
import sys
import threading
import types
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

LINE_BYTES_MAX = 2**20
ERROR_CHARS_MAX = 8192
THREADS = 8
MISTAKES = (Exception, asyncio.CancelledError)  # of one handler: what it awaits may have been cancelled, it was not

_request = contextvars.ContextVar("request", default=None)
_speaking = threading.Lock()
_waiting = {}
_runs = {}
_about = {"app_id": os.environ.get("ROOTCX_APP_ID"), "runtime_url": os.environ.get("ROOTCX_RUNTIME_URL")}
_handlers = None
_loop = None
_threads = ThreadPoolExecutor(THREADS)


def _say(message):
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    line = text.encode(errors="replace") + b"\n"
    if len(line) > LINE_BYTES_MAX:
        raise ValueError(f"a message of more than {LINE_BYTES_MAX} bytes")
    line = b"\n" + line  # the app may have written a part of a line itself; empty ones are ignored
    with _speaking:
        while line:
            line = line[os.write(1, line) :]


class _Log:
    def __getattr__(self, level):
        if level not in ("info", "warn", "error", "debug"):
            raise AttributeError(level)
        return lambda *parts: _say({"type": "log", "level": level, "message": " ".join(map(str, parts))[:8192]})


log = _Log()


def emit(name, data=None):
    """Put an event into the app's log."""
    _say({"type": "event", "name": name, "data": data})


def _spoken(line):
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line).get("type"), str)
    except ValueError:
        return False


class _Printed(io.TextIOBase):
    """What is printed is logged, a line at a time."""

    def __init__(self):
        self._rest = ""

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if _handlers is None and _spoken(line):
                os.write(1, line.encode() + b"\n")  # it speaks the protocol itself
            else:
                log.info(line)
        return len(text)

    def writable(self):
        return True


async def _ask(type, **message):
    id = f"w{uuid.uuid4().hex}"
    _waiting[id] = answer = _loop.create_future()
    try:
        _say({"type": type, "id": id, "request_id": _request.get(), **message})
        answered = await answer
    finally:
        del _waiting[id]
    if isinstance(answered.get("error"), str):
        raise RuntimeError(answered["error"])
    return answered


class Collection:
    """One entity's records, with the rights of whoever is being served."""

    def __init__(self, entity):
        self._entity = entity

    async def _op(self, op, data):
        answer = await _ask(type="collection_op", op=op, entity=self._entity, data=data)
        return answer.get("result")

    async def insert(self, data):
        return await self._op("insert", data)

    async def update(self, id, data):
        return await self._op("update", {**data, "id": id})

    async def find(self, where=None):
        return await self._op("find", where or {})

    async def find_one(self, where=None):
        return await self._op("findOne", where or {})


class Context:
    """What a handler may ask of the platform."""

    def __init__(self):
        self.app_id = _about["app_id"]
        self.runtime_url = _about["runtime_url"]
        self.credentials = dict(_about.get("credentials") or {})
        self.agent_config = _about.get("agent_config")
        self.log = log
        self.emit = emit

    def collection(self, entity):
        return Collection(entity)

    async def sql(self, text, params=()):
        answer = await _ask(type="sql_query", sql=text, params=list(params))
        return {"columns": answer["columns"], "rows": answer["rows"], "row_count": answer["row_count"]}

    async def self_action(self, action, params):
        return (await _ask(type="self_action", action=action, params=params)).get("result")

    async def action(self, name, input=None):
        return await self.self_action("triggerAction", {"actionName": name, "input": input})

    async def call_integration(self, id, action, input=None, as_user=None):
        return await self.self_action(
            "call_integration", {"integrationId": id, "action": action, "input": input, "asUser": as_user}
        )

    def run(self, coroutine):
        """The outcome of a coroutine, for handlers that are plain functions."""
        return asyncio.run_coroutine_threadsafe(_within(_request.get(), coroutine), _loop).result()


async def _within(request, coroutine):
    _request.set(request)
    return await coroutine


def _outcome(handler, arguments):
    try:
        return handler(*arguments)
    except StopIteration as problem:  # no future takes it: whoever waits would wait for ever
        raise RuntimeError("the handler raised StopIteration") from problem


async def _call(handler, *arguments):
    if inspect.iscoroutinefunction(handler):
        return await handler(*arguments)
    outcome = await _loop.run_in_executor(_threads, contextvars.copy_context().run, _outcome, handler, arguments)
    return await outcome if inspect.isawaitable(outcome) else outcome


async def _serve_rpc(message):
    try:
        handler = (_handlers.get("rpc") or {}).get(message["method"])
        if handler is None:
            raise LookupError(f"unknown method: {message['method']}")
        result = await _call(handler, message["params"], message["caller"], Context())
        _say({"type": "rpc_response", "id": message["id"], "result": result})
    except MISTAKES as problem:
        _say({"type": "rpc_response", "id": message["id"], "error": _text(problem)})


async def _serve_job(message):
    try:
        handler = _handlers.get("on_job")
        result = await _call(handler, message["payload"], message.get("caller"), Context()) if handler else {"ok": True}
        _say({"type": "job_result", "id": message["id"], "result": result})
    except MISTAKES as problem:
        _say({"type": "job_result", "id": message["id"], "error": _text(problem)})


class Agent:
    """One run of the app's agent: what it says while it works, and the tools it calls."""

    def __init__(self, invoke_id):
        self._invoke_id = invoke_id

    def chunk(self, delta):
        _say({"type": "agent_chunk", "invoke_id": self._invoke_id, "delta": delta})

    def compacted(self, summary):
        _say({"type": "agent_session_compacted", "invoke_id": self._invoke_id, "summary": summary})

    async def tool(self, name, args=None):
        call_id = uuid.uuid4().hex
        answer = _runs[self._invoke_id][call_id] = _loop.create_future()
        names = {"invoke_id": self._invoke_id, "call_id": call_id, "tool_name": name}
        _say({"type": "agent_tool_call", **names, "args": args or {}})
        answered = await answer
        if isinstance(answered.get("error"), str):
            raise RuntimeError(answered["error"])
        return answered.get("result")


async def _serve_agent(message):
    invoke_id = message["invoke_id"]
    _runs[invoke_id] = {}
    try:
        handler = _handlers.get("on_agent")
        if handler is None:
            none = {"error": "this app runs no agent", "unsupported": True}
            _say({"type": "agent_error", "invoke_id": invoke_id, **none})
            return
        context = Context()
        context.agent = Agent(invoke_id)
        done = await _call(handler, message, message.get("caller"), context)
        done = {"response": done} if isinstance(done, str) else done or {}
        told = {"response": done.get("response", ""), "tokens": done.get("tokens")}
        _say({"type": "agent_done", "invoke_id": invoke_id, **told})
    except MISTAKES as problem:
        _say({"type": "agent_error", "invoke_id": invoke_id, "error": _text(problem)})
    finally:
        del _runs[invoke_id]


def _text(problem):
    return str(problem)[:ERROR_CHARS_MAX] or type(problem).__name__


async def _discovered(message):
    _about.update({key: message.get(key) for key in ("app_id", "runtime_url", "credentials", "agent_config")})
    _say({"type": "discover", "protocol": 2, "methods": list(_handlers.get("rpc") or {})})
    try:
        if message.get("run_onstart") and _handlers.get("on_start"):
            await _call(_handlers["on_start"], Context())
    except Exception as problem:
        log.error(f"on_start failed: {_text(problem)}")
    _say({"type": "ready"})


async def _leave():
    try:
        if _handlers.get("on_shutdown"):
            await _call(_handlers["on_shutdown"])
    finally:
        os._exit(0)


_SERVED = {
    "discover": (_discovered, lambda message: "start"),
    "rpc": (_serve_rpc, lambda message: message["id"]),
    "job": (_serve_job, lambda message: message["id"]),
    "agent_invoke": (_serve_agent, lambda message: message["invoke_id"]),
    "shutdown": (lambda message: _leave(), lambda message: None),
}


def _heard(message, tasks):
    kind = message.get("type")
    if kind in _SERVED:
        work, request = _SERVED[kind]
        task = _loop.create_task(_within(request(message), work(message)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    elif kind == "agent_tool_result":
        answer = _runs.get(message["invoke_id"], {}).pop(message["call_id"], None)
        if answer is not None:
            answer.set_result(message)
    elif (answer := _waiting.get(message.get("id"))) is not None and not answer.done():
        answer.set_result(message)


async def _listen():
    global _loop
    _loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2 * LINE_BYTES_MAX)
    await _loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0))
    tasks = set()
    while line := await reader.readline():
        if line.strip():
            _heard(json.loads(line), tasks)
    await _leave()  # the host is gone


def serve(rpc=None, *, on_start=None, on_job=None, on_shutdown=None, on_agent=None):
    """Serve these methods until the platform says to stop. Does not return."""
    global _handlers
    if _handlers is not None:
        raise RuntimeError("serve may be called once")
    _handlers = {"rpc": rpc, "on_start": on_start, "on_job": on_job, "on_shutdown": on_shutdown, "on_agent": on_agent}
    asyncio.run(_listen())


def _main(entry_point):
    module = types.ModuleType("stoa")
    module.serve, module.log, module.emit, module.Context = serve, log, emit, Context
    sys.modules["stoa"] = module
    sys.path.insert(0, os.path.dirname(entry_point))
    sys.argv = [entry_point]
    sys.stdout = _Printed()
    with suppress(KeyboardInterrupt):
        runpy.run_path(entry_point, run_name="__main__")


if __name__ == "__main__":
    _main(sys.argv[1])
