"""Running operations: who asks, one unit of work, one transaction, and what is told after it.

Everything that executes an operation comes through here, be it a GraphQL document, a REST route, a stream or a
tool: so that rights, limits, refusals, idempotency and logging are the same for all of them.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar
from uuid import UUID

from graphql import ExecutionResult, GraphQLError, OperationType

from domain.access.scope import Scope
from domain.idempotency import service as idempotency
from domain.identity.principals import Principals
from domain.kernel.ctx import ANONYMOUS, Actor, Ctx, Request
from domain.kernel.errors import (
    Code,
    Denied,
    DomainError,
    Limited,
    Missing,
    TimedOut,
    Unauthenticated,
    permission_denied,
)
from domain.kernel.events import Event
from domain.kernel.unit import Unit
from domain.kernel.upload import Upload
from domain.outbox import service as outbox
from domain.ports import Ports
from graph import errors, keeping
from graph.documents import Documents

TIMEOUT_S = 10.0
RECHECK_S = 5.0  # how often a stream looks whether its caller may still listen
STREAMS_MAX = 100  # of one user, at once

T = TypeVar("T")


class OpenUnit(Unit, Protocol):
    """A unit of work that its opener can end."""

    async def commit(self) -> None: ...


class Units(Protocol):
    """Opens units of work."""

    def unit(self, *, writes: bool, single: bool = False) -> AbstractAsyncContextManager[OpenUnit]: ...


class Observer(Protocol):
    """Hears of every operation that ran."""

    def ran(self, record: "Ran") -> None: ...


class Executable(Protocol):
    """An operation, whatever executes it: resolvers, or one statement it was compiled into."""

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        ...

    @property
    def public(self) -> bool:
        """Whether anybody may ask for it."""
        ...

    @property
    def kept(self) -> bool:
        """Whether its answer may be kept with a key: what public ones answer (tokens, say) is nobody's to keep."""
        ...

    @property
    def label(self) -> str:
        """What logs and metrics call it."""
        ...

    @property
    def name(self) -> str | None:
        """Its name in its document."""
        ...

    @property
    def source(self) -> str:
        """Its document's text, of one that is not stored."""
        ...

    @property
    def single(self) -> bool:
        """Whether it has one field, and that one may come to a single statement, as `Ctx.conclude` runs it."""
        ...

    async def execute(self, variables: Mapping[str, Any], ctx: Ctx) -> ExecutionResult:
        """Run the query or mutation. Raises DomainError, or has it among the result's errors."""
        ...

    async def subscribe(
        self, variables: Mapping[str, Any], ctx: Ctx
    ) -> ExecutionResult | AsyncIterator[ExecutionResult]:
        """Begin the subscription; the result that says why not, or one for each event."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and by which call. `refusal` is why a credential that was given does not tell who."""

    actor: Actor = ANONYMOUS
    request: Request = field(default_factory=Request)
    refusal: DomainError | None = None
    token: str | None = field(default=None, repr=False)
    simulated_by: UUID | None = None  # who looks at what this one would see

    @property
    def anonymous(self) -> bool:
        """Whether no good credential was given."""
        return self.actor.user_id is None


