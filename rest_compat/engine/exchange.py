"""One request and the answer to it."""

import os
import random
from functools import cached_property

from starlette.types import Message, Scope, Send

from rest_compat.engine.answers import JSON, Headers, dumped, etag_of, matches, send_bytes, text_headers
from rest_compat.engine.errors import Refusal
from rest_compat.engine.system import Meta, System

KEEPING = (b"cache-control", b"private, no-cache")  # of what may be kept to ask again with its tag
CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})


_numbers = random.Random(os.urandom(32))  # they tell requests apart, and open nothing


def request_id() -> str:
    """An id for a request, like no other."""
    return f"req_{_numbers.getrandbits(96):024x}"


class Exchange:
    """What has been said so far. `headers` belong to any answer there will be."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.meta = Meta(request_id())
        self.headers: Headers = [
            (b"x-request-id", self.meta.request_id.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        self.kept = True  # whether the caller may keep the answer to ask again with its tag
        self.started = False
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        self.started = True
        await self._send(message)

    async def send_tagged(self, message: Message) -> None:
        """Send a part of an answer that was made elsewhere, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *self.headers]}
        await self.send(message)

    def keep_nothing(self) -> None:
        """What an answer to a browser that was sent here carries is nobody else's: tokens, a code in the address."""
        self.kept = False
        self.headers += [(b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer")]

    @property
    def method(self) -> str:
        """Of the request."""
        return str(self.scope["method"])

    @property
    def head(self) -> bool:
        """Whether only the headers are asked for."""
        return self.method == "HEAD"

    @property
    def reads(self) -> bool:
        """Whether the request changes nothing."""
        return self.method in ("GET", "HEAD")

    @property
    def client_ip(self) -> str | None:
        """The address the request came from."""
        client = self.scope.get("client")
        return client[0] if client else None

    @cached_property
    def request_headers(self) -> dict[str, str]:
        """The request's headers; those of one name as one list, as HTTP has it."""
        found: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    @property
    def plain_headers(self) -> dict[str, str]:
        """The request's headers but those that say who asks."""
        return {name: value for name, value in self.request_headers.items() if name not in CREDENTIALS}

    async def reply(self, status: int, body: bytes, headers: Headers) -> None:
        """An answer at once. What is read gets an entity tag, and what the caller has already is not sent again."""
        if status == 200 and self.reads and self.kept:
            named = dict(headers)
            tag = named.get(b"etag") or etag_of(body).encode()
            headers = [*headers, *((name, value) for name, value in ((b"etag", tag), KEEPING) if name not in named)]
            if matches(tag.decode(), self.request_headers.get("if-none-match")):
                await send_bytes(self.send, 304, b"", headers)
                return
        await send_bytes(self.send, status, body, headers, head=self.head)

    async def refuse(self, system: System, refusal: Refusal) -> None:
        """The refusal in the dialect of the system."""
        status = system.status_of(refusal)
        more = dict(refusal.headers)
        if refusal.retry_after_s is not None:
            more["retry-after"] = str(max(1, round(refusal.retry_after_s)))
        if status == 401:
            more["www-authenticate"] = "Bearer"
        body = dumped(system.error(refusal, self.meta))
        headers = [*self.headers, *text_headers({"content-type": JSON, **more})]
        await send_bytes(self.send, status, body, headers, head=self.head)
