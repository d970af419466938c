"""The sides of the records group: servers on the same records, each with its spelling of the same requests."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import crm
from bench.following import Followed
from bench.load import Request
from bench.serving import PASSWORD, ROOT, Server, resident_mib, serving

STOA, POSTGRAPHILE, POCKETBASE, LIMIT, HELLO = "Stoa", "PostGraphile", "PocketBase", "the limit", "hello world"

GET = "get by id"
LIST = "list 100 x 10 fields"
NESTED = "nested 20 x 10 x 3"
CREATE = "create"
REST_LIST = "REST list 20"
REST_CREATE = "REST create"
CROWD = "the same list for all"
WORKLOADS = (GET, LIST, NESTED, CREATE, REST_LIST, REST_CREATE, CROWD)


@dataclass(frozen=True)
class Side:
    """A server to measure: its process, and what it is asked in each workload it takes part in."""

    name: str
    address: str
    pid: int
    requests: Mapping[str, Sequence[Request]]
    followed: Callable[[int, int], Followed] | None = None  # by so many subscribers, who see so many changes

    @property
    def memory_mib(self) -> float:
        """Resident memory of the process."""
        return resident_mib(self.pid)


@dataclass(frozen=True)
class Ask:
    """A request of nobody's yet."""

    method: str
    path: str
    body: Any = None

    def of(self, token: str, accept: str = "*/*") -> Request:
        """As somebody's."""
        return Request.of(self.method, self.path, token, self.body, accept)


Asks = Mapping[str, Sequence[Ask]]


def requests_of(asks: Asks, token: str) -> dict[str, list[Request]]:
    """The requests as somebody's."""
    return {workload: [ask.of(token) for ask in asked] for workload, asked in asks.items()}


def by_number(kinds: Mapping[str, Callable[[int], Ask]], count: int) -> dict[str, list[Ask]]:
    """So many requests of each kind."""
    return {workload: [ask(n) for n in range(count)] for workload, ask in kinds.items()}


# Stoa.


def camel(name: str) -> str:
    """A field's name in GraphQL."""
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)


FIELDS = " ".join(camel(name) for name in crm.CONTACT)

_GET = f"query($id: ID!) {{ contact(id: $id) {{ {FIELDS} }} }}"
# What is asked at the same time differs, as it does between people: each list begins somewhere else. Requests that are
# the same in every word would be answered together, which is a workload of its own.
_LIST = f"""query($status: ContactStatus!, $offset: Int!) {{
  contacts(where: {{status: {{eq: $status}}}}, orderBy: {{lastName: ASC}}, first: 100, offset: $offset) {{
    nodes {{ {FIELDS} }}
  }}
}}"""
_NESTED = """query($industry: String!, $offset: Int!) {
  companies(where: {industry: {eq: $industry}}, orderBy: {name: ASC}, first: 20, offset: $offset) {
    nodes {
      id name industry
      contacts(orderBy: {id: ASC}, first: 10) {
        nodes { id firstName lastName deals(orderBy: {id: ASC}, first: 3) { nodes { id title value } } }
      }
    }
  }
}"""
_CREATE = "mutation($values: ContactCreate!) { createContact(values: $values) { id } }"

_COLLECTION = f"/api/v1/apps/{crm.APP}/collections/contacts"


def begin(n: int) -> int:
    """Where the n-th list begins."""
    return n // 4 % 50


def graphql(path: str, query: str, **variables: Any) -> Ask:
    """A GraphQL request."""
    return Ask("POST", path, {"query": query, "variables": variables})


def stoa_asks(sizes: crm.Sizes, count: int) -> Asks:
    """What Stoa is asked."""
    path = f"/graphql/{crm.APP}"

    def rest_list(n: int) -> Ask:
        page = f"sort=last_name&order=asc&limit=20&offset={begin(n)}"
        return Ask("GET", f"{_COLLECTION}?status={crm.STATUSES[n % 4]}&{page}")

    return by_number(
        {
            GET: lambda n: graphql(path, _GET, id=sizes.some("contacts", n)),
            LIST: lambda n: graphql(path, _LIST, status=crm.STATUSES[n % 4], offset=begin(n)),
            NESTED: lambda n: graphql(path, _NESTED, industry=crm.INDUSTRIES[n % 4], offset=begin(n)),
            CREATE: lambda n: graphql(path, _CREATE, values=_camel(sizes.new_contact(n))),
            REST_LIST: rest_list,
            REST_CREATE: lambda n: Ask("POST", _COLLECTION, sizes.new_contact(n)),
            CROWD: lambda n: graphql(path, _LIST, status=crm.STATUSES[0], offset=0),
        },
        count,
    )


