"""One running process of a deployed app, and the line protocol with it (RootCX worker protocol, version 1 and 2).

Nothing it does may hurt us: what it writes is read no faster than it may say it, a line has a longest length, a pipe
it doesn't read is not waited for, and what it asks for is bounded in number.
"""

import asyncio
import itertools
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import orjson

from domain.kernel.errors import Failed, Unavailable
from domain.kernel.reading import JSON_DEPTH_MAX, is_too_deep
from domain.workers.ports import LOG_CHARS_MAX, AgentEvent, WorkerCaller
from infra.workers.lines import line_of
from infra.workers.sandbox import Jailed

LINE_BYTES_MAX = 2**20
CHUNK_BYTES = 2**16
UNREAD_BYTES_MAX = 2**20  # of its standard input, before a call waits for it to read
READ_S_MAX = 5.0
START_S_MAX = 30.0  # how long the code of `onStart` may act for the app itself
IN_FLIGHT_MAX = 1_000
DONE_AT_ONCE = 32  # of what it asks us to do
ASKED_MAX, ASKED_BYTES_MAX = 1_000, 16 * 2**20  # of what it asks us to do, done or waiting
RUN_EVENTS_MAX = 4_096
SHUTDOWN_S = 1.0

# What it says unasked, for ever and at the beginning.
LINES_PER_S, LINES_AT_ONCE = 1_000, 5_000
BYTES_PER_S, BYTES_AT_ONCE = 8 * 2**20, 32 * 2**20

# A call that waits for its answer, while the processor is busy and nothing is said: the loop is stuck.
STUCK_SHARE, STUCK_S_MIN = 0.7, 1.0
LOOK_S = 0.2  # how old it may be what is known of that

LEVELS = frozenset({"info", "warn", "error", "debug"})
RUN_EVENTS = frozenset({"agent_chunk", "agent_tool_call", "agent_session_compacted", "agent_done", "agent_error"})
RUN_ENDS = frozenset({"agent_done", "agent_error"})
ANSWERS = {
    "collection_op": "collection_op_result",
    "sql_query": "sql_query_result",
    "sql_exec": "sql_exec_result",
    "sql_begin": "sql_begin_result",
    "sql_commit": "sql_end_result",
    "sql_rollback": "sql_end_result",
    "self_action": "self_action_result",
    "storage_upload": "storage_upload_url",
}
# How a message begins that somebody waits for, as far as it takes to tell them that the rest cannot be read.
BEGINNING = re.compile(
    rb'\s*\{"type":\s*"(rpc_response|job_result|%s)",\s*"id":\s*"([\w-]{1,200})"' % "|".join(ANSWERS).encode()
)

STOPPED = "stopped"  # why it ended, where that was asked for
START = "start"  # the request id of what `onStart` asks for
Message = dict[str, Any]


class Surroundings(Protocol):
    """What a process is part of."""

    own: WorkerCaller  # the app itself, as it acts in `onStart`

    def said(self, level: str, message: str) -> None:
        """It said something for its log."""
        ...

    async def done_for(self, caller: WorkerCaller, message: Message) -> Message:
        """What a request of the process comes to, with the rights of that caller. Raises Refused for one that isn't."""
        ...


class Refused(Exception):
    """What a process asked for is not done; the text is for its author."""


