"""The tree of a bucket: names, folders, moves, and what goes with what."""

from typing import Any

import pytest

from domain.storage import objects
from tests.harness import Person, Stoa, at_once
from tests.storage.files import Bucket, kept

PAGE = """
query ($bucket: String!, $parent: UUID, $first: Int!, $after: String) {
  storageObjects(bucket: $bucket, parent: $parent, first: $first, after: $after) {
    nodes { name isFolder } totalCount pageInfo { hasNextPage endCursor }
  }
}
"""


@pytest.fixture
def bucket(admin: Person) -> Bucket:
    return Bucket(admin)


def code(body: dict[str, Any]) -> tuple[str, str | None]:
    """Of a refusal, and the field it is about."""
    told = body["errors"][0]["extensions"]
    return told["code"], told.get("field")


def test_what_is_put_is_known_by_its_facts(admin: Person, bucket: Bucket) -> None:
    folder = bucket.folder("docs")
    id = bucket.put("a.txt", b"hello", "Text/Plain; charset=utf-8", folder)
    found = bucket.object(id)
    assert found.pop("content").startswith("/files/")
    assert found == {
        "id": id,
        "name": "a.txt",
        "parentId": folder,
        "isFolder": False,
        "mediaType": "text/plain; charset=utf-8",
        "sizeBytes": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "uploadedBy": admin.id,
        "metadata": {},
    }
    found = bucket.object(folder)
    assert (found["mediaType"], found["sizeBytes"]) == ("application/x-directory", 0)
    assert (found["isFolder"], found["sha256"], found["content"]) == (True, None, None)


