"""An app whose records people talk about, and somebody who may only read them."""

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa


@pytest.fixture(scope="module")
def desk(admin: Person) -> Collections:
    return build.app(
        admin,
        build.entity("tickets", build.field("subject", required=True), build.field("effort", "number"), trash=True),
        build.entity("parcels", build.field("code")),
    )


@pytest.fixture(scope="module")
def reader(stoa: Stoa, admin: Person, desk: Collections) -> Person:
    return build.reader(stoa, admin, f"app:{desk.app_id}:tickets.read")


@pytest.fixture(scope="module")
def stranger(stoa: Stoa, admin: Person) -> Person:
    return build.reader(stoa, admin, "app:somewhere_else:things.read")
