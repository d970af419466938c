"""What a worker's chore takes away of records that cannot come back any more."""

from datetime import UTC, datetime

from domain.collaboration import attached
from domain.kernel.ctx import ANONYMOUS, Ctx
from infra.ports import only
from infra.postgres.database import Database
from tests.build import Collections
from tests.collaboration.placing import delete, on
from tests.collaboration.test_associations import PUT, to
from tests.collaboration.test_comments import add
from tests.collaboration.test_shares import share
from tests.harness import Stoa, settled


def forget(stoa: Stoa) -> None:
    async def run() -> None:
        database = await Database.open(stoa.database_url, 1)
        try:
            async with database.unit(writes=True) as unit:
                await attached.forget_gone(Ctx(actor=ANONYMOUS, now=datetime.now(UTC), unit=unit, ports=only()))
                await unit.commit()
        finally:
            await database.close()

    settled(run())


def left(stoa: Stoa) -> list[int]:
    tables = ("record_comments", "record_associations", "record_shares")
    return [len(stoa.sql(f"SELECT FROM stoa.{table}")) for table in tables]


def test_what_belongs_to_a_record_goes_when_the_trash_lets_go_of_it(stoa: Stoa, desk: Collections) -> None:
    gone, kept, young = (desk.create("tickets", subject=name) for name in ("gone", "kept", "young"))
    for record in (gone, kept, young):
        add(desk.person, on(desk, record), "hello")
        share(desk, record, desk.person.id)
    desk.person.data(PUT, **on(desk, kept), type="blocks", **to(gone))
    desk.person.data(PUT, **on(desk, kept), type="blocks", **to(young))
    delete(desk, gone)
    delete(desk, young)
    stoa.sql("ALTER TABLE stoa.audit_log DISABLE TRIGGER append_only")
    aged = "UPDATE stoa.audit_log SET changed_at = changed_at - interval '31 days' WHERE record_id = $1"
    stoa.sql(aged, gone["id"])
    stoa.sql("ALTER TABLE stoa.audit_log ENABLE TRIGGER append_only")
    forget(stoa)
    assert left(stoa) == [2, 1, 2]
    assert stoa.sql("SELECT FROM stoa.record_comments WHERE record_id = $1", gone["id"]) == []
    forget(stoa)
    assert left(stoa) == [2, 1, 2]
