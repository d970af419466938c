"""The keeper: one thread that launches our children, brings back those that die, and stops them in order.

One thread, because the kernel ties a child's life to the thread that launched it; a thread of its own, because the main
one runs the event loop, and must not be able to hold up a stop.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from infra.embedded.child import Stopped
from infra.failure import Failure
from infra.logs import get_logger

T = TypeVar("T")

TICK_S = 0.1
BACKOFF_S = (0.1, 0.2, 0.5, 1, 2, 5, 10)
# A child that has run this long was well: its next death is the first again.
WELL_S = 30.0
# From the call of `begin_stop` for what stands in front of the engines; then for the engines.
FRONT_STOP_S = 2.5
ENGINE_STOP_S = 1.3

log = get_logger(__name__)


class Service(Protocol):
    """A child the keeper can look after: an engine, the worker, a server process."""

    @property
    def name(self) -> str: ...

    def launch(self, departure_s: float = ...) -> None: ...
    def alive(self) -> bool: ...
    def last_words(self) -> str: ...
    def ask_to_stop(self) -> None: ...
    def stop(self, patience_s: float) -> None: ...


class Engine(Service, Protocol):
    """A service others wait for."""

    def wait_ready(self) -> None: ...


@dataclass
class _Charge:
    service: Service
    launched: float = field(default_factory=time.monotonic)
    deaths: int = 0
    relaunch_at: float | None = None


class Keeper(threading.Thread):
    """Engines and, in front of them, what uses them. `hurry` cuts the patience of a stop short."""

    def __init__(self) -> None:
        super().__init__(name="keeper", daemon=True)
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._engines: list[_Charge] = []
        self._front: list[_Charge] = []
        self._front_deadline = 0.0
        self._stopped = threading.Event()

    def start_engines(self, engines: Sequence[Engine]) -> "Future[None]":
        """Launch them all, then wait until each answers."""

        def work() -> None:
            for engine in engines:
                self._launch(engine, self._engines)
            for engine in engines:
                engine.wait_ready()

        return self._call(work)

    def start_front(self, service: Service) -> "Future[None]":
        """Launch a child that uses the engines."""
        return self._call(lambda: self._launch(service, self._front))

    def begin_stop(self) -> None:
        """Tell the front children to end. From here on nobody is brought back."""
        if not self.stopping.is_set():
            self._front_deadline = time.monotonic() + FRONT_STOP_S
            self.stopping.set()
            for charge in list(self._front):
                charge.service.ask_to_stop()

    def stop(self) -> None:
        """End all children, front ones first, and return when none is left."""
        self.begin_stop()
        self._call(self._stop_all)
        self._stopped.wait()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._calls.get(timeout=TICK_S)()
            except queue.Empty:
                if not self.stopping.is_set():
                    self._look_after()

    def _call(self, work: Callable[[], T]) -> "Future[T]":
        """Do it on the keeper's thread, between two looks at the children."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as problem:
                future.set_exception(problem)

        self._calls.put(run)
        return future

    def _launch(self, service: Service, tier: list[_Charge]) -> None:
        if self.stopping.is_set():
            raise Stopped
        service.launch()
        tier.append(_Charge(service))

    def _look_after(self) -> None:
        now = time.monotonic()
        for charge in [*self._engines, *self._front]:
            if charge.service.alive():
                continue
            if charge.relaunch_at is None:
                self._notice_death(charge, now)
            elif now >= charge.relaunch_at:
                self._relaunch(charge, now)

    def _notice_death(self, charge: _Charge, now: float) -> None:
        if now - charge.launched > WELL_S:
            charge.deaths = 0
        delay_s = BACKOFF_S[min(charge.deaths, len(BACKOFF_S) - 1)]
        charge.deaths += 1
        charge.relaunch_at = now + delay_s
        log.error("child_died", child=charge.service.name, again_in_s=delay_s, said=charge.service.last_words())

    def _relaunch(self, charge: _Charge, now: float) -> None:
        charge.relaunch_at = None
        charge.launched = now
        try:
            charge.service.launch(0)
        except Stopped:
            pass
        except (Failure, OSError) as problem:
            log.warning("child_not_back", child=charge.service.name, reason=str(problem))
        else:
            log.info("child_back", child=charge.service.name)

    def _stop_all(self) -> None:
        try:
            self._end(self._front, self._front_deadline)
            self._end(self._engines, time.monotonic() + ENGINE_STOP_S)
        finally:
            self._stopped.set()

    def _end(self, tier: list[_Charge], deadline: float) -> None:
        for charge in tier:
            charge.service.ask_to_stop()
        while any(charge.service.alive() for charge in tier):
            if self.hurry.wait(0.01) or time.monotonic() > deadline:
                break
        for charge in tier:
            if charge.service.alive():
                log.warning("child_killed", child=charge.service.name, reason="did not end in time")
            charge.service.stop(0)
