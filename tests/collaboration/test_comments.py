"""Comments: saying something, changing it, and what becomes of them with their record."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.build import Collections
from tests.collaboration.placing import BACK, PURGE, delete, on
from tests.harness import Person, Stoa

ADD = """
mutation($app: ID!, $entity: String!, $id: ID!, $body: String!) {
  addComment(app: $app, entity: $entity, id: $id, body: $body) { id body authorId createdAt editedAt recordId }
}"""
COMMENTS = """
query($app: ID!, $entity: String!, $id: ID!, $first: Int = 50, $after: String) {
  recordComments(app: $app, entity: $entity, id: $id, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor } nodes { id body authorId editedAt }
  }
}"""
EDIT = "mutation($id: UUID!, $body: String!) { editComment(id: $id, body: $body) { id body editedAt } }"
DELETE = "mutation($id: UUID!) { deleteComment(id: $id) { id body } }"


def add(person: Person, where: dict[str, Any], body: str) -> dict[str, Any]:
    made: dict[str, Any] = person.data(ADD, **where, body=body)["addComment"]
    return made


def bodies(person: Person, where: dict[str, Any]) -> list[str]:
    return [node["body"] for node in person.data(COMMENTS, **where)["recordComments"]["nodes"]]


def test_whoever_may_read_a_record_may_say_something_of_it(desk: Collections, reader: Person) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    said = add(reader, ticket, "It is on fire.\n")
    assert (said["body"], said["authorId"], said["editedAt"]) == ("It is on fire.\n", reader.id, None)
    assert said["recordId"] == ticket["id"]
    add(desk.person, ticket, "Still?")
    assert bodies(reader, ticket) == ["Still?", "It is on fire.\n"]


def test_comments_come_page_by_page(desk: Collections) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    for number in range(3):
        add(desk.person, ticket, str(number))
    page = desk.person.data(COMMENTS, **ticket, first=2)["recordComments"]
    assert ([node["body"] for node in page["nodes"]], page["totalCount"]) == (["2", "1"], 3)
    last = desk.person.data(COMMENTS, **ticket, first=2, after=page["pageInfo"]["endCursor"])["recordComments"]
    assert ([node["body"] for node in last["nodes"]], last["pageInfo"]["hasNextPage"]) == (["0"], False)


def test_only_its_author_changes_a_comment(desk: Collections, reader: Person, stranger: Person) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    said = add(reader, ticket, "first")
    assert desk.person.code(EDIT, id=said["id"], body="other") == "FORBIDDEN"  # though an administrator
    assert desk.person.code(DELETE, id=said["id"]) == "FORBIDDEN"
    assert stranger.code(EDIT, id=said["id"], body="other") == "FORBIDDEN"
    assert bodies(reader, ticket) == ["first"]
    edited = reader.data(EDIT, id=said["id"], body="second")["editComment"]
    assert (edited["id"], edited["body"]) == (said["id"], "second")
    assert abs(datetime.fromisoformat(edited["editedAt"]) - datetime.now(UTC)) < timedelta(seconds=30)
    assert reader.data(DELETE, id=said["id"])["deleteComment"] == {"id": said["id"], "body": "second"}
    assert bodies(reader, ticket) == []
    assert reader.code(DELETE, id=said["id"]) == "NOT_FOUND"


def test_a_comment_says_something_and_not_too_much(desk: Collections) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    for body in ("", "   ", "x" * 10_001, "a\x00b"):
        assert desk.person.code(ADD, **ticket, body=body) == "INVALID_INPUT"
    assert bodies(desk.person, ticket) == []
    assert len(add(desk.person, ticket, "x" * 10_000)["body"]) == 10_000


def test_who_may_not_read_the_record_reads_and_says_nothing(desk: Collections, stranger: Person) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    add(desk.person, ticket, "secret")
    assert stranger.code(COMMENTS, **ticket) == "FORBIDDEN"
    assert stranger.code(ADD, **ticket, body="hello") == "FORBIDDEN"
    assert bodies(desk.person, ticket) == ["secret"]


def test_comments_are_unseen_while_their_record_is_in_the_trash(desk: Collections, stoa: Stoa) -> None:
    record = desk.create("tickets", subject="Printer")
    ticket = on(desk, record)
    said = add(desk.person, ticket, "kept")
    delete(desk, record)
    assert desk.person.code(COMMENTS, **ticket) == "NOT_FOUND"
    assert desk.person.code(EDIT, id=said["id"], body="other") == "NOT_FOUND"
    desk.person.data(BACK, **ticket)
    assert bodies(desk.person, ticket) == ["kept"]
    delete(desk, record)
    desk.person.data(PURGE, **ticket)
    assert stoa.sql("SELECT FROM stoa.record_comments WHERE record_id = $1", record["id"]) == []


def test_commenting_tells_who_listens(desk: Collections, stoa: Stoa) -> None:
    ticket = on(desk, desk.create("tickets", subject="Printer"))
    said = add(desk.person, ticket, "hello")
    desk.person.data(EDIT, id=said["id"], body="again")
    desk.person.data(DELETE, id=said["id"])
    told = stoa.sql("SELECT kind, payload FROM stoa.outbox WHERE kind LIKE 'comment.%' ORDER BY id DESC LIMIT 3")
    assert [row["kind"] for row in told] == ["comment.deleted", "comment.updated", "comment.created"]
    assert all(said["id"] in row["payload"] and "hello" not in row["payload"] for row in told)
