"""Records that many create at the same moment: each is its creator's own, whoever else was in the transaction."""

from collections import Counter
from typing import Any

import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person, Stoa, at_once
from tests.typed.asking import Typed

CREATE = "mutation($v: ParcelCreate!) { createParcel(values: $v) { id code weight ownerId } }"
LIGHT = {
    "name": "light",
    "can": ["create", "read"],
    "where": {"AND": [{"weight": {"lt": 100}}, {"owner_id": {"actor": "id"}}]},
}


@pytest.fixture(scope="module")
def parcels(admin: Person) -> Collections:
    fields = (build.field("code", unique=True), build.field("weight", "number"), build.field("owner_id", "user"))
    return build.app(admin, build.entity("parcels", *fields, policies=[LIGHT]), dialect="stoa")


@pytest.fixture(scope="module")
def people(stoa: Stoa, admin: Person, parcels: Collections) -> list[Person]:
    keys = [f"app:{parcels.app_id}:parcels.{verb}:light" for verb in ("create", "read")]
    return [build.reader(stoa, admin, *keys) for _ in range(2)]


def noted(stoa: Stoa, parcels: Collections, ids: set[str]) -> Counter[tuple[str, str]]:
    """How often the log has it that a record was made, by the record and by whom."""
    rows = stoa.sql(
        "SELECT record_id, actor_id::text AS actor FROM stoa.audit_log WHERE app_id = $1 AND operation = 'INSERT'",
        parcels.app_id,
    )
    return Counter((row["record_id"], row["actor"]) for row in rows if row["record_id"] in ids)


def test_each_is_answered_with_their_own_over_rest(stoa: Stoa, parcels: Collections, people: list[Person]) -> None:
    path = parcels.path("parcels")
    asked = [(people[n % 2], {"code": f"r{n}", "weight": n, "owner_id": people[n % 2].id}) for n in range(60)]
    answers = at_once([lambda one=one: one[0].client.post(path, json=one[1]) for one in asked])
    assert [answer.status_code for answer in answers] == [201] * 60
    made = [answer.json() for answer in answers]
    assert [(one["code"], one["weight"], one["owner_id"]) for one in made] == [tuple(v.values()) for _, v in asked]
    whose = {(one["id"], person.id): 1 for one, (person, _) in zip(made, asked, strict=True)}
    assert noted(stoa, parcels, {one["id"] for one in made}) == whose


def test_who_is_refused_leaves_the_others_as_they_are(stoa: Stoa, parcels: Collections, people: list[Person]) -> None:
    """Every third code is taken twice, every fifth parcel is too heavy for its creator, and some belong to others."""
    person, other = people
    typed = Typed.of(parcels).as_(person)
    asked: list[dict[str, Any]] = [
        {"code": f"t{n - 1 if n % 3 == 1 else n}", "weight": 500 if n % 5 == 4 else n, "ownerId": person.id}
        for n in range(60)
    ]
    asked[12]["ownerId"] = asked[27]["ownerId"] = other.id
    answers = at_once([lambda one=one: typed.post(CREATE, v=one).json() for one in asked])
    made = [answer["data"]["createParcel"] for answer in answers if "errors" not in answer]
    allowed = [one["weight"] < 100 and one["ownerId"] == person.id for one in asked]
    assert sorted(one["code"] for one in made) == sorted(
        {one["code"] for one, may in zip(asked, allowed, strict=True) if may}
    )
    for one, may, answer in zip(asked, allowed, answers, strict=True):
        told = [error["extensions"]["code"] for error in answer.get("errors", ())]
        twice = sum(other["code"] == one["code"] for other in asked) > 1
        assert told in ([[]] if may else [["FORBIDDEN"]]) + ([["CONFLICT"]] if twice else []), (one, told)
    stored = stoa.sql(f"SELECT code FROM {parcels.app_id}.parcels WHERE code LIKE 't%'")
    assert sorted(row["code"] for row in stored) == sorted(one["code"] for one in made)
    ids = {one["id"] for one in made}
    assert noted(stoa, parcels, ids) == {(id, person.id): 1 for id in ids}
