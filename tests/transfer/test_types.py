"""Files with every kind of value: what is exported comes in again as it was; what is computed or secret stays out."""

from typing import Any

import httpx
import pytest

from tests import build
from tests.build import Collections
from tests.harness import Person
from tests.transfer.test_export import EXPORT
from tests.transfer.test_import import counted, run

FIELDS = (
    build.field("n", "integer"),
    build.field("price", "decimal", scale=2),
    build.field("cost", "money"),
    build.field("wait", "duration"),
    build.field("at", "time"),
    build.field("place", "geo_point"),
    build.field("vector", "vector", dimensions=2),
    build.field("mail", "email"),
    build.field("tags", "tags"),
    build.field("sizes", "[integer]"),
    build.field("no", "autonumber", format="N{000}"),
    build.field("twice", "formula", expression="price * 2", returns="decimal", scale=2),
    build.field("token", "secret"),
)
WRITTEN = ("n", "price", "cost", "wait", "at", "place", "vector", "mail", "tags", "sizes")
VALUES: dict[str, Any] = {
    "n": 5,
    "price": "1.50",
    "cost": {"amount": "2.00", "currency": "EUR"},
    "wait": "P1DT2H",
    "at": "08:15:30",
    "place": {"lat": 1.5, "lng": 2.5},
    "vector": [1.0, 2.5],
    "mail": "a@example.org",
    "tags": ["x", "y"],
    "sizes": [1, 2],
}


@pytest.fixture
def goods(admin: Person) -> Collections:
    return build.app(admin, build.entity("goods", *FIELDS), dialect="stoa")


def exported(app: Collections, format: str) -> str:
    columns = ["no", "twice", "token", *WRITTEN]
    url = app.person.data(EXPORT, app=app.app_id, entity="goods", format=format, columns=columns)["exportRecords"]
    answer = httpx.get(app.person.client.base_url.join(url), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content.decode()


@pytest.mark.parametrize("format", ["NDJSON", "CSV"])
def test_what_is_exported_comes_in_again_as_it_was(goods: Collections, format: str) -> None:
    made = goods.create("goods", token="t", **VALUES)
    goods.create("goods", n=None)
    file = exported(goods, format)
    assert "********" in file
    assert "N001" in file
    goods.person.client.delete(goods.path("goods", made["id"]))
    done = run(goods, entity="goods", text=file, format=format)
    assert counted(done["import"]) == ("DONE", 2, 2, 0, 0), done
    (back,) = goods.query("goods", where={"n": 5})["data"]
    assert {name: back[name] for name in WRITTEN} == VALUES
    assert (back["twice"], back["token"], back["no"]) == ("3.00", None, "N003")


def test_a_secret_does_not_come_in_by_a_file(goods: Collections) -> None:
    done = run(goods, entity="goods", rows=[{"n": 1, "token": "t"}, {"n": 2}], skipBad=True)["import"]
    assert counted(done) == ("DONE", 2, 1, 0, 1)
    assert done["errors"][0]["message"] == "field 'token' is of a type that is not for files: secret"
