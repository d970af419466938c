"""Subscribing as clients do: server-sent events, and sockets that speak graphql-transport-ws."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.harness import Person, Stoa

CHANGED = """
subscription changed($app: ID!, $entity: String!, $where: JSONObject, $after: String) {
  recordChanged(app: $app, entity: $entity, where: $where, after: $after) {
    cursor operation id record previous changedAt actorId
  }
}
"""
PROTOCOL = "graphql-transport-ws"
SOON_S = 10


def eventually(so: Callable[[], bool]) -> None:
    """Wait until it is so. Fails when it takes too long."""
    ends = time.monotonic() + SOON_S
    while not so():
        assert time.monotonic() < ends, "it never came to be"
        time.sleep(0.01)


class Events:
    """An event stream that is being read. `next` waits for the next payload; None is the end."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()
        if response.headers["content-type"].startswith("text/event-stream"):
            assert next(self._lines) == ":"  # the server listens from here on

    def next(self) -> dict[str, Any] | None:
        event = None
        for line in self._lines:
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event == "next":
                payload: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
                return payload
            elif line.startswith("data:") and event == "complete":
                return None
        return None

    def change(self) -> dict[str, Any]:
        """The next change. Fails for anything else."""
        payload = self.next()
        assert payload is not None, "the stream has ended"
        assert "errors" not in payload, payload
        change: dict[str, Any] = payload["data"]["recordChanged"]
        return change

    def refusal(self) -> str:
        """The code that the stream ends with. Fails for anything else."""
        payload = self.next()
        assert payload is not None, "the stream has ended"
        assert self.next() is None
        return code(payload["errors"])


def code(errors: list[dict[str, Any]]) -> str:
    told: str = errors[0]["extensions"]["code"]
    return told


@contextmanager
def listening(
    stoa: Stoa, person: Person, query: str = CHANGED, path: str = "/graphql", **variables: Any
) -> Iterator[Events]:
    """A subscription over server-sent events."""
    headers = {"authorization": f"Bearer {person.token}", "accept": "text/event-stream"}
    body = {"query": query, "variables": variables}
    with (
        httpx.Client(base_url=stoa.base_url, timeout=SOON_S) as client,
        client.stream("POST", path, json=body, headers=headers) as response,
    ):
        yield Events(response)


class Socket:
    """The client's end of a socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, **message: Any) -> None:
        self.connection.send(orjson.dumps(message).decode())

    def receive(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(self.connection.recv(SOON_S))
        return message

    def open(self, token: str | None = None) -> None:
        """Introduce ourselves, and wait to be let in."""
        payload = {} if token is None else {"payload": {"Authorization": f"Bearer {token}"}}
        self.send(type="connection_init", **payload)
        assert self.receive() == {"type": "connection_ack"}

    def subscribe(self, id: str, query: str, **variables: Any) -> None:
        self.send(type="subscribe", id=id, payload={"query": query, "variables": variables})

    def closed(self) -> int:
        """The code that the server closes with. Fails when it says something else first."""
        with pytest.raises(ConnectionClosed) as closed:
            self.connection.recv(SOON_S)
        assert closed.value.rcvd is not None, closed.value
        return closed.value.rcvd.code


@contextmanager
def socket(
    stoa: Stoa, subprotocols: tuple[str, ...] = (PROTOCOL,), path: str = "/graphql", **more: Any
) -> Iterator[Socket]:
    """A socket to the server."""
    url = stoa.base_url.replace("http://", "ws://") + path
    with connect(url, subprotocols=list(subprotocols) or None, **more) as connection:
        yield Socket(connection)
