"""What one person makes, another without the right never sees: over routes, GraphQL, streams and in error texts.

Everything the owner writes holds a canary. Meanwhile three others - with rights elsewhere, with none, not signed in -
ask for it by every stored operation, by GraphQL of their own and by subscriptions, with the right ids in hand.

Planted and seen red: reading (and with it streams) without a look at the permission, and federated records of apps
one may not read.
"""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from rest_compat.engine.operations import Route
from tests import build
from tests.build import Collections
from tests.contract.drawing import Drawing
from tests.contract.placing import NoSpelling, request_of
from tests.harness import Person, Stoa

ROUNDS = 3
SECRET = "canary"

QUERIES = [
    "query ($app: ID!, $id: ID!) { record(app: $app, entity: \"notes\", id: $id) }",
    "query ($app: ID!) { records(app: $app, entity: \"notes\") { rows totalCount nodes edges { cursor node } } }",
    "query ($app: ID!) { records(app: $app, entity: \"notes\", where: {text: {like: \"canary%\"}}) { totalCount } }",
    "query ($app: ID!) { records(app: $app, entity: \"notes\", orderBy: \"text\", linked: true) { rows } }",
    "query ($app: ID!) { records(app: \"open\", entity: \"people\", linked: [$app]) { rows } }",
    "query { records(app: \"open\", entity: \"people\", linked: true) { rows } }",
    "query { federatedRecords(kind: \"person\") { rows totalCount } }",
    "query { federatedRecords(kind: \"person\", where: {text: {like: \"canary%\"}}) { rows totalCount } }",
    "query { federatedRecords(kind: \"person\", orderBy: \"text\") { rows } }",
    "query { auditEntries(first: 100) { recordId oldRecord newRecord } }",
    "query ($app: ID!) { auditEntries(app: $app) { oldRecord newRecord } }",
    "query { apps { id manifest entities } roles { name } users { nodes { username } } }",
    "query ($app: ID!) { secrets(app: $app) { nodes { key } } }",
    "query { platformEnvironment { key value } }",
    "query ($app: ID!) { jobs(app: $app) { nodes { payload result error } } }",
    "query ($app: ID!) { crons(app: $app) { nodes { name payload } } allCrons { nodes { payload } } }",
    "query ($app: ID!) { webhooks(app: $app) { nodes { name token url signingSecret } } }",
    "query ($app: ID!) { recordHooks(app: $app) { config } }",
    "query { storageObjects(bucket: \"private\") { nodes { id name } } storageBuckets { name } }",
]  # fmt: skip
WRITES = [
    "mutation ($app: ID!, $id: ID!) { updateRecord(app: $app, entity: \"notes\", id: $id, values: {text: \"mine\"}) }",
    "mutation ($app: ID!, $id: ID!) { deleteRecord(app: $app, entity: \"notes\", id: $id) }",
    "mutation ($app: ID!, $id: ID!) { createRecord(app: $app, entity: \"notes\", values: {id: $id, text: \"mine\"}) }",
    "mutation ($app: ID!) { createRecord(app: $app, entity: \"notes\", values: {person: \"p-0\", text: \"mine\"}) }",
    "mutation ($app: ID!) { uninstallApp(id: $app) }",
]  # fmt: skip


