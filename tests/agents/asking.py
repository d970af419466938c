"""Agents in tests: deploying them, asking them over REST, and reading what they say."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests import build
from tests.harness import Person, Stoa
from tests.workers.hosting import deploy

Event = tuple[str, dict[str, Any]]

PARCELS = build.entity("parcels", build.field("code"), build.field("weight", "number"))


def agent_json(**parts: Any) -> str:
    return json.dumps({"name": "Dispatcher", **parts})


def agent(
    person: Person, app_id: str, *tools: str, code: str | None = None, file: str = "index.js", **parts: Any
) -> "Agent":
    """An app with parcels and an agent, which may use these tools."""
    build.app(person, PARCELS, app_id=app_id)
    files = {"agent.json": agent_json(**parts)} | ({file: code} if code is not None else {})
    answer = deploy(person, app_id, files)
    assert answer.status_code == 200, answer.text
    made = Agent(person, app_id)
    if tools:
        made.allow(*(f"tool:{tool}" for tool in tools))
    return made


@dataclass
class Run:
    """What was streamed of a run."""

    events: list[Event]

    @property
    def last(self) -> Event:
        return self.events[-1]

    @property
    def text(self) -> str:
        return "".join(data["delta"] for kind, data in self.events if kind == "chunk")

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of the events of this kind."""
        return [data for name, data in self.events if name == kind]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events in order, chunks that follow each other as one."""
        kinds = [kind for kind, _ in self.events]
        return [kind for index, kind in enumerate(kinds) if kind != "chunk" or index == 0 or kinds[index - 1] != kind]


class Agent:
    """The agent of an app, as one person asks it."""

    def __init__(self, person: Person, app_id: str) -> None:
        self.person = person
        self.app_id = app_id
        self.path = f"/api/v1/apps/{app_id}/agent"

    def as_(self, person: Person) -> "Agent":
        return Agent(person, self.app_id)

    @property
    def user_id(self) -> str:
        listed = self.person.client.get("/api/v1/agents").json()
        return next(row["user_id"] for row in listed if row["app_id"] == self.app_id)

    def allow(self, *keys: str) -> None:
        """Give the agent's account these keys, by a role of their own."""
        name = f"{self.app_id}-{'-'.join(key.replace(':', '.') for key in keys)}"[:120]
        made = self.person.client.post("/api/v1/roles", json={"name": name, "permissions": list(keys)})
        assert made.status_code == 200, made.text
        given = self.person.client.post("/api/v1/roles/assign", json={"userId": self.user_id, "role": name})
        assert given.status_code == 200, given.text

    def ask(self, message: str = "hi", **more: Any) -> Run:
        """What a run says, to its end."""
        with self.asking(message, **more) as events:
            return Run(list(events))

    @contextmanager
    def asking(self, message: str = "hi", **more: Any) -> Iterator[Iterator[Event]]:
        """The events of a run as they come."""
        url = f"{self.person.client.base_url}{self.path}/invoke".replace("//api", "/api")
        headers = {"authorization": f"Bearer {self.person.token}", "accept": "text/event-stream"}
        with (
            httpx.Client(timeout=30) as client,
            client.stream("POST", url, json={"message": message, **more}, headers=headers) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            yield frames(answer.iter_lines())

    def approvals(self) -> list[dict[str, Any]]:
        listed = self.person.client.get(f"{self.path}/approvals")
        assert listed.status_code == 200, listed.text
        found: list[dict[str, Any]] = listed.json()
        return found

    def decide(self, id: str, action: str, **more: Any) -> httpx.Response:
        return self.person.client.post(f"{self.path}/approvals/{id}", json={"action": action, **more})


def frames(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream of server-sent ones, as (name, data)."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
            name = ""


@dataclass
class Background:
    """A run that is asked in a thread."""

    agent: Agent
    message: str
    more: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        with suppress(httpx.HTTPError), self.agent.asking(self.message, **self.more) as events:
            for event in events:
                with self._came:
                    self.events.append(event)
                    self._came.notify_all()

    def wait_for(self, kind: str, within_s: float = 20) -> dict[str, Any]:
        """The data of the first event of this kind."""
        with self._came:
            found = self._came.wait_for(lambda: [data for name, data in self.events if name == kind], within_s)
            assert found, f"no {kind} came, only {self.events}"
            first: dict[str, Any] = found[0]
            return first

    def ended(self, within_s: float = 20) -> Run:
        """The whole run."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), self.events
        return Run(self.events)


def watching(stoa: Stoa, person: Person, path: str) -> Iterator[Event]:
    """A stream, as far as somebody reads it."""
    with (
        httpx.Client(base_url=stoa.base_url, timeout=30) as client,
        client.stream("GET", path, headers={"authorization": f"Bearer {person.token}"}) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        yield from frames(answer.iter_lines())
