"""Hosts that come and go."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness import Databases, running
from tests.workers.hosting import App, archive, hosting

CODE = "serve({ rpc: { echo: (params) => params } });"


def test_a_call_waits_for_a_host_that_is_about_to_come_up(
    databases: Databases, valkey_url: str, tmp_path: Path
) -> None:
    with running(databases.new(), valkey_url, tmp_path, worker_wait=30) as stoa, ThreadPoolExecutor() as others:
        admin = stoa.person()
        files = {"archive": ("app.tgz", archive({"index.ts": CODE}))}
        early = others.submit(admin.client.post, "/api/v1/apps/early/deploy", files=files)
        time.sleep(0.5)
        assert not early.done()
        with hosting(stoa):
            assert (early.result().status_code, early.result().json()) == (
                200,
                {"message": "app 'early' deployed and started"},
            )
            assert App(admin, "early").call("echo", {"x": 1}) == {"x": 1}


def test_without_a_host_it_is_said_so(databases: Databases, valkey_url: str, tmp_path: Path) -> None:
    with running(databases.new(), valkey_url, tmp_path) as stoa:
        answer = stoa.person().client.post("/api/v1/apps/none/rpc", json={"method": "echo"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["error"] == "no worker host is running: deployed code needs `stoa worker`"