def _camel(values: Mapping[str, Any]) -> dict[str, Any]:
    return {camel(name): value for name, value in values.items()}


def database_url(folder: Path, role: str = "stoa") -> str:
    """The embedded database of a server on this folder."""
    return f"postgresql://{role}@/stoa?host={folder / 'data' / 'postgres'}"


_CHANGED = f"subscription {{ contactChanged {{ operation id record {{ {FIELDS} }} }} }}"
_STREAMS_OF_ONE = 50  # the platform lets a user have a hundred


def stoa_followed(server: Server, sizes: crm.Sizes) -> Callable[[int, int], Followed]:
    """How contacts are followed: by people who may read them."""

    def change(n: int) -> tuple[Request, bytes]:
        path = f"{_COLLECTION}/{sizes.some('contacts', n)}"
        return Ask("PATCH", path, {"city": mark(n)}).of(server.token), mark(n).encode()

    def followed(subscribers: int, changes: int) -> Followed:
        tokens = [clerk(server, f"reader-{n}") for n in range(-(-subscribers // _STREAMS_OF_ONE))]
        ask = graphql(f"/graphql/{crm.APP}", _CHANGED)
        return Followed(
            server.address,
            [ask.of(tokens[n // _STREAMS_OF_ONE], "text/event-stream") for n in range(subscribers)],
            [change(n) for n in range(changes)],
        )

    return followed


def mark(n: int) -> str:
    """What the n-th change puts into a record."""
    return f"changed-{n}-of-all"


def clerk(server: Server, name: str) -> str:
    """The token of somebody new who may work with contacts as far as the policy for clerks goes."""
    named = {"username": name, "password": PASSWORD}
    server.client.post("/api/v1/auth/register", json=named).raise_for_status()
    answer = server.client.post("/api/v1/auth/login", json=named).raise_for_status().json()
    server.client.post("/api/v1/roles", json={"name": name, "permissions": list(crm.KEYS)}).raise_for_status()
    given = {"userId": answer["user"]["id"], "role": name}
    server.client.post("/api/v1/roles/assign", json=given).raise_for_status()
    return f"Bearer {answer['accessToken']}"


@contextmanager
def filled(folder: Path, sizes: crm.Sizes, asks: Asks) -> Iterator[tuple[Server, dict[str, list[Any]]]]:
    """Stoa with its records, and the statements that the requests come to."""
    with serving(folder, "bench.limit:create") as server:
        assert server.client.post("/api/v1/apps", json=crm.MANIFEST).status_code == 200
        asyncio.run(crm.fill(database_url(folder), sizes))
        server.client.headers["authorization"] = clerk(server, "prober")
        statements = {
            workload: [_statement(server, ask) for ask in asked]
            for workload, asked in asks.items()
            if workload != REST_CREATE  # which is a transaction of several
        }
    with serving(folder) as server:
        yield server, statements


def _statement(server: Server, ask: Ask) -> Any:
    """The statement over records that the request comes to: others are about who asks, or tell of changes."""
    server.client.get("/told")
    answer = server.client.request(ask.method, ask.path, json=ask.body)
    assert answer.is_success, answer.text
    assert "errors" not in answer.json(), answer.text
    told = pickle.loads(server.client.get("/told").content)
    (found,) = (run for run in told if f'"{crm.APP}"."' in run[0])
    return found


# The limit.


@contextmanager
def limit(folder: Path, statements: Mapping[str, Sequence[Any]]) -> Iterator[list[Side]]:
    """The statements without an engine around them, and a server that runs none."""
    file = folder / "statements"
    file.write_bytes(pickle.dumps(list(statements.values())))
    command = [sys.executable, "-m", "bench.limit", database_url(folder), str(file)]
    with listening(command, ROOT) as (process, address):
        numbered = enumerate(statements.items())
        asked = {
            workload: [Request.of("GET", f"/{number}/{n}", "") for n in range(len(runs))]
            for number, (workload, runs) in numbered
        }
        hello = {workload: [Request.of("GET", "/hello", "")] for workload in WORKLOADS}
        yield [Side(LIMIT, address, process.pid, asked), Side(HELLO, address, process.pid, hello)]


@contextmanager
def listening(
    command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that prints `ready PORT`, and its address."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith("ready ")), None)
            assert line is not None, f"{command[0]} did not start"
            yield process, f"127.0.0.1:{line.split()[1]}"
        finally:
            process.terminate()
