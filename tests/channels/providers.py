"""Telegram's Bot API, Slack's Web API and a mail server in the test process, and messages as they send them."""

import base64
import hashlib
import hmac
import itertools
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

BOT_TOKEN = "123456:telegram-bot-token"
SLACK_TOKEN = "xoxb-slack-bot-token"
SIGNING_SECRET = "0123456789abcdef0123456789abcdef"
_numbers = itertools.count(1000)


@dataclass
class Api:
    """Both APIs. `answers` are given instead of what would be said, by method, one after the other."""

    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)

    def said(self, method: str = "sendMessage") -> list[str]:
        """The texts that were to be sent."""
        return [payload["text"] for name, payload in self.calls if name == method]

    def called(self, method: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.calls if name == method]

    def answer(self, path: str, payload: dict[str, Any], authorization: str) -> tuple[int, dict[str, Any]]:
        method = path.rpartition("/")[2]
        self.calls.append((method, payload))
        if self.answers.get(method):
            return self.answers[method].pop(0)
        if path.startswith("/bot"):
            if path != f"/bot{BOT_TOKEN}/{method}":
                return 401, {"ok": False, "error_code": 401, "description": "Unauthorized"}
            return 200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "stoa_bot"}}
        if authorization != f"Bearer {SLACK_TOKEN}":
            return 200, {"ok": False, "error": "invalid_auth"}
        return 200, {"ok": True, "team": "Atelier", "team_id": "T1", "user_id": "U0", "ts": "1.1"}


@contextmanager
def serving() -> Iterator[Api]:
    """The APIs, until the end of the block."""
    api = Api()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
            status, told = api.answer(urlsplit(self.path).path, payload, self.headers.get("authorization", ""))
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            if status == 429:
                self.send_header("retry-after", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


# Messages, as the providers send them.


def update(text: str, chat: int = 7, sender: int = 42, id: int | None = None, **more: Any) -> dict[str, Any]:
    """An update of Telegram's."""
    message = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": "private"},
               "from": {"id": sender, "is_bot": False, "first_name": "Ada"}, "text": text, **more}  # fmt: skip
    return {"update_id": next(_numbers) if id is None else id, "message": message}


def event(text: str, user: str = "U7", channel: str = "D1", id: str | None = None, **more: Any) -> dict[str, Any]:
    """An event of Slack's: something said to the bot alone, unless `more` says otherwise."""
    said = {"type": "message", "channel_type": "im", "channel": channel, "user": user, "text": text,
            "ts": f"1700.{next(_numbers)}", **more}  # fmt: skip
    return {"type": "event_callback", "team_id": "T1", "event_id": id or f"Ev{next(_numbers)}", "event": said}


def signed_by_slack(body: bytes, at: float | None = None, secret: str = SIGNING_SECRET) -> dict[str, str]:
    """The headers that Slack sends."""
    timestamp = str(int(time.time() if at is None else at))
    made = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": timestamp, "x-slack-signature": f"v0={made}"}


def signed_by_gateway(body: bytes, secret: str, at: float | None = None, id: str | None = None) -> dict[str, str]:
    """The headers of Standard Webhooks."""
    timestamp, id = str(int(time.time() if at is None else at)), id or f"msg_{next(_numbers)}"
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = base64.b64encode(hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": f"v1,{made}"}


class Hook:
    """The webhook of one channel, as its provider calls it."""

    def __init__(self, client: httpx.Client, provider: str, id: str, secret: str) -> None:
        self.client = client
        self.provider = provider
        self.id = id
        self.secret = secret
        self.path = f"/api/v1/channels/{provider}/{id}/webhook"

    def send(self, message: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
        """Send a message, well signed unless told otherwise."""
        body = json.dumps(message).encode()
        if headers is None:
            match self.provider:
                case "telegram":
                    headers = {"x-telegram-bot-api-secret-token": self.secret}
                case "slack":
                    headers = signed_by_slack(body)
                case _:
                    headers = signed_by_gateway(body, self.secret)
        return self.client.post(self.path, content=body, headers={"content-type": "application/json", **headers})


# Mail.


@dataclass
class Mailbox:
    """A mail server, and what it took."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)  # replies to the next messages, instead of taking them
    signed_in: list[str] = field(default_factory=list)


@contextmanager
def mail_server(user: str = "stoa", password: str = "mail-secret") -> Iterator[Mailbox]:
    """A mail server that wants a password, until the end of the block."""
    mailbox = Mailbox()

    class Handler:
        async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
            if mailbox.refusals:
                return mailbox.refusals.pop(0)
            read: Any = message_from_bytes(bytes(envelope.content or b""), policy=default)
            mailbox.letters.append(read)
            return "250 OK"

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        mailbox.signed_in.append(data.login.decode())
        return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()), handled=False)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        controller = Controller(
            Handler(), "127.0.0.1", free_port(), authenticator=authenticate, auth_required=True, auth_require_tls=False
        )
        controller.start()
        mailbox.port = controller.port
        try:
            yield mailbox
        finally:
            controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