@dataclass(frozen=True, slots=True)
class Ran:
    """One operation that ran: for the log and the metrics."""

    label: str
    type: str
    outcome: str  # ok, or the code of the first error
    duration_s: float
    caller: Caller
    faults: Sequence[BaseException] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation came to. With errors, a mutation has no data: nothing of it was done."""

    data: dict[str, Any] | None
    errors: Sequence[GraphQLError] = ()
    replayed: bool = False

    @property
    def executed(self) -> bool:
        """Whether it came as far as being executed: then GraphQL tells of data, if only that there is none."""
        return self.data is not None or any(error.path for error in self.errors)


class Runner:
    """Runs operations. `documents` are those of the platform's own schema."""

    def __init__(
        self,
        documents: Documents,
        units: Units,
        ports: Ports,
        principals: Principals,
        observer: Observer,
        committed: Callable[[UUID, Sequence[Event]], None],
    ) -> None:
        self.documents = documents
        self._units = units
        self.ports = ports
        self._principals = principals
        self._observer = observer
        self._committed = committed
        self._streams: Counter[UUID | None] = Counter()  # open ones, by user

    async def caller(self, token: str | None, request: Request) -> Caller:
        """Who the credential stands for. A bad one is no error yet: public operations don't ask for any."""
        if token is None:
            return Caller(request=request)
        try:
            return Caller(await self._principals.actor(token), request, token=token)
        except DomainError as refusal:
            return Caller(request=request, refusal=refusal)

    async def simulated(self, caller: Caller, app_id: str, user_id: UUID) -> Caller:
        """Another user, as who administers an app may look through their eyes at its records: they see all of them.

        Raises Unauthenticated, Denied; Missing for no such user.
        """
        if caller.anonymous:
            raise caller.refusal or Unauthenticated("missing authorization header")
        key = Scope(app_id).admin_key
        if not caller.actor.grants.allows(key):
            raise permission_denied(key)
        try:
            actor = await self._principals.account(caller.actor.tenant_id, user_id)
        except Unauthenticated as refused:
            raise Missing("user not found", field="stoa-simulate") from refused
        return Caller(actor, caller.request, simulated_by=caller.actor.user_id)

    async def again(self, caller: Caller) -> Caller:
        """The caller as of now, on a connection that has been open for a while."""
        return caller if caller.token is None else await self.caller(caller.token, caller.request)

    async def run(
        self, operation: Executable, variables: Mapping[str, Any], caller: Caller, idempotency_key: str | None = None
    ) -> Answer:
        """Execute a query or a mutation."""
        started = time.perf_counter()
        try:
            self._admit(operation, caller)
            async with asyncio.timeout(TIMEOUT_S) as limit:
                if operation.type is OperationType.MUTATION:
                    answer = await self._mutate(operation, variables, caller, limit, idempotency_key)
                else:
                    answer = await self._query(operation, variables, caller, limit)
        except Exception as problem:
            answer = _failed(problem)
        return self._finished(operation, caller, answer, started)

    async def find(self, source: str, name: str | None, variables: Mapping[str, Any], caller: Caller) -> Executable:
        """The operation of that name in a document over the platform's own schema. Raises DocumentRefused."""
        return self.documents.operation(source, name, variables, anonymous=caller.anonymous)

    def refused_entry(self, operation: Executable, caller: Caller) -> DomainError | None:
        """Why this caller may not ask for the operation at all, whatever the input."""
        if caller.anonymous and not operation.public:
            return caller.refusal or Unauthenticated("missing authorization header")
        if caller.simulated_by is not None and operation.type is not OperationType.QUERY:
            return Denied("a simulation only reads")
        return None

    def _admit(self, operation: Executable, caller: Caller) -> None:
        refused = self.refused_entry(operation, caller)
        if refused is not None:
            raise refused

    def _ctx(self, caller: Caller, unit: Unit, limit: asyncio.Timeout | None = None) -> Ctx:
        return Ctx(
            actor=caller.actor,
            now=datetime.now(UTC),
            unit=unit,
            ports=self.ports,
            request=caller.request,
            apart=partial(self._apart, caller),
            limit=limit,
            refusal=caller.refusal,
        )

    async def perform(self, label: str, caller: Caller, work: Callable[[Ctx], Awaitable[T]]) -> T:
        """What `work` comes to in a unit of its own, committed: an operation that no document asks for.

        Raises what it is refused with.
        """
        started = time.perf_counter()
        outcome: str = "ok"
        faults: list[BaseException] = []
        try:
            async with asyncio.timeout(TIMEOUT_S) as limit:
                done: T = await self._apart(caller, work, limit)
                return done
        except DomainError as refused:
            outcome = refused.code
            raise
        except TimeoutError as late:
            outcome = Code.QUERY_TIMEOUT
            raise TimedOut(f"the operation took longer than {TIMEOUT_S:g} s") from late
        except Exception as problem:
            outcome, faults = Code.INTERNAL, [problem]
            raise
        finally:
            self._observer.ran(Ran(label, "internal", outcome, time.perf_counter() - started, caller, faults))

    async def _apart(
        self, caller: Caller, work: Callable[[Ctx], Awaitable[Any]], limit: asyncio.Timeout | None = None
    ) -> Any:
        """What `work` comes to in a unit of its own, committed."""
        async with self._units.unit(writes=True) as unit:
            ctx = self._ctx(caller, unit, limit)
            done = await work(ctx)
            await outbox.write(ctx)
            await unit.commit()
        self._committed(ctx.tenant_id, ctx.events)
        return done

    async def look(self, work: Callable[[Ctx], Awaitable[T]], caller: Caller | None = None) -> T:
        """What `work` reads; without a caller, for a bearer of a token of ours who needs be nobody."""
        async with self.reading(caller or Caller()) as ctx:
            return await work(ctx)

    @asynccontextmanager
    async def reading(self, caller: Caller) -> AsyncGenerator[Ctx, None]:
        """A context that reads for a caller, for as long as that takes."""
        async with self._units.unit(writes=False) as unit:
            yield self._ctx(caller, unit)

    async def account(self, tenant_id: UUID, user_id: UUID, request: Request) -> Caller:
        """A user as of now, for whom a token of ours speaks. Raises Unauthenticated."""
        return Caller(await self._principals.account(tenant_id, user_id), request)

    async def _query(
        self, operation: Executable, variables: Mapping[str, Any], caller: Caller, limit: asyncio.Timeout
    ) -> Answer:
        async with self._units.unit(writes=False) as unit:
            result = await operation.execute(variables, self._ctx(caller, unit, limit))
        return Answer(result.data, result.errors or ())

    async def _mutate(
        self,
        operation: Executable,
        variables: Mapping[str, Any],
        caller: Caller,
        limit: asyncio.Timeout,
        key: str | None,
    ) -> Answer:
        key = None if caller.anonymous or not operation.kept else key
        async with self._units.unit(writes=True, single=operation.single and key is None) as unit:
            ctx = self._ctx(caller, unit, limit)
            try:
                if key is None:
                    answer = await self._once(operation, variables, ctx)
                else:
                    answer = await self._answered(operation, variables, ctx, unit, key)
                if not answer.errors and not answer.replayed:
                    await outbox.write(ctx)
                    await unit.commit()
            except DomainError as refused:
                answer = Answer(None, [errors.refusal(refused)])
        if not answer.errors and not answer.replayed:
            self._committed(ctx.tenant_id, ctx.events)
        else:
            for work in ctx.refusal_work:
                await self._apart(caller, work)
        return answer

    async def _answered(
        self, operation: Executable, variables: Mapping[str, Any], ctx: Ctx, unit: OpenUnit, key: str
    ) -> Answer:
        """The operation's answer: kept with its key, or found there."""
        asked = idempotency.Keyed(ctx.user(), key, _hash(operation, variables))
        kept = await idempotency.answer_of(ctx, asked)
        if kept is not None:
            return Answer(keeping.restored(kept), replayed=True)
        looked = unit.uses

        async def let_go(most_s: float) -> None:
            """Nothing but the key was asked for: no connection waits with us, and others hear that we do."""
            if unit.uses == looked:
                await idempotency.claim(ctx, asked, most_s)
                await unit.commit()
                ctx.if_refused(lambda later: idempotency.give_up(later, asked))

        ctx.before_waiting = let_go
        answer = await self._once(operation, variables, ctx)
        if not answer.errors:
            if ctx.keeps_nothing:
                await idempotency.give_up(ctx, asked)
            else:
                await idempotency.keep_answer(ctx, asked, keeping.kept(answer.data))
        return answer

    async def _once(self, operation: Executable, variables: Mapping[str, Any], ctx: Ctx) -> Answer:
        result = await operation.execute(variables, ctx)
        return Answer(None if result.errors else result.data, result.errors or ())

    def _finished(self, operation: Executable, caller: Caller, answer: Answer, started: float) -> Answer:
        """The answer as the caller may see it; the observer is told of it, and of the errors as they are."""
        shown = _shown(answer, caller)
        outcome = str(errors.code_of(shown.errors[0])) if shown.errors else "ok"
        duration_s = time.perf_counter() - started
        faults = [error.original_error for error in answer.errors if errors.is_fault(error) and error.original_error]
        self._observer.ran(Ran(operation.label, operation.type.value, outcome, duration_s, caller, faults))
        return shown

    # Streams.

    async def stream(
        self, operation: Executable, variables: Mapping[str, Any], caller: Caller
    ) -> Answer | AsyncGenerator[Answer, None]:
        """Begin a subscription: the answer that refuses it, or an answer for each event from now on.

        The caller is looked at again with each event and every few seconds: a stream does not outlive a right.
        """
        started = time.perf_counter()
        try:
            self._admit(operation, caller)
            self._admit_stream(caller)
            async with asyncio.timeout(TIMEOUT_S):
                opened = await self._subscribed(operation, variables, caller)
        except Exception as problem:
            opened = _failed(problem)
        if isinstance(opened, Answer):
            return self._finished(operation, caller, opened, started)
        return self._told(operation, caller, opened, started)

    def _admit_stream(self, caller: Caller, *, already: int = 0) -> None:
        if caller.actor.user_id is not None and self._streams[caller.actor.user_id] - already >= STREAMS_MAX:
            raise Limited(f"there are {STREAMS_MAX} streams open already", retry_after_s=RECHECK_S)

    async def _subscribed(
        self, operation: Executable, variables: Mapping[str, Any], caller: Caller
    ) -> Answer | AsyncGenerator[Answer, None]:
        async with self._units.unit(writes=False) as unit:  # holds no connection between two statements
            ctx = self._ctx(caller, unit)
            source = await operation.subscribe(variables, ctx)
        if isinstance(source, ExecutionResult):
            return Answer(None, source.errors or ())
        return self._while_allowed(source, ctx, caller)

    async def _told(
        self, operation: Executable, caller: Caller, answers: AsyncGenerator[Answer, None], started: float
    ) -> AsyncGenerator[Answer, None]:
        """The answers as the caller may see them; the observer is told once, of the end."""
        last = Answer(None)
        self._streams[caller.actor.user_id] += 1
        try:
            self._admit_stream(caller, already=1)  # others may have begun meanwhile
            async for last in answers:
                yield _shown(last, caller)
        except Limited as refused:
            yield _shown(last := _failed(refused), caller)
        finally:
            self._streams -= Counter([caller.actor.user_id])
            self._finished(operation, caller, last, started)
            await answers.aclose()

    async def _while_allowed(
        self, source: AsyncIterator[ExecutionResult], ctx: Ctx, caller: Caller
    ) -> AsyncGenerator[Answer, None]:
        """The events of `source`, until it ends, fails, or the caller may not listen any more."""
        following: asyncio.Task[ExecutionResult] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(source))
                done, _ = await asyncio.wait([following], timeout=RECHECK_S)
                await self._look_again(ctx, caller)
                if not done:
                    continue
                result, following = following.result(), None
                yield Answer(result.data, result.errors or ())
                if result.errors:
                    return
        except StopAsyncIteration:
            return
        except Exception as problem:
            yield _failed(problem)
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await source.aclose()  # type: ignore[attr-defined]

    async def _look_again(self, ctx: Ctx, caller: Caller) -> None:
        """Raises what the caller would be refused with today."""
        if caller.token is not None:
            ctx.actor = await self._principals.actor(caller.token)
            ctx.need_again()


def _shown(answer: Answer, caller: Caller) -> Answer:
    if not answer.errors:
        return answer
    return replace(answer, errors=[errors.coded(error, caller.request.id) for error in answer.errors])


def _failed(problem: Exception) -> Answer:
    """The answer of an operation that ended in an exception."""
    if isinstance(problem, TimeoutError):
        problem = TimedOut(f"the operation took longer than {TIMEOUT_S:g} s")
    if isinstance(problem, DomainError):
        return Answer(None, [errors.refusal(problem)])
    if isinstance(problem, GraphQLError):
        return Answer(None, [problem])
    return Answer(None, [GraphQLError("internal error", original_error=problem)])


def _hash(operation: Executable, variables: Mapping[str, Any]) -> bytes:
    """What tells one request from another: a stored operation by its label, any other by its text."""
    asked = [operation.label, operation.source, operation.name, variables]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=_of_file).encode()).digest()


def _of_file(value: Any) -> Any:
    """What a file's sender says of it, before its bytes are there."""
    if isinstance(value, Upload):
        return [value.filename, value.content_type, value.size_bytes]
    raise TypeError(f"{type(value).__name__} is no input")
