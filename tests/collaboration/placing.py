"""Variables that say which record is meant."""

from typing import Any

from tests.build import Collections


def on(app: Collections, record: dict[str, Any], entity: str = "tickets") -> dict[str, Any]:
    """The record as the variables of an operation."""
    return {"app": app.app_id, "entity": entity, "id": record["id"]}


def delete(app: Collections, record: dict[str, Any], entity: str = "tickets") -> None:
    """Delete a record."""
    assert app.person.client.delete(app.path(entity, record["id"])).status_code == 200


BACK = "mutation($app: ID!, $entity: String!, $id: ID!) { restoreRecord(app: $app, entity: $entity, id: $id) }"
PURGE = "mutation($app: ID!, $entity: String!, $id: ID!) { purgeRecord(app: $app, entity: $entity, id: $id) { id } }"