@dataclass
class Vault:
    """An app whose owner writes canaries, and what is known of it."""

    owner: Collections
    things: dict[str, list[Any]]
    written: list[str] = field(default_factory=list)
    secret_count: int = 0

    def canary(self) -> str:
        """A text that was never there before."""
        self.secret_count += 1
        self.written.append(f"{SECRET}-{uuid4()}")
        return self.written[-1]

    def write(self, number: int) -> None:
        """Records, their history, and what is beside them."""
        made = self.owner.create("notes", person=f"p-{number}", text=self.canary())
        path = self.owner.path("notes", made["id"])
        assert self.owner.person.client.patch(path, json={"text": self.canary()}).status_code == 200
        gone = self.owner.create("notes", person=f"gone-{number}", text=self.canary())
        assert self.owner.person.client.delete(self.owner.path("notes", gone["id"])).status_code == 200
        many = self.owner.create_many("notes", [{"person": f"m-{number}-{n}", "text": self.canary()} for n in range(3)])
        self.things["record"] += [made["id"], gone["id"], *(record["id"] for record in many)]
        self.hand_in(number)

    def hand_in(self, number: int) -> None:
        """Jobs, and what hands them in. Nothing runs them here."""
        post = self.owner.person.client.post
        told = {"payload": {"text": self.canary()}}
        job = post("/api/v1/apps/vault/jobs", json=told)
        cron = post("/api/v1/apps/vault/crons", json={"name": f"c-{number}", "schedule": "0 3 1 1 *", **told})
        hook = {"entity": "notes", "operation": "UPDATE", "action_type": "job", "action_config": told["payload"]}
        made = post("/api/v1/apps/vault/hooks", json=hook)
        query = 'mutation ($name: String!) { createWebhook(app: "vault", name: $name, method: "hear") { id } }'
        webhook = post("/graphql", json={"query": query, "variables": {"name": self.canary()}})
        assert [job.status_code, cron.status_code, made.status_code, webhook.status_code] == [201, 201, 200, 200]
        self.things["job"].append(job.json()["job_id"])
        self.things["cron"].append(cron.json()["id"])
        self.things["hook"].append(made.json()["id"])


@dataclass
class Stage:
    stoa: Stoa
    admin: Person
    vault: Vault
    others: dict[str, httpx.Client]


@pytest.fixture(scope="module")
def stage(stoa: Stoa, admin: Person) -> Stage:
    return guarded(stoa, admin)


def guarded(stoa: Stoa, admin: Person) -> Stage:
    """A vault, and those who may not look into it."""
    fields = [build.field("person", required=True), build.field("text")]
    named = {"identityKind": "person", "identityKey": "person"}
    build.app(admin, build.entity("notes", *fields, **named), app_id="vault")
    opened = build.app(admin, build.entity("people", *fields, **named), app_id="open")
    owner = build.reader(stoa, admin, "app:vault:*")
    neighbour = build.reader(stoa, admin, "app:open:*")
    nobody = stoa.person()
    opened.create_many("people", [{"person": f"p-{n}", "text": "open"} for n in range(3)])
    vault = Vault(
        Collections(owner, "vault"),
        {
            "appId": ["vault"], "entity": ["notes"], "record": [], "user": [owner.id, admin.id], "role": ["admin"],
            "appRole": ["clerk"], "identityKind": ["person"], "bucket": ["private"], "folder": [], "key": [],
            "job": [], "cron": [], "hook": [],
            "integration": ["http"], "connection": [], "channel": [],
        },
    )  # fmt: skip
    furnish(stage_admin=admin, vault=vault)
    others = {"a neighbour": neighbour.client, "nobody": nobody.client, "a stranger": stoa.client()}
    return Stage(stoa, admin, vault, others)


def furnish(stage_admin: Person, vault: Vault) -> None:
    """Secrets and files that only the administrator may see."""
    client = stage_admin.client
    for path in ("/api/v1/platform/secrets", "/api/v1/apps/vault/secrets"):
        body = {"key": f"KEY_{len(vault.things['key'])}", "value": vault.canary()}
        assert client.post(path, json=body).status_code == 200
        vault.things["key"].append(body["key"])
    assert client.post("/api/v1/storage/buckets", json={"name": "private"}).status_code == 201
    folder = client.post("/api/v1/storage/objects/private", json={"name": vault.canary()})
    file = {"file": (f"{vault.canary()}.txt", vault.canary().encode(), "text/plain")}
    uploaded = client.post("/api/v1/storage/objects/private/upload", files=file)
    vault.things["folder"] += [folder.json()["id"], uploaded.json()["id"]]
    furnish_outside(client, vault)


def furnish_outside(client: httpx.Client, vault: Vault) -> None:
    """What is known of other services: configuration and credentials, and a bot's token."""
    assert client.post("/api/v1/integrations/catalog/http/deploy").status_code == 200
    values = {"authorization": vault.canary()}
    assert client.put("/api/v1/integrations/http/config", json=values).status_code == 200
    entered = {"credentials": {"key": vault.canary()}, "label": vault.canary()}
    connected = client.post("/api/v1/integrations/http/auth/credentials", json=entered)
    vault.things["connection"].append(connected.json()["connectionId"])
    bot = {"provider": "telegram", "name": "bot", "config": {"bot_token": vault.canary()}}
    vault.things["channel"].append(client.post("/api/v1/channels", json=bot).json()["id"])


