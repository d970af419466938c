"""Every field an operation can begin with, asked by those who may not: what `@access` says is what happens.

Planted and seen red: a service that forgets its `ctx.need`, one that asks for another permission than the schema
says, and a field that is public in the code and not in the schema.
"""

from collections import Counter
from contextlib import suppress
from typing import Any

import httpx
import orjson
import pytest

from rest_compat.engine.adapter import RestAdapter
from tests.contract.asking import RootField, document, root_fields
from tests.harness import Person, Stoa

QUIET_S = 2.0  # a stream that tells nothing for so long has begun


@pytest.fixture(scope="module")
def fields(adapter: RestAdapter) -> list[RootField]:
    found = list(root_fields(adapter.schema.executable))
    assert len(found) > 30
    return found


@pytest.fixture(scope="module")
def nobody(stoa: Stoa, admin: Person) -> Person:
    """Somebody signed in without any role; the administrator is there before."""
    return stoa.person("nobody")


def asked(client: httpx.Client, field: RootField) -> dict[str, Any]:
    query, variables = document(field)
    body = {"query": query, "variables": variables}
    if field.kind == "subscription":
        return streamed(client, body)
    told: dict[str, Any] = client.post("/graphql", json=body).json()
    return told


def streamed(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The first event of a subscription; one that is open and quiet was not refused."""
    headers = {**client.headers, "accept": "text/event-stream, application/json"}
    url, patience = client.base_url.join("/graphql"), httpx.Timeout(10, read=QUIET_S)
    told: dict[str, Any] = {"data": None}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=patience) as answer:
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return orjson.loads(answer.read())
        with suppress(httpx.ReadTimeout):
            event = next(line for line in answer.iter_lines() if line.startswith("data: "))
            told = orjson.loads(event.removeprefix("data: "))
    return told


def first(body: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = body["errors"][0]
    return {"code": error["extensions"]["code"], "message": error["message"], **error["extensions"].get("details", {})}


def wrong_for_strangers(stoa: Stoa, fields: list[RootField]) -> list[str]:
    """Where a caller without a credential comes further than the schema says, or less far."""
    anonymous, found = stoa.client(), []
    for field in fields:
        body = asked(anonymous, field)
        if not field.public:
            if (first(body)["code"] if "errors" in body else "ok", "data" in body) != ("UNAUTHENTICATED", False):
                found.append(f"{field}: {body}")
        elif "data" not in body and first(body)["code"] == "UNAUTHENTICATED":  # nothing ran
            found.append(f"{field}: {body}")
    return found


def wrong_for_nobody(fields: list[RootField], nobody: Person, met: Counter[str]) -> list[str]:
    """Where somebody without a role is denied something else than the schema says."""
    found = []
    for field in (field for field in fields if not field.takes_a_file):
        body = asked(nobody.client, field)
        error = first(body) if "errors" in body else {"code": "ok"}
        _, variables = document(field)
        denied = error["code"] == "FORBIDDEN"
        met["denied" if denied else "allowed"] += 1
        if field.permission is None:
            right = not denied or (field.public and "FORBIDDEN" in field.refuses)
        elif denied or not field.public:  # what is public may need the permission for some of it
            right = (denied, error.get("permission")) == (True, field.permission.format(**variables))
        else:
            right = True
        if not right:
            found.append(f"{field}: {body}")
    return found


def test_those_who_are_not_signed_in_get_no_further_than_public_fields(stoa: Stoa, fields: list[RootField]) -> None:
    assert wrong_for_strangers(stoa, fields) == []


def test_those_without_roles_are_denied_exactly_what_the_schema_says(fields: list[RootField], nobody: Person) -> None:
    met: Counter[str] = Counter()
    assert wrong_for_nobody(fields, nobody, met) == []
    assert met["denied"] > 10
    assert met["allowed"] > 10


def test_what_was_denied_was_not_done(stoa: Stoa, fields: list[RootField], nobody: Person) -> None:
    tables = (
        "SELECT relname AS name FROM pg_class WHERE relnamespace = 'stoa'::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    counted = {row["name"]: f'SELECT count(*) AS n FROM stoa."{row["name"]}"' for row in stoa.sql(tables)}

    def state() -> dict[str, int]:
        return {name: stoa.sql(sql)[0]["n"] for name, sql in counted.items()}

    before, anonymous = state(), stoa.client()
    for field in fields:
        if field.kind == "mutation" and not field.public:
            asked(anonymous, field)
            if field.permission is not None:
                asked(nobody.client, field)
    assert state() == before


def test_every_field_says_who_may(fields: list[RootField]) -> None:
    assert [str(field) for field in fields if not field.access] == []
    assert [str(field) for field in fields if not field.definition.description] == []
