"""A provider of models that says what a test has written for it, in the streaming protocol of OpenAI's chat API."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Piece = dict[str, Any]


@dataclass
class Say:
    """A turn: a text, piece by piece, and calls of tools as (name, arguments)."""

    text: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    tokens: int = 10
    pause_s: float = 0.0  # before each piece
    breaks_off: bool = False  # the connection goes before the end
    stops: bool = False  # the stream ends well, without the model having come to an end
    gate: threading.Event | None = None  # what is waited for after the first piece


@dataclass
class Refuse:
    """An answer that is an error."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Raw:
    """Lines of a stream, whatever they are."""

    lines: list[str]


Turn = Say | Refuse | Raw | Callable[[dict[str, Any]], "Say | Refuse | Raw"]


class Provider:
    """The server. `asked` holds the bodies of the requests, `headers` their headers."""

    def __init__(self) -> None:
        self.turns: deque[Turn] = deque()
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def script(self, *turns: Turn) -> None:
        """What is said next, turn by turn; what was asked before is forgotten."""
        self.turns = deque(turns)
        self.asked.clear()
        self.headers.clear()

    def told(self, index: int = -1) -> list[tuple[str, str]]:
        """The messages of a request, as (role, content)."""
        return [(message["role"], message.get("content") or "") for message in self.asked[index]["messages"]]


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that listens until the end of the block."""
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(asked)
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            turn = state.turns.popleft() if state.turns else Refuse(500, {"error": {"message": "the script has ended"}})
            turn = turn(asked) if callable(turn) else turn
            if isinstance(turn, Refuse):
                self._whole(turn)
            else:
                self._stream(turn)

        def _whole(self, turn: Refuse) -> None:
            body = json.dumps(turn.body).encode()
            self.send_response(turn.status)
            for name, value in {"content-type": "application/json", **turn.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, turn: Say | Raw) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                lines = turn.lines if isinstance(turn, Raw) else _lines(turn)
                for line in lines:
                    self._part(line.encode())
                if isinstance(turn, Say) and turn.breaks_off:
                    self.close_connection = True
                    return
                self._part(b"")
            except OSError:
                self.close_connection = True

        def _part(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _lines(turn: Say) -> Iterator[str]:
    """The stream of a turn: a chunk for each word, one for each half of a call's arguments, the usage at the end."""
    for number, delta in enumerate(_deltas(turn)):
        time.sleep(turn.pause_s)
        if number == 2 and turn.gate is not None:
            turn.gate.wait(30)
        yield _line([{"index": 0, "delta": delta, "finish_reason": None}])
    if turn.breaks_off:
        return
    if not turn.stops:
        yield _line([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if turn.calls else "stop"}])
    half = turn.tokens // 2
    yield _line([], usage={"prompt_tokens": turn.tokens - half, "completion_tokens": half, "total_tokens": turn.tokens})
    yield "data: [DONE]\n\n"


def _deltas(turn: Say) -> Iterator[Piece]:
    yield {"role": "assistant", "content": ""}
    for word in turn.text.split(" "):
        yield {"content": f"{word} "} if word != turn.text.split(" ")[-1] else {"content": word}
    for index, (name, args) in enumerate(turn.calls):
        text = args if isinstance(args, str) else json.dumps(args)
        call = {"index": index, "id": f"call_{index}", "type": "function"}
        yield {"tool_calls": [{**call, "function": {"name": name, "arguments": text[: len(text) // 2]}}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": text[len(text) // 2 :]}}]}


def _line(choices: list[Piece], **more: Any) -> str:
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": choices}
    return f"data: {json.dumps({**chunk, **more})}\n\n"