def told(response: httpx.Response) -> str:
    """Everything a response tells."""
    return f"{response.status_code} {dict(response.headers)} {response.text}"


def routes(stage: Stage) -> list[Route]:
    return [route for route in stage.stoa.app.rest.routes if not route.streams]


def asked_by_route(stage: Stage, client: httpx.Client, route: Route, seed: str) -> httpx.Response | None:
    """The route's answer to a question about the vault."""
    schema = stage.stoa.app.rest.schema.executable
    drawing = Drawing(seed, stage.vault.things, schema)
    variables = {**drawing.variables(route), **pointed(route, drawing)}
    try:
        return client.request(**request_of(route, schema, variables).as_request())
    except NoSpelling:
        return None


def _kind(route: Route) -> str:
    """What an operation's `id` is one of."""
    return next((kind for kind in ("cron", "hook") if f"/{kind}s/" in route.document.path), "record")


def pointed(route: Route, drawing: Drawing) -> dict[str, Any]:
    """The ids of what is in the vault, wherever an operation takes one."""
    named = {
        "appId": "appId", "app_id": "appId", "entity": "entity", "bucket": "bucket", "key": "key", "fileId": "folder",
        "parent_id": "folder", "identityKind": "identityKind", "userId": "user",
    }  # fmt: skip
    wanted = {definition.variable.name.value for definition in route.document.node.variable_definitions or ()}
    found = {name: drawing.random.choice(drawing.things[kind]) for name, kind in named.items() if name in wanted}
    if "id" in wanted:
        found["id"] = drawing.random.choice(drawing.things["folder" if "bucket" in wanted else _kind(route)])
    if "jobId" in wanted:
        found["jobId"] = drawing.random.choice(drawing.things["job"])
    if "linked" in wanted:
        found["linked"] = True
    return found


def asked_round(stage: Stage, number: int, seen: list[str]) -> int:
    """Everybody else asks for everything, once; what they see of it is noted. Returns how often they asked."""
    stage.vault.write(number)
    dice, asked = random.Random(number), 0
    for name, client in stage.others.items():
        for route in routes(stage):
            response = asked_by_route(stage, client, route, f"{number}:{name}:{route.label}")
            asked += response is not None
            if response is not None and SECRET in told(response):
                seen.append(f"{name} by {route.label}: {told(response)[:300]}")
        for query in dice.sample([*QUERIES, *WRITES], len(QUERIES)):
            variables = {"app": "vault", "id": dice.choice(stage.vault.things["record"])}
            used = {key: value for key, value in variables.items() if f"${key}" in query}
            response = client.post("/graphql", json={"query": query, "variables": used})
            asked += 1
            if SECRET in told(response).replace('like: \\"canary%', ""):
                seen.append(f"{name} by {query}: {told(response)[:300]}")
    return asked


def test_nobody_sees_what_is_not_theirs(stage: Stage) -> None:
    seen: list[str] = []
    asked = sum(asked_round(stage, number, seen) for number in range(ROUNDS))
    assert seen == []
    assert asked > 500


def test_the_owner_does_see_it(stage: Stage) -> None:
    """Otherwise there would be nothing to be seen: each of these questions finds canaries for who may ask it."""
    stage.vault.write(1_000)
    empty = []
    for query in QUERIES:
        variables = {"app": "vault", "id": stage.vault.things["record"][-1]}
        used = {key: value for key, value in variables.items() if f"${key}" in query}
        response = stage.admin.client.post("/graphql", json={"query": query, "variables": used})
        assert "errors" not in response.json(), response.text
        if SECRET not in response.text:
            empty.append(query)
    hold_none = ("totalCount }", "apps {", "secrets(app")  # numbers and names
    assert [query for query in empty if not any(part in query for part in hold_none)] == []