class Allowance:
    """How much may be said: so much a second, and so much at once when nothing was for a while."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s, self._most = per_s, at_once
        self._left, self._seen = at_once, monotonic()

    def wait_s(self, spent: float) -> float:
        """How long to keep from reading on after this much."""
        now = monotonic()
        self._left = min(self._most, self._left + (now - self._seen) * self._per_s) - spent
        self._seen = now
        return max(0.0, -self._left / self._per_s)


@dataclass(frozen=True, slots=True)
class _Used:
    """How many seconds of a processor had been used at a moment."""

    at: float
    processor_s: float


@dataclass(eq=False)
class Run:
    """One run of an agent in the process. See `domain.workers.ports.AgentRun`."""

    process: "WorkerProcess"
    id: str
    events: "asyncio.Queue[AgentEvent]"
    ended: bool = False

    def __aiter__(self) -> "Run":
        return self

    async def __anext__(self) -> AgentEvent:
        if self.ended and self.events.empty():
            raise StopAsyncIteration
        event = await self.events.get()
        self.ended = self.ended or event.type in RUN_ENDS
        return event

    async def tool_result(self, call_id: str, *, result: Any = None, error: str | None = None) -> None:
        outcome = {"result": result} if error is None else {"error": error}
        await self.process.tell({"type": "agent_tool_result", "invoke_id": self.id, "call_id": call_id, **outcome})

    async def aclose(self) -> None:
        self.process.forget_run(self.id)

    def tell(self, event: AgentEvent) -> None:
        """Pass an event on; a reader that leaves too many unread loses the run."""
        try:
            self.events.put_nowait(event)
        except asyncio.QueueFull:
            self.process.forget_run(self.id)
            self.events.get_nowait()
            self.events.put_nowait(AgentEvent("agent_error", {"error": "the run was read too slowly"}))


class WorkerProcess:
    """A process in the sandbox, from its first line to its end. `closing` holds what goes with it."""

    def __init__(self, jailed: Jailed, surroundings: Surroundings, closing: AsyncExitStack) -> None:
        self.jailed = jailed
        self._closing = closing
        self.why: str | None = None  # what we ended it for
        self.protocol = 1
        self._around = surroundings
        self._started = monotonic()
        self._last_heard = monotonic()
        self._used = _Used(0.0, 0.0)
        self._starting = True  # until its `onStart` is done, or has had its time
        self._untouched = True  # nothing has been asked of it yet
        self._ids = itertools.count(1)
        self._prefix = os.urandom(4).hex()
        self._answers: dict[tuple[str, str], asyncio.Future[Message]] = {}
        self._served: dict[str, WorkerCaller | None] = {}  # by request id
        self._runs: dict[str, Run] = {}
        self._writing = asyncio.Lock()
        self._doing = asyncio.Semaphore(DONE_AT_ONCE)
        self._asked: dict[asyncio.Task[None], int] = {}  # with the bytes of each
        self._lines = Allowance(LINES_PER_S, LINES_AT_ONCE)
        self._bytes = Allowance(BYTES_PER_S, BYTES_AT_ONCE)
        stdin = jailed.process.stdin
        assert stdin is not None
        stdin.transport.set_write_buffer_limits(high=UNREAD_BYTES_MAX)
        self._stdin = stdin

    @property
    def pid(self) -> int:
        """Of the app's first process, as it is called out here."""
        if self.jailed.first is not None:
            with suppress(OSError, AttributeError):
                told = re.search(r"^Pid:\t(\d+)", _read(f"/proc/self/fdinfo/{self.jailed.first}"), re.MULTILINE)
                if told is not None:
                    return int(told[1])
        return self.jailed.process.pid

    async def run(self, discover: Message) -> int:
        """Say what it is part of, and listen until it ends. The exit code. Everything that waits for it is refused."""
        process = self.jailed.process
        assert process.stdout is not None
        assert process.stderr is not None
        listening = [
            asyncio.create_task(self._listen(process.stdout)),
            asyncio.create_task(self._listen_to_errors(process.stderr)),
        ]
        try:
            with suppress(Failed):
                await self.tell(discover)
            code = await process.wait()
            await asyncio.wait(listening, timeout=1)  # its last words are on their way
            return code
        finally:
            self.jailed.kill()
            for task in (*listening, *self._asked):
                task.cancel()
            await asyncio.gather(*listening, *self._asked, return_exceptions=True)
            self._refuse_all()

    def end(self, why: str) -> None:
        """End it at once, because of this."""
        if self.why is None:
            self.why = why
        self.jailed.kill()

    async def close(self) -> None:
        """Let go of everything that was its own."""
        self.jailed.kill()
        await self._closing.aclose()

    async def stop(self) -> None:
        """Ask it to end, and end it."""
        self.why = self.why or STOPPED
        with suppress(Failed, TimeoutError):
            async with asyncio.timeout(SHUTDOWN_S):
                await self.tell({"type": "shutdown"})
                await self.jailed.process.wait()
        self.end(STOPPED)

    def _refuse_all(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Failed(f"the worker has ended: {self.why or 'it crashed'}"))
        for run in list(self._runs.values()):
            run.tell(AgentEvent("agent_error", {"error": f"worker {STOPPED if self.why == STOPPED else 'crashed'}"}))
        self._runs.clear()

    # Telling and asking it.

    async def tell(self, message: Message) -> None:
        """Write one message. Raises Failed when it doesn't read, or can't any more."""
        line = line_of(message)
        if len(line) > LINE_BYTES_MAX:
            raise Failed(f"the message to the worker is larger than {LINE_BYTES_MAX} bytes")
        try:
            async with asyncio.timeout(READ_S_MAX), self._writing:
                await self._stdin.drain()
                self._stdin.write(line)
        except TimeoutError:
            raise Failed(f"the worker did not read its input for {READ_S_MAX:g} s") from None
        except (OSError, RuntimeError):  # RuntimeError: the transport is closed already
            self.end("it closed its standard input")
            raise Failed("the worker has closed its standard input") from None

    async def rpc(self, method: str, params: Any, caller: WorkerCaller | None, timeout_s: float) -> Any:
        """What the method returns. Raises Failed, Unavailable."""
        id = f"{self._prefix}-{next(self._ids)}"
        fields = {"id": id, "method": method, "params": params, "caller": told_of(caller)}
        return await self._ask("rpc", id, fields, "rpc_response", caller, timeout_s)

    async def job(self, id: str, payload: Any, caller: WorkerCaller | None, timeout_s: float) -> Any:
        """What the job handler returns. Raises Failed; Unavailable too for one that ended because we stopped it."""
        fields = {"id": id, "payload": payload, "caller": told_of(caller)}
        try:
            return await self._ask("job", id, fields, "job_result", caller, timeout_s)
        except Failed as failed:
            if self.why == STOPPED:
                raise Unavailable("the worker was stopped while it was at the job") from failed
            raise

    async def _ask(
        self, type: str, id: str, fields: Message, answer_type: str, caller: WorkerCaller | None, timeout_s: float
    ) -> Any:
        self._admit(id)
        answer = self._answers[answer_type, id] = asyncio.get_running_loop().create_future()
        self._served[id] = caller
        self._untouched = False
        began, used = monotonic(), self._lately()
        try:
            async with asyncio.timeout(timeout_s):
                await self.tell({"type": type, **fields})
                answered = await answer
        except TimeoutError:
            self._end_if_stuck(began, used)
            raise Failed(f"{type} timeout ({timeout_s:.3g}s)") from None
        finally:
            del self._answers[answer_type, id], self._served[id]
        error = answered.get("error")
        if error is not None:
            raise Failed(error if isinstance(error, str) else orjson.dumps(error).decode())
        result = answered.get("result")
        if is_too_deep(result):
            raise Failed(f"the result must not be nested deeper than {JSON_DEPTH_MAX} levels")
        return result

    def _admit(self, id: str) -> None:
        if id in self._served:
            raise Failed(f"the worker is at '{id}' already")
        if len(self._served) >= IN_FLIGHT_MAX:
            raise Unavailable("the worker has too much to do", retry_after_s=1)

    async def agent_run(self, invocation: Mapping[str, Any], caller: WorkerCaller | None) -> Run:
        """Begin a run. Raises Failed, Unavailable."""
        id = str(invocation["invoke_id"])
        self._admit(id)
        run = self._runs[id] = Run(self, id, asyncio.Queue(RUN_EVENTS_MAX))
        self._served[id] = caller
        self._untouched = False
        try:
            await self.tell({"type": "agent_invoke", **invocation, "caller": told_of(caller)})
        except BaseException:
            self.forget_run(id)
            raise
        return run

    def forget_run(self, id: str) -> None:
        """Hear no more of a run."""
        self._runs.pop(id, None)
        self._served.pop(id, None)

    def _lately(self) -> "_Used":
        """How much of a processor it had used a moment ago: to look takes longer than many a call."""
        if monotonic() - self._used.at > LOOK_S:
            self._used = _Used(monotonic(), self._processor_s())
        return self._used

    def _processor_s(self) -> float:
        """Seconds for which its first process has used a processor, or waited for one that others had."""
        with suppress(OSError, IndexError, ValueError):
            threads = (_read(f"{task.path}/schedstat").split() for task in os.scandir(f"/proc/{self.pid}/task"))
            return sum(int(ran) + int(waited) for ran, waited, _ in threads) / 1e9
        return 0.0

    def _end_if_stuck(self, began: float, before: "_Used") -> None:
        """A process that has long said nothing, and was busy meanwhile, will not come back by itself."""
        now = monotonic()
        waited_s = now - began
        long_s = max(STUCK_S_MIN, STUCK_SHARE * waited_s)  # what it said meanwhile may have been its very first words
        busy_s = self._processor_s() - before.processor_s - (began - before.at)
        if now - self._last_heard > long_s and busy_s > long_s:
            self.end(f"it was busy for {waited_s:.0f} s and answered nothing")

    # Hearing it.

    async def _listen(self, stdout: asyncio.StreamReader) -> None:
        try:
            async for line in _lines(stdout, self._bytes):
                await self._heard(line)
        except LineTooLong:
            self.end(f"it wrote a line of more than {LINE_BYTES_MAX} bytes")
            return
        try:
            await asyncio.wait_for(self.jailed.process.wait(), SHUTDOWN_S)
        except TimeoutError:
            self.end("it closed its standard output")

    async def _heard(self, line: bytes) -> None:
        message = _message(line)
        type = message["type"] if message is not None else None
        self._last_heard = monotonic()
        if message is None and (begun := BEGINNING.match(line)) is not None:
            await self._unreadable(begun[1].decode(), begun[2].decode())
        if message is None or not self._taken(type, message):
            message = message or {}
            if type in ANSWERS and isinstance(message.get("id"), str):
                await self._do(message, len(line))
            else:
                await self._note(type, message, line)

    async def _unreadable(self, type: str, id: str) -> None:
        """It said something that somebody waits for, and nobody can read it: it is too deep, or no JSON."""
        refusal = {"type": type, "id": id, "error": "this is no JSON that can be read, or is nested too deep"}
        if type in ANSWERS:
            await self._answer(refusal, {"error": refusal["error"]})
        else:
            self._taken(type, refusal)

    def _taken(self, type: Any, message: Message) -> bool:
        """Whether it was an answer, or news of a run."""
        if type in ("rpc_response", "job_result"):
            answer = self._answers.get((type, str(message.get("id"))))
            if answer is not None and not answer.done():
                answer.set_result(message)
                return True
        elif type in RUN_EVENTS:
            id = str(message.get("invoke_id"))
            run = self._runs.get(id)
            if run is not None:
                fields = {name: value for name, value in message.items() if name not in ("type", "invoke_id")}
                if type in RUN_ENDS:
                    self.forget_run(id)
                run.tell(AgentEvent(type, fields))
                return True
        return False

    async def _note(self, type: Any, message: Message, line: bytes) -> None:
        """What it says unasked."""
        match type:
            case "log" if isinstance(message.get("message"), str):
                level = message.get("level", "info")
                self._say(level if level in LEVELS else "info", message["message"])
            case "event":
                data = orjson.dumps(message.get("data")).decode()
                self._say("event", f"{message.get('name')}: {data}")
            case "discover":
                self.protocol = 2 if message.get("protocol") == 2 else 1
            case "ready":
                self._starting = False
            case "rpc_response" | "job_result" | "agent_chunk" | "agent_done" | "agent_error" | "agent_tool_call":
                pass  # the answer to a question that nobody asks any more
            case _:
                self._say("stdout", line.decode(errors="replace"))
        if wait_s := self._lines.wait_s(1):
            await asyncio.sleep(wait_s)

    async def _listen_to_errors(self, stderr: asyncio.StreamReader) -> None:
        async for line in _pieces(stderr, self._bytes):
            self._say("stderr", line.decode(errors="replace"))
            if wait_s := self._lines.wait_s(1):
                await asyncio.sleep(wait_s)

    def _say(self, level: str, message: str) -> None:
        self._around.said(level, message[:LOG_CHARS_MAX])

    # Doing what it asks.

    async def _do(self, message: Message, size_bytes: int) -> None:
        """Begin to do it; what waits must not keep us from hearing the answers that others wait for."""
        if len(self._asked) >= ASKED_MAX or sum(self._asked.values()) + size_bytes > ASKED_BYTES_MAX:
            await self._answer(message, {"error": "too much is asked for at once"})
            return
        task = asyncio.create_task(self._done(message))
        self._asked[task] = size_bytes
        task.add_done_callback(self._asked.pop)

    async def _done(self, message: Message) -> None:
        try:
            caller = self._caller_of(message)
            if message["type"] == "self_action":  # may be a call of this very process, which asks for more
                outcome = await self._around.done_for(caller, message)
            else:
                async with self._doing:
                    outcome = await self._around.done_for(caller, message)
        except Refused as refused:
            outcome = {"error": str(refused)}
        await self._answer(message, outcome)

    async def _answer(self, message: Message, outcome: Message) -> None:
        answer = {"type": ANSWERS[message["type"]], "id": message["id"]}
        try:
            await self.tell({**answer, **outcome})
        except Failed as failed:
            with suppress(Failed):
                await self.tell({**answer, "error": failed.message})

    def _caller_of(self, message: Message) -> WorkerCaller:
        """Whose rights it has for this. Raises Refused."""
        id = message.get("request_id")
        starting = self._starting and monotonic() - self._started < START_S_MAX
        if starting and (id == START or (id is None and self._untouched)):
            return self._around.own
        if id is not None and id not in self._served:
            raise Refused("permission denied: the request this belongs to has ended")
        served = [self._served[id]] if id is not None else list({*self._served.values()})
        if len(served) > 1:
            raise Refused("several callers are being served: tell which by request_id")
        if not served or served[0] is None or served[0].user_id is None:
            raise Refused("permission denied: there is no caller")
        return served[0]


