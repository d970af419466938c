"""RootCX's acceptance behaviours about deployed code (34 to 39, 57 and 59), by their numbers.

The slow ones (a handler of 40 s, five crashes with their pauses) run beside the others: they begin with the module.
"""

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests import build
from tests.harness import Person, Stoa
from tests.workers.hosting import (
    ECHO,
    App,
    RunningHost,
    archive,
    deploy,
    deployed,
    eventually,
    hosting,
    listening,
)


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa) as running:
        yield running


@pytest.fixture(scope="module")
def echo(admin: Person, host: RunningHost) -> App:
    return deployed(admin, "echo", ECHO)


@pytest.fixture(scope="module", autouse=True)
def slow(admin: Person, host: RunningHost) -> Iterator[dict[str, Future[Any]]]:
    """What takes long, under way from the beginning."""
    with ThreadPoolExecutor(2) as threads:
        yield {
            "sleeper": threads.submit(_call_the_sleeper, admin),
            "crasher": threads.submit(_watch_the_crasher, admin),
        }


def _call_the_sleeper(admin: Person) -> tuple[float, httpx.Response, Any]:
    app = deployed(admin, "sleeper", ECHO)
    asked: Future[httpx.Response] = Future()

    def ask() -> None:
        with httpx.Client(base_url=admin.client.base_url, headers=admin.client.headers, timeout=60) as client:
            body = {"method": "sleep", "params": {"ms": 40_000}}
            asked.set_result(client.post("/api/v1/apps/sleeper/rpc", json=body))

    began = time.monotonic()
    threading.Thread(target=ask, daemon=True).start()
    answer = asked.result(50)
    return time.monotonic() - began, answer, app.call("echo", {"still": "there"})


def _watch_the_crasher(admin: Person) -> tuple[list[dict[str, str]], list[float], str]:
    """The log of a worker that ends as soon as it starts, when each line came, and its status then."""
    assert deploy(admin, "crasher", "setTimeout(() => Deno.exit(3), 400)").status_code == 200
    app, times = App(admin, "crasher"), [time.monotonic()]
    with listening(admin, "crasher") as log:
        while not any("crash loop" in text for text in log.messages("system")):
            crashes = sum("worker crashed" in text for text in log.messages("system"))
            while len(times) <= crashes:
                times.append(time.monotonic())
            assert time.monotonic() - times[0] < 40, log.lines
            time.sleep(0.02)
        return log.lines, [*times[1:], time.monotonic()], app.status()


def test_34_a_method_is_called_and_its_value_is_the_answer(echo: App) -> None:
    assert echo.rpc("echo", {"x": 1}).content == b'{"x":1}'
    assert echo.rpc("echo").content == b"{}"
    assert echo.rpc("say", {"text": "hi"}).content == b"null"
    thrown = echo.rpc("fails")
    assert (thrown.status_code, thrown.json()["error"]) == (500, "no such luck")
    unknown = echo.rpc("nothing_of_the_kind")
    assert (unknown.status_code, unknown.json()["error"]) == (500, "unknown method: nothing_of_the_kind")
    nameless = echo.person.client.post("/api/v1/apps/echo/rpc", json={"params": {}})
    assert (nameless.status_code, nameless.json()["error"]) == (400, "method is required")


