"""Asking an app's typed schema."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.build import Collections
from tests.harness import Person


@dataclass
class Typed:
    """The typed schema of an app, as one person may use it."""

    person: Person
    app_id: str

    @classmethod
    def of(cls, app: Collections) -> "Typed":
        return cls(app.person, app.app_id)

    def as_(self, person: Person) -> "Typed":
        return Typed(person, self.app_id)

    def post(self, query: str, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        headers = {"accept": "application/graphql-response+json"}
        return self.person.client.post(f"/graphql/{self.app_id}", json=body, headers=headers)

    def data(self, query: str, **variables: Any) -> Any:
        """What the operation answered, which went well."""
        answer = self.post(query, **variables)
        body = answer.json()
        assert answer.status_code == 200, body
        assert "errors" not in body, body
        return body["data"]

    def error(self, query: str, **variables: Any) -> tuple[str, str]:
        """The code and message of the one error of an operation that was refused."""
        body = self.post(query, **variables).json()
        assert body.get("data") is None, body
        (error,) = body["errors"]
        return error["extensions"]["code"], error["message"]
