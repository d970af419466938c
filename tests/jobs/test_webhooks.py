"""Incoming webhooks: who may have them, what they take, and in whose name."""

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from domain.webhooks.receiving import BODY_BYTES_MAX
from tests import build
from tests.harness import Person, Stoa, at_once
from tests.workers.hosting import App, RunningHost, deployed

CODE = """
let calls = 0;
serve({rpc: {
  hear: (params) => params,
  whose: (params, caller) => caller.userId,
  count: () => { calls += 1; return calls },
  once: async ({body}) => {
    if (body.ms) await new Promise((resolve) => setTimeout(resolve, body.ms));
    calls += 1;
    if (body.fail) throw new Error("not now");
    return calls;
  },
  fail: () => { throw new Error("no such parcel") },
}});
"""
CREATE = """
mutation ($app: ID!, $name: String!, $method: String!) {
  createWebhook(app: $app, name: $name, method: $method) { id token url signingSecret signedOnly ownerId prefix }
}
"""
UPDATE = """
mutation ($id: UUID!, $method: String, $signedOnly: Boolean, $signingSecret: SecretText) {
  updateWebhook(app: "desk", id: $id, method: $method, signedOnly: $signedOnly, signingSecret: $signingSecret) {
    id token method signedOnly signingSecret
  }
}
"""
ROTATE = 'mutation ($id: UUID!) { rotateWebhook(app: "desk", id: $id) { id token } }'
DELETE = 'mutation ($id: UUID!) { deleteWebhook(app: "desk", id: $id) { id } }'
LIST = """
query ($after: String) { webhooks(app: "desk", first: 2, after: $after) { nodes { name } pageInfo { endCursor } } }
"""


@pytest.fixture(scope="module")
def desk(admin: Person, host: RunningHost) -> App:
    build.app(admin, build.entity("things", build.field("name")), app_id="desk")
    return deployed(admin, "desk", CODE)


def create(person: Person, name: str, method: str = "hear") -> dict[str, Any]:
    made: dict[str, Any] = person.data(CREATE, app="desk", name=name, method=method)["createWebhook"]
    return made


def signed(secret: str, body: bytes, prefix: str = "sha256=") -> dict[str, str]:
    at = str(int(time.time()))
    made = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-webhook-timestamp": at, "x-webhook-signature": f"{prefix}{made}"}


