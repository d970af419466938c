"""Imports of many rows: in bounded memory, followed while they run, and never half."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tests import build
from tests.harness import Databases, Person, Stoa, running

ROWS = 100_000
GROWTH_BYTES_MAX = 100 * 2**20
ONE = "query($id: UUID!) { recordImport(id: $id) { state read created failed } }"


def lines(rows: int) -> bytes:
    """A table of so many rows, of which every thousandth is bad."""
    text = "code,weight,note\n"
    return (text + "".join(f"P-{n},{n if n % 1000 else 'x'},{'note ' * 10}\n" for n in range(1, rows + 1))).encode()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def watched() -> Iterator[list[int]]:
    """How much more memory the process takes at most than at the beginning, in bytes, as a list of one at the end."""
    before, most, done = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident_bytes() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def test_many_rows_come_in_without_being_held_and_can_be_followed(stoa: Stoa, admin: Person) -> None:
    fields = [build.field("code", is_primary_key=True), build.field("weight", "number"), build.field("note")]
    app = build.app(admin, build.entity("parcels", *fields))
    id, seen = str(uuid4()), []
    content = lines(ROWS)

    def follow() -> None:
        person = stoa.signed_in("admin")
        while not seen or seen[-1]["state"] == "RUNNING":
            told = person.graphql(ONE, id=id)
            if told.get("data"):
                seen.append(told["data"]["recordImport"])
            time.sleep(0.1)

    follower = threading.Thread(target=follow)
    follower.start()
    with watched() as growth:
        answer = admin.client.post(
            f"/records/{app.app_id}/parcels/import",
            files={"file": ("parcels.csv", content, "text/csv")},
            params={"id": id, "skipBad": "true"},
            timeout=120,
        )
    follower.join()
    told = answer.json()
    assert (told["import"]["state"], told["rows"]) == ("DONE", [])
    assert [told["import"][name] for name in ("read", "created", "failed")] == [ROWS, ROWS - 100, 100]
    assert told["import"]["errors"][-1]["line"] == ROWS + 1
    assert app.query("parcels", limit=1)["total"] == ROWS - 100
    assert growth[0] < GROWTH_BYTES_MAX
    reads = [one["read"] for one in seen]
    assert (reads, seen[-1]["state"]) == (sorted(reads), "DONE")
    assert any(0 < one["read"] < ROWS and one["state"] == "RUNNING" for one in seen)


def test_an_import_whose_connection_dies_leaves_nothing_behind(stoa: Stoa, admin: Person) -> None:
    app = build.app(admin, build.entity("parcels", build.field("code"), build.field("weight"), build.field("note")))
    id = str(uuid4())
    answers = []

    def send() -> None:
        file = {"file": ("parcels.csv", lines(50_000), "text/csv")}
        where = f"/records/{app.app_id}/parcels/import"
        answers.append(admin.client.post(where, files=file, params={"id": id}, timeout=120))

    sender = threading.Thread(target=send)
    sender.start()
    while not (told := admin.graphql(ONE, id=id).get("data")) or told["recordImport"]["read"] == 0:
        assert sender.is_alive(), answers
        time.sleep(0.05)
    stoa.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND query LIKE '%import_rows%'"
    )
    sender.join()
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["code"] == "UNAVAILABLE"
    assert app.query("parcels")["total"] == 0
    assert admin.data(ONE, id=id)["recordImport"]["state"] == "FAILED"


def test_a_portion_that_is_refused_is_done_with_before_its_halves(
    databases: Databases, valkey_url: str, tmp_path: Path, postgres_log: Path
) -> None:
    """Savepoints that stay open make every statement behind them slower: 4000 equal keys took over a minute."""
    with running(databases.logged(), valkey_url, tmp_path) as stoa:
        admin = stoa.person("admin")
        app = build.app(admin, build.entity("parcels", build.field("code", is_primary_key=True), build.field("note")))
        table = "code,note\n" + "".join(f"a,{n}\n" for n in range(8))
        told = admin.client.post(
            f"/records/{app.app_id}/parcels/import",
            files={"file": ("parcels.csv", table, "text/csv")},
            params={"write": "upsert", "key": "code"},
        ).json()["import"]
        assert (told["created"], told["updated"]) == (1, 7)
        assert app.query("parcels")["data"][0]["note"] == "7"
    log = postgres_log.read_text()
    assert log.count(": SAVEPOINT portion") == log.count(": RELEASE SAVEPOINT portion") > 1
