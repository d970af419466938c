"""Builders: what tests need to be there, made through the front door, with sensible defaults."""

import itertools
from typing import Any

from tests.harness import Person, Stoa

_numbers = itertools.count(1)


def field(name: str, type: str = "text", **more: Any) -> dict[str, Any]:
    """A field of an entity."""
    return {"name": name, "type": type, **more}


def link(name: str, entity: str, **more: Any) -> dict[str, Any]:
    """A link to another entity."""
    return field(name, "entity_link", references={"entity": entity, "field": "id"}, **more)


def entity(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An entity of a manifest."""
    return {"entityName": name, "fields": list(fields), **more}


def manifest(*entities: dict[str, Any], app_id: str | None = None, **more: Any) -> dict[str, Any]:
    """A manifest with an id that no other has."""
    app_id = app_id or f"app_{next(_numbers)}"
    return {"appId": app_id, "name": app_id.title(), "dataContract": list(entities), **more}


def app(person: Person, *entities: dict[str, Any], **more: Any) -> "Collections":
    """Install an app of these entities."""
    declared = manifest(*entities, **more)
    answer = person.client.post("/api/v1/apps", json=declared)
    assert answer.status_code == 200, answer.text
    return Collections(person, declared["appId"])


class Collections:
    """The collections of one app, as one person sees them."""

    def __init__(self, person: Person, app_id: str) -> None:
        self.person = person
        self.app_id = app_id

    def as_(self, person: Person) -> "Collections":
        """The same app for somebody else."""
        return Collections(person, self.app_id)

    def path(self, entity: str, *rest: str) -> str:
        """The URL path of a collection, or of what is below it."""
        return "/".join([f"/api/v1/apps/{self.app_id}/collections/{entity}", *rest])

    def create(self, entity: str, **values: Any) -> dict[str, Any]:
        """A new record."""
        answer = self.person.client.post(self.path(entity), json=values)
        assert answer.status_code == 201, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def create_many(self, entity: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """New records."""
        answer = self.person.client.post(self.path(entity, "bulk"), json=rows)
        assert answer.status_code == 201, answer.text
        records: list[dict[str, Any]] = answer.json()
        return records

    def query(self, entity: str, **asked: Any) -> dict[str, Any]:
        """A query that must succeed."""
        answer = self.person.client.post(self.path(entity, "query"), json=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def reader(stoa: Stoa, admin: Person, *keys: str) -> Person:
    """Somebody who holds exactly these permission keys."""
    person = stoa.person()
    grant(admin, person, *keys)
    return person


def grant(admin: Person, person: Person, *keys: str) -> str:
    """Give these permission keys to somebody, by a role made for it. Returns the role's name."""
    name = f"role-{next(_numbers)}"
    made = admin.client.post("/api/v1/roles", json={"name": name, "permissions": list(keys)})
    assert made.status_code == 200, made.text
    given = admin.client.post("/api/v1/roles/assign", json={"userId": person.id, "role": name})
    assert given.status_code == 200, given.text
    return name