def told_of(caller: WorkerCaller | None) -> Message | None:
    """What the app is told of whom it serves."""
    if caller is None:
        return None
    told: Message = {"userId": "" if caller.user_id is None else str(caller.user_id), "email": caller.email}
    if caller.permissions is not None:
        told["effectivePerms"] = list(caller.permissions)
    if caller.connection_id is not None:
        told["connectionId"] = caller.connection_id
    return told


class LineTooLong(Exception):
    """A line that never ends, or as good as never."""


async def _lines(stream: asyncio.StreamReader, allowance: Allowance) -> AsyncIterator[bytes]:
    """The lines of a stream, empty ones left out. Raises LineTooLong."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        if wait_s := allowance.wait_s(len(chunk)):
            await asyncio.sleep(wait_s)
        *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if len(rest) > LINE_BYTES_MAX or any(len(line) >= LINE_BYTES_MAX for line in lines):
            raise LineTooLong
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


async def _pieces(stream: asyncio.StreamReader, allowance: Allowance) -> AsyncIterator[bytes]:
    """The lines of a stream for people; of a long one its beginning."""
    rest, long = b"", False
    while chunk := await stream.read(CHUNK_BYTES):
        if wait_s := allowance.wait_s(len(chunk)):
            await asyncio.sleep(wait_s)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip() and not long:
                yield line
            long = False
        if len(rest) > LOG_CHARS_MAX:
            if not long:
                yield rest
            rest, long = b"", True
    if rest.strip() and not long:
        yield rest


def _message(line: bytes) -> Message | None:
    """The object that a line spells, if it has a type."""
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("type"), str) else None


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
