"""Shares of single records, and the condition a row policy asks them by."""

from typing import Any
from uuid import UUID

import pytest

from domain.collaboration.model import ShareLevel
from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import OfCaller
from domain.records.declared import AppSchema, ObjectType
from domain.records.policies import PolicyReader
from domain.records.sql import Params, condition
from tests.build import Collections
from tests.collaboration.placing import BACK, PURGE, delete, on
from tests.harness import Person, Stoa

SHARE = """
mutation($app: ID!, $entity: String!, $id: ID!, $recipient: RecipientInput!, $level: ShareLevel! = READ,
         $reason: String, $source: String! = "manual", $sourceId: String) {
  shareRecord(app: $app, entity: $entity, id: $id, recipient: $recipient, level: $level, reason: $reason,
              source: $source, sourceId: $sourceId) {
    id recipientType recipientId level source sourceId grantedBy reason createdAt
  }
}"""
UNSHARE = """
mutation($app: ID!, $entity: String!, $id: ID!, $share: UUID!) {
  unshareRecord(app: $app, entity: $entity, id: $id, share: $share) { id }
}"""
SHARES = """
query($app: ID!, $entity: String!, $id: ID!) {
  recordShares(app: $app, entity: $entity, id: $id) { id recipientType recipientId level }
}"""


def share(app: Collections, record: dict[str, Any], recipient: str, type: str = "USER", **on_terms: Any) -> Any:
    whom = {"type": type, "id": recipient}
    return app.person.data(SHARE, **on(app, record), recipient=whom, **on_terms)["shareRecord"]


def shares(app: Collections, record: dict[str, Any]) -> list[tuple[str, str]]:
    found = app.person.data(SHARES, **on(app, record))["recordShares"]
    return [(row["recipientId"], row["level"]) for row in found]


def seen(stoa: Stoa, app: Collections, person: Person, level: ShareLevel) -> set[str]:
    """The ids of the tickets that were shared with somebody on that level."""
    tickets = ObjectType("tickets", ())
    schema = AppSchema(DEFAULT_TENANT, app.app_id, "", app.app_id, 1, {"tickets": tickets})
    params = Params()
    met = condition(schema, PolicyReader(schema, tickets, "where").read({"SHARED": level}), params)
    values = [UUID(person.id) if value is OfCaller.ID else value for value in params.values]
    rows = stoa.sql(f"SELECT t.id::text AS id FROM {app.app_id}.tickets t WHERE {met}", *values)
    return {row["id"] for row in rows}


def test_a_record_is_shared_on_terms_that_can_be_changed(desk: Collections, reader: Person) -> None:
    ticket = desk.create("tickets", subject="a")
    made = share(desk, ticket, reader.id, reason="cover for holiday")
    assert (made["recipientType"], made["level"], made["source"]) == ("USER", "READ", "manual")
    assert (made["grantedBy"], made["reason"], made["sourceId"]) == (desk.person.id, "cover for holiday", None)
    again = share(desk, ticket, reader.id, level="FULL")
    assert (again["id"], again["createdAt"], again["reason"]) == (made["id"], made["createdAt"], None)
    assert shares(desk, ticket) == [(reader.id, "FULL")]
    ruled = share(desk, ticket, "admin", "ROLE", source="rule", sourceId="night shift")
    assert (ruled["source"], ruled["sourceId"]) == ("rule", "night shift")
    assert shares(desk, ticket) == [("admin", "READ"), (reader.id, "FULL")]


def test_a_share_is_taken_back_at_its_own_record_only(desk: Collections, reader: Person) -> None:
    ticket, other = (desk.create("tickets", subject=name) for name in "ab")
    made = share(desk, ticket, reader.id)
    assert desk.person.code(UNSHARE, **on(desk, other), share=made["id"]) == "NOT_FOUND"
    assert shares(desk, ticket) == [(reader.id, "READ")]
    desk.person.data(UNSHARE, **on(desk, ticket), share=made["id"])
    assert shares(desk, ticket) == []
    assert desk.person.code(UNSHARE, **on(desk, ticket), share=made["id"]) == "NOT_FOUND"


def test_sharing_takes_the_right_to_change_and_a_recipient_there_is(desk: Collections, reader: Person) -> None:
    ticket = desk.create("tickets", subject="a")
    whom = {"id": reader.id}
    assert reader.code(SHARE, **on(desk, ticket), recipient=whom) == "FORBIDDEN"
    for nobody in ({"id": "someone"}, {"id": ticket["id"]}, {"type": "ROLE", "id": "no such role"}):
        assert desk.person.code(SHARE, **on(desk, ticket), recipient=nobody) == "INVALID_INPUT"
    gone = {"id": "00000000-0000-4000-8000-000000000000"}
    assert desk.person.code(SHARE, **on(desk, gone), recipient=whom) == "NOT_FOUND"
    assert shares(desk, ticket) == []


@pytest.mark.parametrize("given", ShareLevel)
def test_the_condition_holds_for_what_was_shared_on_that_level_or_more(
    stoa: Stoa, desk: Collections, reader: Person, stranger: Person, given: ShareLevel
) -> None:
    ticket = desk.create("tickets", subject="a")
    share(desk, ticket, reader.id, level=given.name)
    levels = list(ShareLevel)
    for level in levels:
        enough = levels.index(level) <= levels.index(given)
        assert (ticket["id"] in seen(stoa, desk, reader, level)) is enough
        assert ticket["id"] not in seen(stoa, desk, stranger, level)


def test_what_is_shared_with_a_role_is_shared_with_all_who_inherit_it(
    stoa: Stoa, desk: Collections, admin: Person, stranger: Person
) -> None:
    ticket = desk.create("tickets", subject="a")
    for name, parents in (("night", []), ("night_boss", ["night"])):
        made = admin.client.post("/api/v1/roles", json={"name": name, "inherits": parents, "permissions": []})
        assert made.status_code == 200
    share(desk, ticket, "night", "ROLE")
    person = stoa.person()
    assert seen(stoa, desk, person, ShareLevel.READ) == set()
    admin.client.post("/api/v1/roles/assign", json={"userId": person.id, "role": "night_boss"})
    assert seen(stoa, desk, person, ShareLevel.READ) == {ticket["id"]}
    assert ticket["id"] not in seen(stoa, desk, stranger, ShareLevel.READ)


def test_a_share_comes_back_with_its_record_and_goes_with_it_for_good(
    stoa: Stoa, desk: Collections, reader: Person
) -> None:
    ticket = desk.create("tickets", subject="a")
    share(desk, ticket, reader.id)
    delete(desk, ticket)
    assert ticket["id"] not in seen(stoa, desk, reader, ShareLevel.READ)
    desk.person.data(BACK, **on(desk, ticket))
    assert ticket["id"] in seen(stoa, desk, reader, ShareLevel.READ)
    delete(desk, ticket)
    desk.person.data(PURGE, **on(desk, ticket))
    assert stoa.sql("SELECT FROM stoa.record_shares WHERE record_id = $1", ticket["id"]) == []


def test_another_record_of_the_same_id_inherits_nothing(stoa: Stoa, desk: Collections, reader: Person) -> None:
    ticket = desk.create("tickets", subject="a")
    share(desk, ticket, reader.id)
    delete(desk, ticket)
    stoa.sql(f"INSERT INTO {desk.app_id}.tickets (id, subject) VALUES ($1::text::uuid, 'another')", ticket["id"])
    assert shares(desk, ticket) == []
    assert ticket["id"] not in seen(stoa, desk, reader, ShareLevel.READ)
