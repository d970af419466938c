"""A worker host in a thread of the test process, and apps deployed to it through the front door."""

import asyncio
import io
import tarfile
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from infra.platform import Platform
from infra.workers.host import Host
from infra.workers.host_folder import HostFolder
from infra.workers.hosting import work
from infra.workers.sandbox import Sandbox
from tests.harness import Person, Stoa

T = TypeVar("T")

ECHO = """
serve({rpc: {
  echo: (params) => params,
  caller: (params, caller) => caller,
  fails: () => { throw new Error("no such luck") },
  sleep: async ({ms}) => { await new Promise((resolve) => setTimeout(resolve, ms)); return "awake" },
  say: ({text}) => { log.info(text); return null },
  environment: () => Deno.env.toObject(),
}});
"""

PYTHON_ECHO = """
from stoa import serve
import asyncio

async def sleep(params, caller, ctx):
    await asyncio.sleep(params["ms"] / 1000)
    return "awake"

serve({"echo": lambda params, caller, ctx: params, "caller": lambda params, caller, ctx: caller, "sleep": sleep})
"""


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A gzip tar of these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            body = content.encode() if isinstance(content, str) else content
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


class RunningHost:
    """A host, and the loop it runs in."""

    def __init__(self, host: Host, platform: Platform, loop: asyncio.AbstractEventLoop) -> None:
        self.host = host
        self.platform = platform
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, T], within_s: float = 60) -> T:
        """What a coroutine comes to in the host's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def worker(self, app_id: str) -> Any:
        """The app's worker on this host."""
        return next(worker for (_, app), worker in self.host._workers.items() if app == app_id)

    def pid(self, app_id: str) -> int:
        """The pid of the app's process."""
        pid: int | None = self.worker(app_id).pid
        assert pid is not None
        return pid


@contextmanager
def hosting(stoa: Stoa, folder: Path | None = None, **settings: Any) -> Iterator[RunningHost]:
    """A host for this server, until the end of the block."""
    chosen = replace(stoa.app._settings, **settings)
    started: Future[RunningHost] = Future()
    stopping = asyncio.Event()

    async def run() -> None:
        held = HostFolder.take(folder or chosen.data_dir)
        try:
            async with Platform.open(chosen, stoa.database_url, stoa.valkey_url) as platform:
                host = Host(platform, held, await Sandbox(held.path).tried())
                loop = asyncio.get_running_loop()
                ready = lambda: started.set_result(RunningHost(host, platform, loop))  # noqa: E731
                hosted = asyncio.create_task(work(platform, host, ready))
                await asyncio.wait({hosted, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
                if not started.done():
                    hosted.result()
                hosted.cancel()
                with suppress(asyncio.CancelledError):
                    await hosted
        finally:
            held.release()

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as problem:
            if started.done():
                raise
            started.set_exception(problem)

    running = threading.Thread(target=thread, daemon=True)
    running.start()
    host = started.result(30)
    try:
        yield host
    finally:
        host._loop.call_soon_threadsafe(stopping.set)
        running.join(15)
        assert not running.is_alive(), "the host did not stop"


def deploy(person: Person, app_id: str, files: Mapping[str, str | bytes] | str) -> httpx.Response:
    """Deploy these files, or the one file `index.ts`."""
    packed = archive({"index.ts": files} if isinstance(files, str) else files)
    return person.client.post(f"/api/v1/apps/{app_id}/deploy", files={"archive": ("app.tar.gz", packed)})


def deployed(person: Person, app_id: str, files: Mapping[str, str | bytes] | str) -> "App":
    """An app that was deployed and runs."""
    answer = deploy(person, app_id, files)
    assert answer.status_code == 200, answer.text
    return App(person, app_id)


class App:
    """A deployed app, as one person sees it."""

    def __init__(self, person: Person, app_id: str) -> None:
        self.person = person
        self.id = app_id

    def as_(self, person: Person) -> "App":
        """The same app for somebody else."""
        return App(person, self.id)

    def rpc(self, method: str, params: Any = None, **more: Any) -> httpx.Response:
        """The answer to a call."""
        body = {"method": method, **({} if params is None else {"params": params})}
        return self.person.client.post(f"/api/v1/apps/{self.id}/rpc", json=body, **more)

    def call(self, method: str, params: Any = None) -> Any:
        """The value of a call that must succeed."""
        answer = self.rpc(method, params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def error(self, method: str, params: Any = None) -> str:
        """The error of a call that must fail in the app."""
        answer = self.rpc(method, params)
        assert answer.status_code == 500, answer.text
        text: str = answer.json()["error"]
        return text

    def status(self) -> str:
        """The worker's status."""
        answer = self.person.client.get(f"/api/v1/apps/{self.id}/worker/status")
        assert answer.status_code == 200, answer.text
        status: str = answer.json()["status"]
        return status

    def start(self) -> httpx.Response:
        return self.person.client.post(f"/api/v1/apps/{self.id}/worker/start")

    def stop(self) -> httpx.Response:
        return self.person.client.post(f"/api/v1/apps/{self.id}/worker/stop")


class Lines:
    """The log of an app as it comes over REST: raw frames, and what they say."""

    def __init__(self, person: Person, app_id: str) -> None:
        self.raw = b""
        self.content_type = ""
        self._listening = threading.Event()
        self._client = httpx.Client(
            base_url=person.client.base_url, headers={"authorization": f"Bearer {person.token}"}, timeout=60
        )
        self._path = f"/api/v1/apps/{app_id}/logs"
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._listening.wait(10), "nobody answered"

    def _read(self) -> None:
        with suppress(httpx.HTTPError, OSError), self._client.stream("GET", self._path) as response:
            assert response.status_code == 200, response.read()
            self.content_type = response.headers["content-type"]
            self._response = response
            for chunk in response.iter_raw():
                self.raw += chunk
                self._listening.set()

    @property
    def lines(self) -> list[dict[str, str]]:
        """What was said so far."""
        import json

        frames = self.raw.decode().split("\n\n")[:-1]
        return [json.loads(frame.removeprefix("data: ")) for frame in frames if frame.startswith("data: ")]

    def messages(self, level: str) -> list[str]:
        """What was said so far on one level."""
        return [line["message"] for line in self.lines if line["level"] == level]

    def close(self) -> None:
        if self._response is not None:
            with suppress(Exception):
                self._response.extensions["network_stream"].close()
        self._client.close()
        self._thread.join(2)


@contextmanager
def listening(person: Person, app_id: str) -> Iterator[Lines]:
    """The app's log from now on, until the end of the block."""
    lines = Lines(person, app_id)
    try:
        yield lines
    finally:
        lines.close()


def eventually(condition: Callable[[], Any], within_s: float = 10) -> Any:
    """What the condition comes to once it is true; fails when it is not in that time."""
    waiting = threading.Event()
    for _ in range(int(within_s / 0.02)):
        found = condition()
        if found:
            return found
        waiting.wait(0.02)
    raise AssertionError(f"not within {within_s:g} s")