@pytest.mark.parametrize(
    ("body", "kind", "read"),
    [
        (b'{"a": [1, null]}', "application/json", {"a": [1, None]}),
        (b"a=1&b=2", "application/x-www-form-urlencoded", "a=1&b=2"),
        (b"plain", "text/plain", "plain"),
        (b"", "application/json", ""),
        (b"\xff\xfe", "application/octet-stream", "\ufffd\ufffd"),
        (b"[NaN]", "application/json", "[NaN]"),
        (b"[" * 200 + b"]" * 200, "application/json", json.loads("[" * 200 + "]" * 200)),
        (b"[" * 300 + b"]" * 300, "application/json", "[" * 300 + "]" * 300),
    ],
)
def test_any_body_of_any_type_is_taken(stoa: Stoa, admin: Person, desk: App, body: bytes, kind: str, read: Any) -> None:
    hook = create(admin, f"any {body[:20]!r} {len(body)}")
    answer = stoa.client().post(f"/api/v1/hooks/{hook['token']}", content=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    assert answer.json()["body"] == read


def test_credentials_are_not_handed_on(stoa: Stoa, admin: Person, desk: App) -> None:
    hook = create(admin, "credentials")
    headers = {"authorization": "Basic c2VjcmV0", "cookie": "session=secret", "x-plain": "shown"}
    told = stoa.client().post(hook["url"], content=b"x", headers=headers).json()["headers"]
    assert told["x-plain"] == "shown"
    assert not {"authorization", "cookie"} & told.keys()


def test_what_the_code_throws_is_an_error(stoa: Stoa, admin: Person, desk: App) -> None:
    answer = stoa.client().post(create(admin, "throws", "fail")["url"], content=b"{}")
    assert (answer.status_code, answer.json()["error"]) == (500, "no such parcel")


def test_a_body_that_no_worker_could_be_told_is_too_large(stoa: Stoa, admin: Person, desk: App) -> None:
    url = create(admin, "large")["url"]
    assert stoa.client().post(url, content=b"x" * (BODY_BYTES_MAX + 1)).status_code == 413
    assert stoa.client().post(url, content=b"x" * BODY_BYTES_MAX).status_code == 200
    assert stoa.client().post(url, content=b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"').status_code == 200
    assert stoa.client().post(url, content=b"\xff" * BODY_BYTES_MAX).status_code == 413  # much more as text


def test_signatures_count_with_or_without_their_prefix_and_may_be_demanded(
    stoa: Stoa, admin: Person, desk: App
) -> None:
    hook, anybody, body = create(admin, "signed"), stoa.client(), b'{"x": 1}'
    for prefix in ("sha256=", ""):
        assert anybody.post(hook["url"], content=body, headers=signed(hook["signingSecret"], body, prefix)).is_success
    half = {"x-webhook-timestamp": str(int(time.time()))}
    assert anybody.post(hook["url"], content=body, headers=half).status_code == 403
    assert anybody.post(hook["url"], content=body).status_code == 200
    changed = admin.data(UPDATE, id=hook["id"], signedOnly=True, signingSecret="chosen by the other side")
    assert (changed["updateWebhook"]["signedOnly"], changed["updateWebhook"]["token"]) == (True, hook["token"])
    assert anybody.post(hook["url"], content=body).status_code == 403
    assert anybody.post(hook["url"], content=body, headers=signed(hook["signingSecret"], body)).status_code == 403
    assert anybody.post(hook["url"], content=body, headers=signed("chosen by the other side", body)).is_success
    assert admin.code(UPDATE, id=hook["id"], signingSecret="short") == "INVALID_INPUT"


def test_a_signed_delivery_that_comes_again_is_answered_as_before_and_done_once(
    stoa: Stoa, admin: Person, desk: App
) -> None:
    hook, body = create(admin, "again", "once"), b'{"n": 1}'
    headers = signed(hook["signingSecret"], body)
    first, again = (stoa.client().post(hook["url"], content=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    bare = {**headers, "x-webhook-signature": headers["x-webhook-signature"].removeprefix("sha256=")}
    assert stoa.client().post(hook["url"], content=body, headers=bare).json() == first.json()
    other = b'{"n": 2}'
    next = stoa.client().post(hook["url"], content=other, headers=signed(hook["signingSecret"], other))
    assert next.json() == first.json() + 1
    unsigned = [stoa.client().post(hook["url"], content=body).json() for _ in range(2)]
    assert unsigned == [first.json() + 2, first.json() + 3]


def test_a_delivery_that_failed_is_done_again_and_one_in_flight_is_not(stoa: Stoa, admin: Person, desk: App) -> None:
    hook, body = create(admin, "fails once", "once"), b'{"fail": true}'
    headers = signed(hook["signingSecret"], body)
    before = desk.call("count")
    for _ in range(2):
        assert stoa.client().post(hook["url"], content=body, headers=headers).status_code == 500
    assert desk.call("count") == before + 3
    slow = b'{"ms": 700}'
    headers = signed(hook["signingSecret"], slow)
    answers = at_once([lambda: stoa.client().post(hook["url"], content=slow, headers=headers) for _ in range(3)])
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    assert desk.call("count") == before + 5


def test_another_url_ends_the_one_before(stoa: Stoa, admin: Person, desk: App) -> None:
    hook = create(admin, "rotated")
    token = admin.data(ROTATE, id=hook["id"])["rotateWebhook"]["token"]
    assert token != hook["token"]
    assert stoa.client().post(f"/api/v1/hooks/{hook['token']}").status_code == 404
    assert stoa.client().post(f"/api/v1/hooks/{token}").status_code == 200
    admin.data(DELETE, id=hook["id"])
    assert stoa.client().post(f"/api/v1/hooks/{token}").status_code == 404
    assert stoa.sql("SELECT count(*) AS n FROM stoa.secrets WHERE key LIKE $1", f"{hook['id']}%")[0]["n"] == 0


def test_it_is_done_in_the_name_of_its_owner_while_they_may(stoa: Stoa, admin: Person, desk: App) -> None:
    owner = stoa.person()
    role = build.grant(admin, owner, "app:desk:webhook.write", "app:desk:invoke")
    hook = create(owner, "owned", "whose")
    post = stoa.client().post
    assert post(hook["url"]).json() == owner.id
    admin.client.post("/api/v1/roles/revoke", json={"userId": owner.id, "role": role})
    assert post(hook["url"]).status_code == 403
    assert admin.client.delete(f"/api/v1/users/{owner.id}").status_code == 200
    assert post(hook["url"]).status_code == 403


def test_urls_are_for_who_may_read_them(stoa: Stoa, admin: Person, desk: App) -> None:
    hook = create(admin, "guarded")
    invoker = build.reader(stoa, admin, "app:desk:invoke")
    assert invoker.client.get("/api/v1/apps/desk/webhooks").status_code == 403
    assert invoker.code(CREATE, app="desk", name="x", method="hear") == "FORBIDDEN"
    assert invoker.code(ROTATE, id=hook["id"]) == "FORBIDDEN"
    reader = build.reader(stoa, admin, "app:desk:webhook.read")
    assert "guarded" in [row["name"] for row in reader.client.get("/api/v1/apps/desk/webhooks").json()]
    assert reader.code(ROTATE, id=hook["id"]) == "FORBIDDEN"
    blocked = admin.client.get("/api/v1/apps/pg_catalog/webhooks")
    assert (blocked.status_code, "blocked" in blocked.json()["error"]) == (403, True)


def test_what_makes_urls_secret_is_nowhere_in_the_clear(stoa: Stoa, admin: Person, desk: App) -> None:
    hook = create(admin, "sealed")
    for table in ("webhooks", "secrets", "audit_log", "outbox", "idempotency_keys"):
        rows = stoa.sql(f"SELECT t::text AS text FROM stoa.{table} t")
        assert not any(secret in row["text"] for row in rows for secret in (hook["token"], hook["signingSecret"]))


def test_names_are_taken_once_and_listed_in_order(stoa: Stoa, admin: Person, desk: App) -> None:
    create(admin, "taken")
    assert admin.code(CREATE, app="desk", name="taken", method="hear") == "CONFLICT"
    assert admin.code(CREATE, app="nowhere", name="new", method="hear") == "NOT_FOUND"
    assert admin.code(CREATE, app="desk", name="a\nb", method="hear") == "INVALID_INPUT"
    names, after = [], None
    while page := admin.data(LIST, after=after)["webhooks"]:
        names += [node["name"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if len(page["nodes"]) < 2:
            break
    assert names == sorted(names)
    assert len(names) == stoa.sql("SELECT count(*) AS n FROM stoa.webhooks WHERE app_id = 'desk'")[0]["n"]


def test_with_its_app_a_webhook_goes(stoa: Stoa, admin: Person) -> None:
    build.app(admin, build.entity("things", build.field("name")), app_id="brief", webhooks=["w"])
    (hook,) = admin.client.get("/api/v1/apps/brief/webhooks").json()
    assert admin.client.delete("/api/v1/apps/brief").status_code == 200
    assert stoa.client().post(f"/api/v1/hooks/{hook['token']}").status_code == 404
    assert stoa.sql("SELECT count(*) AS n FROM stoa.secrets WHERE scope = 'webhooks:brief'")[0]["n"] == 0


def test_many_may_post_at_once(stoa: Stoa, admin: Person, desk: App) -> None:
    url = create(admin, "crowd", "whose")["url"]
    posting = [lambda: stoa.client().post(url, content=b"x" * 1000).status_code] * 24
    assert at_once(posting) == [200] * 24


def test_an_agents_webhook_without_an_agent_is_refused(stoa: Stoa, admin: Person, desk: App) -> None:
    url = create(admin, "agentless", "agent")["url"]
    answer = stoa.client().post(url, content=b"hello")
    assert (answer.status_code, answer.json()["error"]) == (404, "app 'desk' has no agent")
    assert stoa.sql("SELECT count(*) AS n FROM stoa.jobs WHERE origin = 'webhook'")[0]["n"] == 0


def test_an_agent_is_told_no_more_than_it_can_be(stoa: Stoa, admin: Person, host: RunningHost) -> None:
    build.app(admin, build.entity("things", build.field("name")), app_id="clerk")
    deployed(
        admin, "clerk", {"index.ts": "serve({rpc: {}, onAgent: () => 'heard'})", "agent.json": '{"name": "Clerk"}'}
    )
    made = admin.data(CREATE, app="clerk", name="tell", method="agent")["createWebhook"]
    for size, status in ((90_000, 200), (100_000, 413)):
        assert stoa.client().post(made["url"], content=b"x" * size).status_code == status
    jobs = admin.client.get("/api/v1/apps/clerk/jobs").json()
    assert [job["payload"]["message"].count("x") for job in jobs] == [90_000]
