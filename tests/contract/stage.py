"""A server with something in it for every route to be about, and copies of it that are the same in every bit."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import build
from tests.harness import Databases, Person, Stoa, running

APP = "stage"


@dataclass(frozen=True)
class Stage:
    """What is there, by the names that routes give it."""

    admin: Person
    plain: Person
    things: dict[str, list[Any]] = field(default_factory=dict)


def furnish(stoa: Stoa) -> Stage:
    """People, roles, an app with records, secrets, buckets."""
    admin = stoa.person("admin")
    people = [stoa.person(f"person-{number}") for number in range(4)]
    plain = people[0]
    app = build.app(
        admin,
        build.entity(
            "parcels",
            build.field("code", required=True),
            build.field("weight", "number"),
            build.field("sent_on", "date"),
            build.field("fragile", "boolean"),
            build.field("about", "json"),
            identityKind="parcel",
            identityKey="code",
        ),
        build.entity("labels", build.field("text"), build.link("parcel_id", "parcels")),
        app_id=APP,
        permissions={"permissions": [{"key": "parcels.weigh", "description": "Weigh parcels"}]},
    )
    parcels = [
        app.create("parcels", code=f"P-{n}", weight=n * 1.5, fragile=n % 2 == 0, about={"n": n, "ä": [n]})
        for n in range(12)
    ]
    labels = [app.create("labels", text=f"label {n}", parcel_id=parcels[n]["id"]) for n in range(3)]
    roles = [build.grant(admin, plain, f"app:{APP}:parcels.read")]
    for app_role in ("clerk", "packer"):
        body = {"name": app_role, "permissions": ["parcels.read"]}
        assert admin.client.post(f"/api/v1/apps/{APP}/roles", json=body).status_code == 200
    assert admin.client.post("/api/v1/storage/buckets", json={"name": "shelf"}).status_code == 201
    folders = [
        admin.client.post("/api/v1/storage/objects/shelf", json={"name": f"folder {n}"}).json()["id"] for n in range(3)
    ]
    for n in range(3):
        body = {"key": f"STAGE_{n}", "value": f"secret {n}"}
        assert admin.client.post("/api/v1/platform/secrets", json=body).status_code == 200
        assert admin.client.post(f"/api/v1/apps/{APP}/secrets", json=body).status_code == 200
    for integration in ("http", "slack"):
        assert admin.client.post(f"/api/v1/integrations/catalog/{integration}/deploy").status_code == 200
    connections = [
        admin.client.post(
            "/api/v1/integrations/http/auth/credentials", json={"credentials": {"key": n}, "label": f"key {n}"}
        ).json()["connectionId"]
        for n in range(3)
    ]
    channels = [
        admin.client.post("/api/v1/channels", json={"provider": provider, "name": provider, "config": {}}).json()["id"]
        for provider in ("telegram", "slack", "email")
    ]
    things: dict[str, list[Any]] = {
        "appId": [APP],
        "entity": ["parcels", "parcels", "labels"],
        "record": [record["id"] for record in parcels],
        "label": [record["id"] for record in labels],
        "user": [person.id for person in (admin, *people)],
        "role": [*roles, "admin", "base"],
        "appRole": ["clerk", "packer"],
        "identityKind": ["parcel", "person"],
        "bucket": ["shelf", "shelf", "default"],
        "folder": folders,
        "integration": ["http"],
        "connection": connections,
        "channel": channels,
    }
    return Stage(admin, plain, things)


@contextmanager
def twins(databases: Databases, folder: Path) -> Iterator[tuple[Stage, Stoa, Stoa]]:
    """Two servers that hold the same to begin with: the same rows, files and keys."""
    original, first, second = folder / "original", folder / "first", folder / "second"
    original.mkdir()
    url = databases.new()
    with running(url, None, original) as stoa:
        stage = furnish(stoa)
    for copy in (first, second):
        shutil.copytree(original, copy)
    with (
        running(databases.copy_of(url), None, first) as one,
        running(databases.copy_of(url), None, second) as other,
    ):
        yield stage, one, other
