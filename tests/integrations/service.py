"""A service that integrations are with, in the test process: an authorization server, and an API."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import orjson

CLIENT_ID = "stoa-client"
SECRET = "s3cret: with/odd+characters"


@dataclass
class Request:
    """What somebody asked of the API."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class Service:
    """The knobs are for tests to turn."""

    url: str = ""
    lasts_s: int = 3600  # of an access token
    rotates: bool = True  # whether a refresh token is good once
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # by path, instead of what would be said
    pause_s: float = 0.0  # before a token is given
    asked: list[Request] = field(default_factory=list)  # of the API
    tokens: list[dict[str, str]] = field(default_factory=list)  # what the token endpoint was asked
    good: set[str] = field(default_factory=set)  # access tokens that are taken
    refreshable: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.codes: dict[str, dict[str, str]] = {}
        self.lock = threading.Lock()

    def agreed(self, location: str) -> dict[str, str]:
        """What the server sends back for whoever followed `location` and agreed."""
        assert location.startswith(f"{self.url}/authorize?"), location
        asked = dict(parse_qsl(urlsplit(location).query))
        code = token_urlsafe(16)
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def given(self, **more: Any) -> dict[str, Any]:
        """Tokens, as the server gives them."""
        access, refresh = token_urlsafe(12), token_urlsafe(12)
        with self.lock:
            self.good.add(access)
            self.refreshable.add(refresh)
        told = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": self.lasts_s}
        return {**told, **more}

    def answer(self, method: str, target: str, body: bytes, headers: Any) -> tuple[int, bytes]:
        parts = urlsplit(target)
        if parts.path == "/token":
            threading.Event().wait(self.pause_s)
            return self._token(body, headers)
        said = {name.lower(): value for name, value in headers.items()}
        kind = said.get("content-type", "")
        read = orjson.loads(body) if body and "json" in kind else body.decode() or None
        self.asked.append(Request(method, parts.path, parse_qs(parts.query), said, read))
        if parts.path in self.answers:
            return self.answers[parts.path]
        if parts.path.startswith("/api/") and said.get("authorization", "").removeprefix("Bearer ") not in self.good:
            return 401, b'{"error": "who are you"}'
        return 200, orjson.dumps({"path": parts.path, "method": method, "body": read})

    def _token(self, body: bytes, headers: Any) -> tuple[int, bytes]:
        form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        self.tokens.append({**form, "authorization": headers.get("authorization", "")})
        if "/token" in self.answers:
            return self.answers["/token"]
        if form.get("grant_type") == "refresh_token":
            with self.lock:
                if form["refresh_token"] not in self.refreshable:
                    return 400, b'{"error": "invalid_grant"}'
                if self.rotates:
                    self.refreshable.discard(form["refresh_token"])
            return 200, orjson.dumps(self.given())
        asked = self.codes.pop(form.get("code", ""), None)
        made = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != made.rstrip(b"=").decode()
        ):
            return 400, b'{"error": "invalid_grant"}'
        return 200, orjson.dumps(self.given(scope=asked.get("scope", "")))


@contextmanager
def serving() -> Iterator[Service]:
    """A service that answers, until the end of the block."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, told = service.answer(self.command, self.path, body, self.headers)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told)))
            self.send_header("connection", "close")
            if 300 <= status < 400:
                self.send_header("location", told.decode())
            self.end_headers()
            self.wfile.write(told)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
