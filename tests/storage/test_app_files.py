"""Files of apps, and the URLs that deployed code is given."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.kernel.ctx import Ctx
from domain.storage import links
from domain.storage.app_files import DOCUMENT_EXTENSIONS, new_app_file
from domain.storage.model import AppFile
from tests import build
from tests.harness import Person, Stoa
from tests.storage.files import kept


@pytest.fixture(scope="module")
def app_id(admin: Person) -> str:
    return build.app(admin, build.entity("notes", build.field("text"))).app_id


def given(person: Person, app_id: str, name: str = "a.txt", content: bytes = b"abc") -> str:
    """A file given to an app. Returns its id."""
    files = {"f": (name, content, "text/plain")}
    answer = person.client.post(f"/api/v1/apps/{app_id}/storage/upload", files=files)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made == {"file_id": made["file_id"], "name": name, "content_type": "text/plain", "size": len(content)}
    return str(made["file_id"])


async def within(stoa: Stoa, work: Callable[[Ctx], Awaitable[Any]]) -> Any:
    """What a part of the platform itself comes to."""
    from domain.kernel.ctx import ANONYMOUS

    nothing: Any = None
    ctx = Ctx(actor=ANONYMOUS, now=datetime.now(UTC), unit=nothing, ports=stoa.app.platform.ports)
    return await work(ctx)


def test_a_file_is_its_givers_and_the_apps_administrators(stoa: Stoa, admin: Person, app_id: str) -> None:
    giver, stranger = stoa.person(), stoa.person()
    ruler = build.reader(stoa, admin, f"app:{app_id}:*")
    reader = build.reader(stoa, admin, "storage:read")
    user = build.reader(stoa, admin, f"app:{app_id}:invoke", "storage:write")
    id = given(giver, app_id)
    path = f"/api/v1/apps/{app_id}/storage/{id}"
    for person, status in ((giver, 200), (ruler, 200), (reader, 200), (admin, 200), (stranger, 404), (user, 404)):
        assert person.client.get(path).status_code == status
    for person in (stranger, user, reader):
        assert person.client.delete(path).status_code == 404
    assert stoa.client().get(path).status_code == 401
    assert giver.client.get(path).headers["content-disposition"] == 'attachment; filename="a.txt"'
    assert giver.client.delete(path).json() == {"deleted": id}
    assert giver.client.delete(path).status_code == 404
    other = given(giver, app_id)
    assert ruler.client.delete(f"/api/v1/apps/{app_id}/storage/{other}").status_code == 200


def test_names_need_not_differ_and_files_are_found_in_their_app_only(stoa: Stoa, admin: Person, app_id: str) -> None:
    other = build.app(admin, build.entity("notes", build.field("text"))).app_id
    one, two = given(admin, app_id), given(admin, app_id)
    assert one != two
    assert admin.client.get(f"/api/v1/apps/{other}/storage/{one}").status_code == 404
    assert admin.client.get(f"/api/v1/apps/{app_id}/storage/{uuid4()}").status_code == 404
    assert admin.client.get(f"/api/v1/apps/{app_id}/storage/no-uuid").status_code == 400
    answer = admin.client.post("/api/v1/apps/nowhere/storage/upload", files={"f": ("a", b"1")})
    assert answer.status_code == 404


def test_an_app_that_goes_takes_its_files_along(stoa: Stoa, admin: Person) -> None:
    app_id = build.app(admin, build.entity("notes", build.field("text"))).app_id
    before = len(kept(stoa))
    given(admin, app_id)
    given(admin, app_id)
    assert len(kept(stoa)) == before + 2
    assert admin.client.delete(f"/api/v1/apps/{app_id}").status_code == 200
    assert stoa.sql("SELECT 1 FROM stoa.app_files WHERE app_id = $1", app_id) == []
    assert len(kept(stoa)) == before


@pytest.mark.parametrize("name", ["x.sh", "x", "csv", "x.csv.exe", "x.html", "x.", ".csv/../x.sh"])
def test_documents_that_are_none(admin: Person, app_id: str, name: str) -> None:
    answer = admin.client.post(f"/api/v1/apps/{app_id}/upload", files={"f": (name, b"1")})
    assert answer.status_code == 400
    assert "not allowed" in answer.json()["error"]


def test_documents_of_every_kind(admin: Person, app_id: str) -> None:
    for extension in sorted(DOCUMENT_EXTENSIONS):
        name = f"x.{extension.upper()}"
        answer = admin.client.post(f"/api/v1/apps/{app_id}/upload", files={"f": (name, b"1")})
        assert (answer.status_code, answer.json()["original_name"]) == (201, name)
    assert len(DOCUMENT_EXTENSIONS) == 18


async def test_deployed_code_sends_a_file_by_a_url_it_is_given(stoa: Stoa, admin: Person, app_id: str) -> None:
    new = new_app_file(app_id, "out.csv", "text/csv", None, 8)

    async def write(ctx: Ctx) -> str:
        return links.writing(ctx, new, life_s=60)

    nonce = await within(stoa, write)
    path = f"/api/v1/storage/upload/{nonce}"
    assert stoa.client().post(path, content=b"too short"[:5]).status_code == 400
    assert stoa.client().post(path, content=b"too long by far").status_code == 400
    answer = stoa.client().post(path, content=b"a,b\n1,2\n")
    assert (answer.status_code, answer.json()) == (200, {"file_id": str(new.id)})
    again = stoa.client().post(path, content=b"a,b\n3,4\n")
    assert again.status_code == 409
    assert admin.client.get(f"/api/v1/apps/{app_id}/storage/{new.id}").content == b"a,b\n1,2\n"
    [row] = stoa.sql("SELECT name, media_type, uploaded_by FROM stoa.app_files WHERE id = $1", new.id)
    assert dict(row) == {"name": "out.csv", "media_type": "text/csv", "uploaded_by": None}


async def test_deployed_code_reads_a_file_by_a_url_it_is_given(stoa: Stoa, admin: Person, app_id: str) -> None:
    id = given(admin, app_id, content=b"for the worker")
    row = AppFile(id=UUID(id), tenant_id=UUID(int=0))

    async def read(ctx: Ctx) -> str:
        return links.reading(ctx, row, life_s=300)

    nonce = await within(stoa, read)
    assert stoa.client().get(f"/api/v1/storage/download/{nonce}").content == b"for the worker"
    assert stoa.client().get(f"/api/v1/storage/download/{nonce[:-1]}").status_code == 404
    assert admin.client.delete(f"/api/v1/apps/{app_id}/storage/{id}").status_code == 200
    assert stoa.client().get(f"/api/v1/storage/download/{nonce}").status_code == 404
