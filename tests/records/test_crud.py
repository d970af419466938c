"""Records through the REST door and the GraphQL door."""

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    return build.app(
        admin,
        build.entity("parcels", build.field("code", required=True), build.field("weight", "number")),
    )


def test_a_record_is_what_was_written_with_its_id_and_times(parcels: Collections) -> None:
    made = parcels.create("parcels", code="P-1", id="ignored", weight=2)
    assert list(made) == ["id", "code", "weight", "created_at", "updated_at"]
    assert (made["code"], made["weight"], made["created_at"]) == ("P-1", 2, made["updated_at"])
    assert made["id"][14] == "4"  # a UUID of version 4
    read = parcels.person.client.get(parcels.path("parcels", made["id"]))
    assert read.json() == made
    data = parcels.person.data(
        'query($app: ID!, $id: ID!) { record(app: $app, entity: "parcels", id: $id) }',
        app=parcels.app_id,
        id=made["id"],
    )
    assert data["record"] == made
