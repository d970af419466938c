"""The worker of one app: its process, brought back when it dies, given up when it dies too often."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

from domain.kernel.errors import Failed
from domain.workers.ports import LogLine, WorkerState
from infra.logs import get_logger
from infra.workers.logs import LogHub
from infra.workers.process import Message, WorkerProcess
from infra.workers.sandbox import LaunchFailed

# RootCX worker protocol, "restart": at once, then after 2, 4, 8 s; five crashes within a minute are too many.
CRASHES_MAX, CRASHES_S = 5, 60.0
BACKOFF_S = (0.0, 2.0, 4.0, 8.0)

Launch = Callable[[], Awaitable[tuple[WorkerProcess, Message]]]
Changed = Callable[[WorkerState], None]

log = get_logger(__name__)


class SupervisedWorker:
    """One app's worker on this host. `launch` starts a process and gives what it is to be told first."""

    def __init__(self, app_id: str, launch: Launch, changed: Changed, hub: LogHub) -> None:
        self.state = WorkerState.STOPPED
        self.hub = hub
        self._app_id = app_id
        self._launch = launch
        self._changed = changed
        self._process: WorkerProcess | None = None
        self._crashes: deque[float] = deque(maxlen=CRASHES_MAX)
        self._supervising: asyncio.Task[None] | None = None
        self._settled = asyncio.Condition()  # told of each change of state
        self._first: asyncio.Future[None] | None = None  # of a start that somebody waits for

    # What people do.

    async def start(self) -> None:
        """Run it, if it does not; with an empty history if it had crashed. Raises Failed when it cannot be launched."""
        if self._supervising is None or self._supervising.done():
            self._crashes.clear()
            self._first = asyncio.get_running_loop().create_future()
            self._supervising = asyncio.create_task(self._supervise())
        if self._first is not None:
            await asyncio.shield(self._first)

    async def stop(self) -> None:
        """End it, and leave it so."""
        if self._supervising is not None:
            await self._end(WorkerState.STOPPING)
            await self._become(WorkerState.STOPPED)
            self.say("worker stopped")

    async def restart(self) -> None:
        """End it, if it runs, and run it anew; who asks for it meanwhile waits. Raises Failed as `start` does."""
        if self._supervising is not None:
            await self._end(WorkerState.STARTING)
            self.say("worker stopped")
        await self.start()

    async def _end(self, state: WorkerState) -> None:
        supervising, self._supervising = self._supervising, None
        await self._become(state)
        if self._process is not None:
            await self._process.stop()
        if supervising is not None:
            supervising.cancel()
            await asyncio.gather(supervising, return_exceptions=True)

    async def process(self) -> WorkerProcess:
        """The process, once it runs. Raises Failed when it will not."""
        while self._process is None or self.state is not WorkerState.RUNNING:
            if self.state is WorkerState.CRASHED:
                raise Failed(f"the worker of '{self._app_id}' has crashed too often: start it again")
            if self.state not in (WorkerState.STARTING, WorkerState.RUNNING):
                raise Failed(f"no worker is running for '{self._app_id}': it was stopped")
            async with self._settled:
                await self._settled.wait()
        return self._process

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        return None if self._process is None else self._process.pid

    def end(self, why: str) -> None:
        """End the process because of this; it counts as a crash."""
        if self._process is not None:
            self._process.end(why)

    def say(self, message: str) -> None:
        """A line about the worker's life, in its log."""
        self.hub.say(LogLine("system", message))

    # Looking after it.

    async def _become(self, state: WorkerState) -> None:
        if state is not self.state:
            self.state = state
            self._changed(state)
        async with self._settled:
            self._settled.notify_all()

    async def _supervise(self) -> None:
        again = 0
        try:
            while True:
                await self._become(WorkerState.STARTING)
                how = await self._run(again)
                if self._supervising is not asyncio.current_task():
                    return  # somebody ends it
                self._crashes.append(monotonic())
                self.say(f"worker crashed: {how}")
                log.warning("worker_crashed", app=self._app_id, how=how)
                recent = [at for at in self._crashes if monotonic() - at < CRASHES_S]
                if len(recent) >= CRASHES_MAX:
                    self.say(f"crash loop: {CRASHES_MAX} crashes within {CRASHES_S:g} s, not restarted any more")
                    await self._become(WorkerState.CRASHED)
                    return
                again = len(recent)
                await self._become(WorkerState.STARTING)
                self.say(f"restarting worker (attempt {again})")
                await asyncio.sleep(BACKOFF_S[min(again, len(BACKOFF_S)) - 1])
        finally:
            self._tell_first(None)

    async def _run(self, again: int) -> str:
        """Run one process. How it ended."""
        try:
            process, discover = await self._launch()
        except LaunchFailed as problem:
            self.say(f"spawn failed: {problem}")
            self._tell_first(Failed(f"the worker of '{self._app_id}' cannot be started: {problem}"))
            return str(problem)
        self._process = process
        try:
            await self._become(WorkerState.RUNNING)
            self.say("worker restarted" if again else "worker started")
            self._tell_first(None)
            code = await process.run(discover)
            return process.why or f"it ended with exit code {code}"
        finally:
            self._process = None
            await process.close()

    def _tell_first(self, problem: Failed | None) -> None:
        first, self._first = self._first, None
        if first is None or first.done():
            return
        with suppress(asyncio.InvalidStateError):
            if problem is None:
                first.set_result(None)
            else:
                first.set_exception(problem)
                first.exception()  # nobody need wait for it
