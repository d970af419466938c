"""What the records group works on: companies, their contacts, and the contacts' deals, made by SQL.

`id_of` knows the id of the n-th record, so that every side is asked for the same ones.
"""

import hashlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

APP = "crm"
STATUSES = ("Lead", "Prospect", "Customer", "Churned")
INDUSTRIES = ("Technology", "Finance", "Healthcare", "Retail")

# The ten fields of a contact, in the order they are asked for.
CONTACT = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "job_title",
    "city",
    "status",
    "score",
    "birthday",
    "company_id",
)


@dataclass(frozen=True)
class Sizes:
    """How many records there are."""

    companies: int = 1_000
    contacts: int = 100_000
    deals: int = 300_000

    def some(self, entity: str, n: int) -> str:
        """The id of a record for each n, from all over the table."""
        return id_of(entity, n * 7919 % getattr(self, entity))

    def new_contact(self, n: int) -> dict[str, Any]:
        """The values of a contact to create: last in the order of names, so that lists stay as they are."""
        values = (
            "Zoe",
            f"Zz {n}",
            f"zoe{n}@example.test",
            "+1 555 0199",
            "Engineer",
            "Zagreb",
            "Lead",
            n,
            "1990-02-03",
        )
        return dict(zip(CONTACT, (*values, self.some("companies", n)), strict=True))


def _field(name: str, type: str = "text", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type, **more}


def _link(name: str, entity: str) -> dict[str, Any]:
    return _field(name, "entity_link", references={"entity": entity, "field": "id"}, onDelete="set_null")


def _index(name: str, *columns: str) -> dict[str, Any]:
    return {"name": name, "columns": list(columns)}


# What those who ask are bound by: rows by a condition that knows of them, and a field that is not theirs.
CLERKS = {
    "name": "clerks",
    "can": ["create", "read", "update", "delete"],
    "where": {"OR": [{"score": {"gte": 0}}, {"notes": {"actor": "id"}}]},
    "hide": ["notes"],
}
KEYS = (
    *(f"app:{APP}:contacts.{verb}:clerks" for verb in ("create", "read", "update", "delete")),
    f"app:{APP}:companies.read",
    f"app:{APP}:deals.read",
)

MANIFEST = {
    "appId": APP,
    "name": "CRM",
    "dataContract": [
        {
            "entityName": "companies",
            "fields": [_field("name", required=True), _field("industry"), _field("employees", "number")],
            "indexes": [_index("companies_industry_name", "industry", "name"), _index("companies_name", "name")],
        },
        {
            "entityName": "contacts",
            "fields": [
                *(_field(name, required=True) for name in CONTACT[:2]),
                *(_field(name) for name in CONTACT[2:6]),
                _field("status", enum_values=list(STATUSES)),
                _field("score", "number"),
                _field("birthday", "date"),
                _link("company_id", "companies"),
                _field("notes"),
            ],
            "policies": [CLERKS],
            "indexes": [_index("contacts_status_name", "status", "last_name"), _index("contacts_name", "last_name")],
        },
        {
            "entityName": "deals",
            "fields": [
                _field("title", required=True),
                _field("value", "number"),
                _field("stage"),
                _link("contact_id", "contacts"),
            ],
        },
    ],
}

# PostgreSQL's spelling of `id_of`, for a number n.
_ID = "md5('{entity}' || {n})::uuid"


def id_of(entity: str, n: int) -> str:
    """The id of the n-th record of an entity, from 0."""
    return str(UUID(hashlib.md5(f"{entity}{n}".encode()).hexdigest()))


async def fill(database_url: str, sizes: Sizes) -> None:
    """Make all records, untold: the engine's triggers would log each, which is not what is measured.

    Peers insert into `bare.people`, which is what contacts are without an engine: same columns, indexes, checks, keys
    and rows, no triggers.
    """
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            for entity, select in _selects(sizes):
                await connection.execute(f"ALTER TABLE {APP}.{entity} DISABLE TRIGGER USER")
                await connection.execute(f"INSERT INTO {APP}.{entity} {select}")
                await connection.execute(f"ALTER TABLE {APP}.{entity} ENABLE TRIGGER USER")
            await connection.execute(
                f"""CREATE SCHEMA bare;
                CREATE TABLE bare.people (LIKE {APP}.contacts INCLUDING ALL);
                INSERT INTO bare.people SELECT * FROM {APP}.contacts;
                ALTER TABLE bare.people ADD FOREIGN KEY (company_id) REFERENCES {APP}.companies ON DELETE SET NULL"""
            )
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def _selects(sizes: Sizes) -> list[tuple[str, str]]:
    """A SELECT for each entity, with the columns in the order they were declared in."""
    statuses, industries = (f"(ARRAY{list(words)})[1 + n % 4]" for words in (STATUSES, INDUSTRIES))
    company = _ID.format(entity="companies", n=f"n % {sizes.companies}")
    contact = _ID.format(entity="contacts", n=f"n % {sizes.contacts}")
    times = "now() - n * interval '1 s', now() - n * interval '1 s'"
    return [
        (
            "companies",
            f"""(id, name, industry, employees, created_at, updated_at)
            SELECT {_ID.format(entity="companies", n="n")}, 'Company ' || n, {industries}, n % 500, {times}
              FROM generate_series(0, {sizes.companies - 1}) n""",
        ),
        (
            "contacts",
            f"""(id, {", ".join(CONTACT)}, created_at, updated_at)
            SELECT {_ID.format(entity="contacts", n="n")}, 'First ' || n % 1000, 'Last ' || md5(n::text),
                   'person' || n || '@example.test', '+1 555 ' || n, 'Engineer of ' || n % 50, 'City ' || n % 200,
                   {statuses}, n % 100, date '1950-01-01' + n % 18000, {company}, {times}
              FROM generate_series(0, {sizes.contacts - 1}) n""",
        ),
        (
            "deals",
            f"""(id, title, value, stage, contact_id, created_at, updated_at)
            SELECT {_ID.format(entity="deals", n="n")}, 'Deal ' || n, n % 10000, 'Stage ' || n % 6, {contact}, {times}
              FROM generate_series(0, {sizes.deals - 1}) n""",
        ),
    ]