def test_36_archives_that_are_taken_and_those_that_are_not(echo: App) -> None:
    def refused(packed: bytes) -> tuple[int, str]:
        answer = echo.person.client.post("/api/v1/apps/echo/deploy", files={"archive": ("a.tgz", packed)})
        return answer.status_code, answer.json()["error"]

    for name in ("../x", "/etc/x", "a/../../x"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            tar.addfile(tarfile.TarInfo(name))
        status, error = refused(packed.getvalue())
        assert status == 400
        assert error.startswith(f"unsafe archive entry: '{name}'")
    assert refused(b"") == (400, "empty archive")
    status, error = refused(os.urandom(2000))
    assert (status, "extract archive" in error) == (500, True)
    status, error = refused(archive({"readme.md": "nothing to run"}))
    assert (status, "no entry point" in error) == (500, True)
    assert echo.call("echo", {"the old one": "runs on"}) == {"the old one": "runs on"}
    good = echo.person.client.post("/api/v1/apps/echo/deploy", files={"whatever": ("a", archive({"main.js": ECHO}))})
    assert (good.status_code, good.json()) == (200, {"message": "app 'echo' deployed and started"})
    assert echo.call("echo", {"x": 2}) == {"x": 2}
    nothing = echo.person.client.post("/api/v1/apps/echo/deploy")
    assert nothing.status_code == 400
    system = echo.person.client.post("/api/v1/apps/core/deploy", files={"archive": ("a", archive({"main.js": ECHO}))})
    assert (system.status_code, "reserved" in system.json()["error"]) == (400, True)


def test_38_what_a_worker_logs_comes_as_frames(echo: App) -> None:
    with listening(echo.person, "echo") as log:
        echo.call("say", {"text": "sorted 12 parcels"})
        eventually(lambda: log.lines)
        frame = b'data: {"level":"info","message":"sorted 12 parcels"}\n\n'
        assert frame in log.raw
        assert b"\r" not in log.raw
        assert b"event:" not in log.raw
        assert b"id:" not in log.raw
        assert log.content_type.startswith("text/event-stream")
        assert log.raw.startswith(b":\n\n")  # and again every 15 s: see the engine's own tests


def test_39_secrets_are_in_the_environment_and_nothing_of_ours_is(fresh: Stoa) -> None:
    admin = fresh.person("admin")

    def keep(where: str, key: str, value: str) -> None:
        assert admin.client.post(f"/api/v1/{where}/secrets", json={"key": key, "value": value}).status_code == 200

    for where, value in (("platform", "from the platform"), ("apps/keeper", "the app's own")):
        keep(where, "SHARED", value)
    keep("platform", "ONLY_PLATFORM", "p")
    with hosting(fresh):
        seen_by = "serve({rpc: {seen: (p, c, ctx) => ({environment: Deno.env.toObject(), given: ctx.credentials})}})"
        keeper, other = deployed(admin, "keeper", seen_by), deployed(admin, "other", seen_by)
        seen = keeper.call("seen")
        assert seen["given"] == {"ONLY_PLATFORM": "p", "SHARED": "the app's own"}
        environment = seen["environment"]
        assert (environment["SHARED"], environment["ONLY_PLATFORM"]) == ("the app's own", "p")
        assert environment["ROOTCX_APP_ID"] == "keeper"
        assert not [name for name in environment if name.startswith("STOA") or "DATABASE" in name or "JWT" in name]
        assert not [value for value in environment.values() if "postgresql://" in value or "redis" in value]
        assert other.call("seen")["given"] == {"ONLY_PLATFORM": "p", "SHARED": "from the platform"}
        keep("apps/keeper", "SHARED", "changed")
        assert keeper.call("seen")["given"]["SHARED"] == "the app's own"  # they are read when a worker begins
        keep("platform", "ONLY_PLATFORM", "p2")  # those of the platform begin all workers anew
        eventually(lambda: keeper.rpc("seen").json().get("given") == {"ONLY_PLATFORM": "p2", "SHARED": "changed"})


def test_57_with_an_app_its_code_goes(admin: Person, host: RunningHost) -> None:
    manifest = build.manifest(build.entity("notes", build.field("title")), app_id="leaver")
    assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200
    leaver = deployed(admin, "leaver", ECHO)
    pid = host.pid("leaver")
    assert admin.client.delete("/api/v1/apps/leaver").status_code == 200
    gone = admin.client.get("/api/v1/apps/leaver/worker/status")
    assert (gone.status_code, "no worker" in gone.json()["error"]) == (500, True)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 5)
    assert "no entry point" in leaver.error("echo")
    assert admin.client.delete("/api/v1/apps/leaver").status_code == 200
    assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200
    assert deployed(admin, "leaver", ECHO).call("echo", {"x": 1}) == {"x": 1}


def test_59_pages_of_an_app(admin: Person, stoa: Stoa) -> None:
    pages = {"index.html": "<h1>Atelier</h1>", "assets/app-1f2e.js": "let x = 1", "img/logo.svg": "<svg/>"}
    answer = admin.client.post("/api/v1/apps/atelier/frontend", files={"archive": ("f.tgz", archive(pages))})
    assert (answer.status_code, answer.json()) == (
        200,
        {"message": "frontend for 'atelier' deployed", "url": "/apps/atelier/"},
    )
    with httpx.Client(base_url=stoa.base_url) as anybody:
        for path in ("", "parcels/12", "index.html", "assets/nothing.js"):
            page = anybody.get(f"/apps/atelier/{path}")
            assert (page.status_code, page.text) == (200, "<h1>Atelier</h1>")
            assert page.headers["cache-control"] == "public, max-age=60, must-revalidate"
            assert page.headers["content-type"].startswith("text/html")
        asset = anybody.get("/apps/atelier/assets/app-1f2e.js")
        assert (asset.status_code, asset.text) == (200, "let x = 1")
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-type"].startswith("text/javascript")
        for path in ("/apps/nobody/", "/apps/atelier/..%2f..%2fetc/passwd", "/apps/atelier/..\\x"):
            assert anybody.get(path).status_code == 404


def test_35_a_handler_that_takes_too_long(slow: dict[str, Future[Any]]) -> None:
    seconds, answer, other = slow["sleeper"].result(60)
    assert 29 < seconds < 33
    assert (answer.status_code, answer.json()["error"]) == (500, "rpc timeout (30s)")
    assert other == {"still": "there"}


def test_37_a_worker_that_crashes_is_brought_back_and_given_up(slow: dict[str, Future[Any]], admin: Person) -> None:
    lines, crashes, status = slow["crasher"].result(60)
    system = [line["message"] for line in lines if line["level"] == "system"]
    assert status == "crashed"
    restarts = [f"restarting worker (attempt {again})" for again in (1, 2, 3, 4)]
    said = [text for text in system if text.startswith("restarting")]
    assert said == restarts[-len(said) :]  # we may not have listened from the first on
    assert len(said) >= 3
    assert "worker crashed: it ended with exit code 3" in system
    assert system[-1].startswith("crash loop: 5 crashes within 60 s")
    pauses = [later - earlier for earlier, later in pairwise(crashes)]
    for pause, wanted in zip(reversed(pauses), (8, 4, 2), strict=False):
        assert wanted < pause < wanted + 10, pauses  # on a machine that may have others to serve
    app = App(admin, "crasher")
    assert "crashed too often" in app.error("echo")
    assert app.start().json() == {"message": "worker 'crasher' started"}
    assert app.status() in ("running", "starting")
    assert json.loads(app.stop().content) == {"message": "worker 'crasher' stopped"}
