"""Names of a typed schema: whatever an app calls its entities, no two types are called the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.records.declared import SYSTEM_FIELDS, AppSchema, Field, ObjectType
from domain.records.types import field_type
from graph.typed.names import AROUND, FILTER, TAKEN, AppNames, plural, singular
from graph.typed.schema import COMMON, FILTER_TYPES

WORDS = ["contact", "contacts", "list", "lists", "where", "group", "by", "key", "order", "change", "query", "user", "x"]
entities = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("_".join), min_size=1, max_size=8, unique=True
)


def names_of(entities: list[str]) -> AppNames:
    fields = (
        Field("name", field_type("text")),
        *(Field(word, field_type("text"), options=("A", "B")) for word in WORDS),
    )
    types = {name: ObjectType(name, fields) for name in entities}
    return AppNames(AppSchema(None, "app", "App", "app", 1, types))


@given(entities)
def test_no_two_types_are_called_the_same(entities: list[str]) -> None:
    names = names_of(entities)
    made = [names.of(entity).type + suffix for entity in entities for suffix in ("", *AROUND)]
    made += [name + suffix for name in names.enums for suffix in ("", FILTER)]
    assert len(names.enums) == len(entities) * len(WORDS)
    assert len(made) == len(set(made))
    assert not TAKEN & set(made)


def test_what_every_schema_has_is_taken() -> None:
    assert {*COMMON, *FILTER_TYPES} <= TAKEN
    assert names_of(["string_filter"]).of("string_filter").type == "StringFilterRecord"


@given(entities)
def test_no_two_root_fields_are_called_the_same(entities: list[str]) -> None:
    names = names_of(entities)
    made = [name for entity in entities for name in (names.of(entity).one, names.of(entity).many)]
    assert len(made) == len(set(made)), made


def test_names_are_what_one_would_expect() -> None:
    names = names_of(["companies", "deal_contacts", "people", "status"])
    assert [
        (names.of(e).type, names.of(e).one, names.of(e).many) for e in ("companies", "deal_contacts", "people")
    ] == [
        ("Company", "company", "companies"),
        ("DealContact", "dealContact", "dealContacts"),
        ("Person", "person", "people"),
    ]
    assert names.of("status").one == "statusById"


def test_fields_are_called_what_a_value_of_an_enum_may_be_called() -> None:
    fields = tuple(Field(name, field_type("text")) for name in ("null", "null_", "true", "first_name"))
    schema = AppSchema(None, "app", "App", "app", 1, {"notes": ObjectType("notes", fields)})
    assert [shown for shown, raw in AppNames(schema).of("notes").fields.items() if raw not in SYSTEM_FIELDS] == [
        "null_",
        "null__",
        "true_",
        "firstName",
    ]


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("company", "companies"),
        ("day", "days"),
        ("box", "boxes"),
        ("contact", "contacts"),
        ("branch", "branches"),
        ("status", "statuses"),
    ],
)
def test_a_plural_is_the_plural_of_its_singular(one: str, many: str) -> None:
    assert (plural(one), singular(many)) == (many, one)
