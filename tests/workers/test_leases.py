"""Which host runs an app: one at a time, and the next one when it is gone."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from infra.workers.leases import Elsewhere, Leases
from tests.harness import Person, Stoa
from tests.workers.hosting import ECHO, App, RunningHost, deployed, eventually, hosting

APP = "SELECT host_id::text AS host, wanted, state FROM stoa.app_workers WHERE app_id = $1"
LAPSE = """
WITH gone AS (UPDATE stoa.worker_hosts SET heartbeat_at = now() - interval '1 hour' WHERE id = $1::uuid)
UPDATE stoa.app_workers SET leased_until = now() - interval '1 minute' WHERE host_id = $1::uuid
"""


@pytest.fixture(scope="module")
def second(stoa: Stoa, host: RunningHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """Another host for the same server, in a folder of its own."""
    with hosting(stoa, folder=tmp_path_factory.mktemp("second")) as running:
        yield running


def host_of(stoa: Stoa, app_id: str) -> str | None:
    rows = stoa.sql(APP, app_id)
    return rows[0]["host"] if rows else None


def test_an_app_runs_on_one_host_and_any_process_reaches_it(
    stoa: Stoa, admin: Person, host: RunningHost, second: RunningHost
) -> None:
    apps = [deployed(admin, f"spread{n}", ECHO) for n in range(6)]
    hosts = {str(host.host.id): host, str(second.host.id): second}
    for app in apps:
        assert app.call("echo", {"app": app.id}) == {"app": app.id}
        assert host_of(stoa, app.id) in hosts
        runs = [id for id, running in hosts.items() if app.id in {name for _, name in running.host._workers}]
        assert runs == [host_of(stoa, app.id)]
    assert {host_of(stoa, app.id) for app in apps} == hosts.keys()  # by lot: one in 32 would fall to one of them


def test_who_has_no_lease_is_sent_elsewhere(stoa: Stoa, admin: Person, host: RunningHost) -> None:
    app = deployed(admin, "claimed", ECHO)
    (row,) = stoa.sql("SELECT tenant_id FROM stoa.app_workers WHERE app_id = 'claimed'")
    stranger = Leases(host.platform.fetch, uuid4(), "unix:/nowhere")

    async def claim() -> str:
        try:
            await stranger.claim((row["tenant_id"], "claimed"))
        except Elsewhere:
            return "elsewhere"
        return "here"

    assert host.do(claim()) == "elsewhere"
    assert app.call("echo", 1) == 1


def test_what_a_host_that_is_gone_had_is_taken_over(
    stoa: Stoa, admin: Person, tmp_path: Path, host: RunningHost
) -> None:
    with hosting(stoa, folder=tmp_path) as gone:
        app = _on(stoa, admin, gone)
        pid = gone.pid(app.id)
        stoa.sql(LAPSE, str(gone.host.id))
        eventually(lambda: host_of(stoa, app.id) not in (None, str(gone.host.id)), 15)
        assert app.call("echo", {"still": "here"}) == {"still": "here"}
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), 10)  # it has noticed that the app is its own no more


def test_a_host_that_leaves_hands_over_at_once(stoa: Stoa, admin: Person, tmp_path: Path, host: RunningHost) -> None:
    with hosting(stoa, folder=tmp_path) as leaving:
        app = _on(stoa, admin, leaving)
    # The first call may meet the connection that has gone: whether it was heard there nobody can tell.
    eventually(lambda: app.rpc("echo", {"moved": True}).status_code == 200, 5)
    assert host_of(stoa, app.id) not in (None, str(leaving.host.id))


def _on(stoa: Stoa, admin: Person, wanted: RunningHost) -> App:
    """An app that runs on this host."""
    for n in range(64):
        app = deployed(admin, f"on{n}_{wanted.host.id.hex[:8]}", ECHO)
        if host_of(stoa, app.id) == str(wanted.host.id):
            return app
    raise AssertionError("none of them fell to it")