def test_nobody_changes_what_is_not_theirs(stage: Stage) -> None:
    before = stage.stoa.sql('SELECT id::text, person, text FROM "vault"."notes" ORDER BY id')
    ids = [row["id"] for row in before][:5]
    for client in stage.others.values():
        for id in ids:
            for query in WRITES:
                used = {key: value for key, value in (("app", "vault"), ("id", id)) if f"${key}" in query}
                body = client.post("/graphql", json={"query": query, "variables": used}).json()
                assert body["errors"][0]["extensions"]["code"] in ("FORBIDDEN", "UNAUTHENTICATED")
            path = stage.vault.owner.path("notes", id)
            assert client.patch(path, json={"text": "mine"}).status_code in (401, 403)
            assert client.delete(path).status_code in (401, 403)
    assert stage.stoa.sql('SELECT id::text, person, text FROM "vault"."notes" ORDER BY id') == before


def test_what_is_there_is_refused_like_what_is_not(stage: Stage) -> None:
    """No answer tells those without the right whether there is something of that id."""
    schema = stage.stoa.app.rest.schema.executable
    there, compared = stage.vault.things, 0
    nowhere = {**there, **{kind: [str(uuid4())] for kind in ("record", "folder", "job", "cron", "hook")}}
    for route in routes(stage):
        for name, client in stage.others.items():
            answers = []
            for things in (there, nowhere):
                drawing = Drawing(f"{name}:{route.label}", things, schema)
                variables = {**drawing.variables(route), **pointed(route, drawing)}
                if not {"id", "fileId", "parent_id", "jobId"} & variables.keys():
                    break
                try:
                    response = client.request(**request_of(route, schema, variables).as_request())
                except NoSpelling:
                    break
                answers.append((response.status_code, response.json().get("code") if response.is_error else None))
            if len(answers) == 2 and route.label not in KNOWN_TO_ALL:
                assert answers[0] == answers[1], f"{name} by {route.label}"
                compared += 1
    assert compared > 15


# Accounts are known to everybody who is signed in.
KNOWN_TO_ALL = {"rootcx.getUser"}


def listened(stage: Stage, headers: httpx.Headers, **variables: Any) -> str:
    """What a subscription tells until it ends, or until `the end` is told."""
    body = {"query": CHANGED, "variables": variables}
    asked = {"authorization": headers.get("authorization", ""), "accept": "text/event-stream"}
    with (
        httpx.Client(base_url=stage.stoa.base_url, timeout=30) as client,
        client.stream("POST", "/graphql", json=body, headers={k: v for k, v in asked.items() if v}) as response,
    ):
        heard = ""
        for line in response.iter_lines():
            heard += line
            if "the end" in line:
                break
        return heard


CHANGED = """
subscription ($app: ID!, $entity: String!, $after: String) {
  recordChanged(app: $app, entity: $entity, after: $after) { cursor record previous }
}
"""


def test_nobody_hears_what_is_not_theirs(stage: Stage) -> None:
    """Live and from the beginning; their own stream goes on beside, and tells of their own app alone."""
    with ThreadPoolExecutor(8) as threads:
        refused = [
            threads.submit(listened, stage, client.headers, app="vault", entity="notes", after=after)
            for client in stage.others.values()
            for after in (None, "0-0")
        ]
        neighbour = stage.others["a neighbour"]
        own = threads.submit(listened, stage, neighbour.headers, app="open", entity="people", after="0-0")
        for number in range(3):
            stage.vault.write(2_000 + number)
        neighbour.post("/api/v1/apps/open/collections/people", json={"person": "the end", "text": "open"})
        for run in refused:
            heard = run.result(30)
            assert SECRET not in heard
            assert "FORBIDDEN" in heard or "UNAUTHENTICATED" in heard
        heard = own.result(30)
    assert SECRET not in heard
    assert heard.count('"record"') == 4


def test_canaries_are_in_the_database_to_be_seen(stage: Stage) -> None:
    notes = stage.stoa.sql("SELECT new_record::text AS text FROM stoa.audit_log WHERE app_id = 'vault'")
    stored = orjson.dumps([row["text"] for row in notes]).decode()
    assert sum(canary in stored for canary in stage.vault.written) > 30
