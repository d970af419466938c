"""A model that thinks on this machine: a program of its own, begun when somebody asks and ended when nobody has lately.

Apart from the server, since what it computes keeps cores busy and its memory is only given back with its process.
Nothing but this process speaks to it: its socket is in a folder that nobody else may enter.
"""

import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING

from domain.kernel.errors import Failed
from infra.embedded.child import Child
from infra.logs import get_logger

if TYPE_CHECKING:
    import httpx2

BEGIN_S_MAX = 300.0  # a large file takes its time to be read
IDLE_S = 300.0
STOP_S = 1.0
LOOK_S = 0.05
TOLD = ("PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")  # of our environment; nothing of it is a secret
ROOT = Path(__file__).parent.parent.parent
MISSING = "a local model needs llama-cpp-python: install Stoa with its extra, pip install 'stoa[local]'"

log = get_logger(__name__)


class LocalServer:
    """The program, and who uses it. `command` is what to run; it is given the socket to listen on last."""

    def __init__(self, command: Sequence[str], idle_s: float = IDLE_S) -> None:
        self._command = list(command)
        self._idle_s = idle_s
        self._folder: Path | None = None
        self._child: Child | None = None
        self._users = 0
        self._beginning = asyncio.Lock()
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """Of the program, while it runs."""
        return self._child.pid if self._child is not None and self._child.alive() else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It runs until the end of the block, and a while longer. Raises Failed with its last words if it does not."""
        self._users += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        try:
            async with self._beginning:
                if self.pid is None:
                    await self._begin()
            yield
        finally:
            self._users -= 1
            if self._users == 0:
                self._leaving = asyncio.get_running_loop().call_later(self._idle_s, self._end)

    async def _begin(self) -> None:
        socket = self.socket
        socket.unlink(missing_ok=True)
        environ = {name: os.environ[name] for name in TOLD if name in os.environ}
        log_file = socket.with_name("log")
        log_file.unlink(missing_ok=True)
        command = [*self._command, str(socket)]
        environ["PYTHONPATH"] = str(ROOT)
        # It has nothing to put in order when it is to end.
        self._child = Child("local model", command, socket.parent, stop_signal=SIGKILL, environ=environ, log=log_file)
        self._child.launch()
        log.info("local_model_begins", pid=self._child.pid)
        try:
            async with asyncio.timeout(BEGIN_S_MAX):
                while not socket.exists():
                    if not self._child.alive():
                        raise Failed(f"the local model cannot be begun: {self._child.last_words()}")
                    await asyncio.sleep(LOOK_S)
        except BaseException:
            self._end()
            raise

    @property
    def socket(self) -> Path:
        """Where it listens: in a folder made for it."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="stoa-model-"))
        return self._folder / "socket"

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.stop(STOP_S)
            log.info("local_model_ended")

    def client(self) -> "httpx2.AsyncClient":
        """A client for it alone, wherever its requests seem to go."""
        import httpx2

        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket))
        return httpx2.AsyncClient(transport=transport, timeout=None, trust_env=False)

    async def close(self) -> None:
        """End it."""
        if self._leaving is not None:
            self._leaving.cancel()
        await asyncio.to_thread(self._end)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def llama(file: Path, context_tokens: int) -> LocalServer:
    """The model of a GGUF file. Raises Failed where that is not there, or what reads it."""
    if importlib.util.find_spec("llama_cpp") is None:
        raise Failed(MISSING)
    if not file.is_file():
        log.error("local_model_missing", file=str(file))
        raise Failed("the local model's file is not there: STOA_LLM_MODEL is the path of a GGUF file")
    program = [sys.executable, "-m", "infra.agents.llama", str(file.absolute()), str(context_tokens)]
    return LocalServer(program)
