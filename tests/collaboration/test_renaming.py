"""What belongs to records when their entity gets another name."""

from tests import build
from tests.collaboration.placing import on
from tests.collaboration.test_associations import PUT, edges, to
from tests.collaboration.test_comments import ADD, COMMENTS
from tests.collaboration.test_shares import SHARE, SHARES
from tests.collaboration.test_views import CREATE, VIEWS
from tests.harness import Person


def test_what_belongs_to_records_goes_with_them_under_another_name(admin: Person) -> None:
    fields = build.field("name")
    app = build.app(admin, build.entity("notes", fields, trash=True), build.entity("others", fields), dialect="stoa")
    note, other = app.create("notes", name="a"), app.create("others", name="b")
    admin.data(ADD, **on(app, note, "notes"), body="hello")
    admin.data(SHARE, **on(app, note, "notes"), recipient={"type": "USER", "id": admin.id})
    admin.data(PUT, **on(app, note, "notes"), type="leads_to", **to(other, "others"))
    admin.data(PUT, **on(app, other, "others"), type="leads_back", **to(note, "notes"))
    admin.data(CREATE, app=app.app_id, entity="notes", view={"name": "mine", "columns": ["name"]})
    manifest = build.manifest(
        build.entity("memos", fields, trash=True, renamedFrom="notes"), build.entity("others", fields),
        app_id=app.app_id, dialect="stoa",
    )  # fmt: skip
    assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200
    memo = on(app, note, "memos")
    assert [one["body"] for one in admin.data(COMMENTS, **memo)["recordComments"]["nodes"]] == ["hello"]
    assert [one["recipientId"] for one in admin.data(SHARES, **memo)["recordShares"]] == [admin.id]
    assert sorted(edges(app, note, "memos")) == [
        ("leads_back", "INCOMING", other["id"]),
        ("leads_to", "OUTGOING", other["id"]),
    ]
    assert len(edges(app, other, "others")) == 2
    (view,) = admin.data(VIEWS, app=app.app_id, entity="memos")["savedViews"]
    assert (view["name"], view["problem"]) == ("mine", None)