def test_folders_come_first_then_names_and_pages_cover_each_once(admin: Person, bucket: Bucket) -> None:
    for name in ("b", "a"):
        bucket.folder(name)
    for name in ("z.txt", "A.txt", "m.txt"):
        bucket.put(name)
    order = bucket.names()
    assert order[:2] == ["a", "b"]
    assert sorted(order[2:]) == ["A.txt", "m.txt", "z.txt"]
    found: list[str] = []
    after = None
    while True:
        page = admin.data(PAGE, bucket=bucket.name, first=2, after=after)["storageObjects"]
        assert page["totalCount"] == 5
        found += [node["name"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert found == order
    assert code(admin.graphql(PAGE, bucket="default", first=2, after=after)) == ("INVALID_INPUT", "after")
    assert code(admin.graphql(PAGE, bucket=bucket.name, first=0)) == ("INVALID_INPUT", "first")
    assert admin.data(PAGE, bucket="nowhere", first=5)["storageObjects"]["nodes"] == []


def test_a_name_is_taken_once_a_folder_in_one_spelling(bucket: Bucket) -> None:
    folder = bucket.folder("docs")
    bucket.put("über.txt")
    assert bucket.upload("u\u0308ber.txt").status_code == 400
    bucket.put("über.txt", parent=folder)
    bucket.put("ÜBER.txt")
    assert sorted(bucket.names()) == sorted(["docs", "über.txt", "ÜBER.txt"])


def test_one_name_at_the_same_moment_is_given_once(stoa: Stoa, bucket: Bucket) -> None:
    before = len(kept(stoa))
    answers = at_once([lambda: bucket.upload("same.txt").status_code for _ in range(5)])
    assert sorted(answers) == [201, 400, 400, 400, 400]
    assert bucket.names() == ["same.txt"]
    assert len(kept(stoa)) == before + 1


def test_parents_must_be_folders_of_the_same_bucket(admin: Person, bucket: Bucket) -> None:
    file = bucket.put("a.txt")
    elsewhere = Bucket(admin).folder("elsewhere")
    nowhere = "00000000-0000-7000-8000-000000000000"
    for parent, expected in (
        (file, ("INVALID_INPUT", "parent")),
        (elsewhere, ("NOT_FOUND", "parent")),
        (nowhere, ("NOT_FOUND", "parent")),
    ):
        create = 'mutation ($b: String!, $p: UUID) { createFolder(bucket: $b, name: "x", parent: $p) { id } }'
        assert code(admin.graphql(create, b=bucket.name, p=parent)) == expected
        assert code(bucket.move(file, parent=parent)) == expected
        assert bucket.upload("b.txt", parent_id=parent).status_code == (400 if expected[0] == "INVALID_INPUT" else 404)
    assert bucket.names() == ["a.txt"]


def test_an_object_is_found_in_its_own_bucket_only(admin: Person, bucket: Bucket) -> None:
    id, other = bucket.put("a.txt"), Bucket(admin)
    assert admin.client.get(f"{other.path}/{id}").status_code == 404
    assert admin.client.patch(f"{other.path}/{id}", json={"name": "b"}).status_code == 404
    assert admin.client.delete(f"{other.path}/{id}").status_code == 404
    assert admin.client.get(f"{other.path}/{id}/ancestors").status_code == 404
    assert bucket.names() == ["a.txt"]


def test_moving_and_renaming(bucket: Bucket) -> None:
    a, b = bucket.folder("a"), bucket.folder("b")
    file = bucket.put("f.txt", parent=a)
    assert bucket.move(file, parent=b)["data"]["updateObject"]["object"] == {"name": "f.txt", "parentId": b}
    assert bucket.move(file, name="g.txt")["data"]["updateObject"]["object"] == {"name": "g.txt", "parentId": b}
    assert bucket.move(file, name="h.txt", parent=None)["data"]["updateObject"]["object"] == {
        "name": "h.txt",
        "parentId": None,
    }
    assert bucket.move(file)["data"]["updateObject"]["object"] == {"name": "h.txt", "parentId": None}
    assert (bucket.names(), bucket.names(a), bucket.names(b)) == (["a", "b", "h.txt"], [], [])
    assert code(bucket.move(file, name="a")) == ("CONFLICT", "name")
    assert code(bucket.move(file, name="")) == ("INVALID_INPUT", "name")
    assert code(bucket.move(file, name="../x")) == ("INVALID_INPUT", "name")
    assert bucket.names() == ["a", "b", "h.txt"]


def test_a_folder_goes_into_no_folder_inside_it(bucket: Bucket) -> None:
    a = bucket.folder("a")
    b = bucket.folder("b", a)
    c = bucket.folder("c", b)
    for target in (a, b, c):
        assert code(bucket.move(a, parent=target)) == ("INVALID_INPUT", "parent")
    assert bucket.move(c, parent=None)["data"]["updateObject"]["object"]["parentId"] is None
    assert bucket.move(a, parent=c)["data"]["updateObject"]["object"]["parentId"] == c
    assert code(bucket.move(c, parent=b)) == ("INVALID_INPUT", "parent")


def test_two_folders_that_move_into_each_other_at_the_same_moment_make_no_ring(stoa: Stoa, bucket: Bucket) -> None:
    for number in range(5):
        a, b = bucket.folder(f"a{number}"), bucket.folder(f"b{number}")
        bodies = at_once([lambda a=a, b=b: bucket.move(a, parent=b), lambda a=a, b=b: bucket.move(b, parent=a)])
        refused = [code(body) for body in bodies if "errors" in body]
        assert refused == [("INVALID_INPUT", "parent")]
    reached = stoa.sql(
        "WITH RECURSIVE tree AS (SELECT id FROM stoa.storage_objects WHERE parent_id IS NULL AND bucket = $1 "
        "UNION SELECT o.id FROM stoa.storage_objects o JOIN tree ON o.parent_id = tree.id) SELECT count(*) FROM tree",
        bucket.name,
    )
    assert reached == [{"count": 10}]


def test_folders_are_only_so_deep(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "DEPTH_MAX", 4)
    ids: list[str | None] = [None]
    for name in "abcd":
        ids.append(bucket.folder(name, ids[-1]))
    create = 'mutation ($b: String!, $p: UUID) { createFolder(bucket: $b, name: "e", parent: $p) { id } }'
    assert code(bucket.person.graphql(create, b=bucket.name, p=ids[-1])) == ("INVALID_INPUT", "parent")
    bucket.put("file.txt", parent=ids[-1])
    top = bucket.folder("x")
    bucket.folder("y", top)
    assert code(bucket.move(top, parent=ids[3])) == ("INVALID_INPUT", "parent")
    assert "errors" not in bucket.move(top, parent=ids[2])
    path = bucket.person.client.get(f"{bucket.path}/{ids[4]}/ancestors").json()
    assert [part["name"] for part in path] == ["a", "b", "c", "d"]


def test_a_hundred_folders_in_one_another_go_at_once(stoa: Stoa, bucket: Bucket) -> None:
    stoa.sql(
        "WITH RECURSIVE chain AS ("
        "  SELECT 1 AS level, gen_random_uuid() AS id, NULL::uuid AS parent "
        "  UNION ALL SELECT level + 1, gen_random_uuid(), id FROM chain WHERE level < 100) "
        "INSERT INTO stoa.storage_objects (id, tenant_id, bucket, parent_id, name, is_file, media_type, size_bytes,"
        "  metadata, uploaded_by, created_at, updated_at) "
        "SELECT id, '00000000-0000-0000-0000-000000000000', $1, parent, 'f', false, 'application/x-directory', 0,"
        "  '{}', id, now(), now() FROM chain",
        bucket.name,
    )
    [top] = bucket.person.client.get(bucket.path).json()
    assert bucket.person.client.delete(f"{bucket.path}/{top['id']}").status_code == 200
    assert stoa.sql("SELECT count(*) FROM stoa.storage_objects WHERE bucket = $1", bucket.name) == [{"count": 0}]


def test_whatever_deletes_a_file_gives_up_its_bytes(stoa: Stoa, bucket: Bucket) -> None:
    folder = bucket.folder("a")
    ids = [bucket.put("1", parent=folder), bucket.put("2", parent=folder), bucket.put("3"), bucket.put("4")]
    stay = bucket.put("5")

    def blobs_of(*files: str) -> set[Any]:
        rows = stoa.sql("SELECT blob_id FROM stoa.storage_objects WHERE id::text = ANY($1)", list(files))
        return {row["blob_id"] for row in rows}

    gone, staying = blobs_of(*ids), blobs_of(stay)
    assert bucket.person.client.delete(f"{bucket.path}/{folder}").status_code == 200
    assert bucket.person.client.delete(f"{bucket.path}/{ids[2]}").status_code == 200
    stoa.sql("DELETE FROM stoa.storage_objects WHERE id = $1", ids[3])  # somebody with psql
    given_up = stoa.sql("SELECT id FROM stoa.blobs WHERE id = ANY($1) AND expires_at <= now()", list(gone))
    assert {row["id"] for row in given_up} == gone
    assert staying <= {row["id"] for row in kept(stoa)}


def test_deleting_twice_at_the_same_moment_is_done_once(bucket: Bucket) -> None:
    id = bucket.put("a.txt")
    answers = at_once([lambda: bucket.person.client.delete(f"{bucket.path}/{id}").status_code for _ in range(4)])
    assert sorted(answers) == [200, 404, 404, 404]


def test_a_file_that_comes_while_its_folder_goes_is_either_or(stoa: Stoa, bucket: Bucket) -> None:
    for number in range(5):
        folder = bucket.folder(f"f{number}")
        slot = bucket.slot("a.txt", 3, parent=folder)
        sent, deleted = at_once(
            [
                lambda slot=slot: bucket.person.client.put(slot["url"], content=b"abc").status_code,
                lambda folder=folder: bucket.person.client.delete(f"{bucket.path}/{folder}").status_code,
            ]
        )
        assert deleted == 200
        assert sent in (201, 404)
        assert stoa.sql("SELECT id FROM stoa.storage_objects WHERE id = $1", slot["id"]) == []
    assert bucket.names() == []


def test_changes_are_told_when_they_are_committed(stoa: Stoa, bucket: Bucket) -> None:
    id = bucket.put("a.txt")
    bucket.move(id, name="b.txt")
    assert bucket.upload("b.txt").status_code == 400
    bucket.person.client.delete(f"{bucket.path}/{id}")
    told = stoa.sql("SELECT kind, payload FROM stoa.outbox WHERE payload ->> 'bucket' = $1 ORDER BY id", bucket.name)
    assert [row["kind"] for row in told] == [
        "storage.object_created",
        "storage.object_moved",
        "storage.object_deleted",
    ]
