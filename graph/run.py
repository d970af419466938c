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

from graphql import ExecutionResult, GraphQLError, OperationType, located_error

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
from graph.answer import Answer
from graph.broadcast import Alone, Broadcasts, Reader, Wanted
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
    ) -> ExecutionResult | Wanted | AsyncIterator[ExecutionResult]:
        """Begin the subscription: what it follows as others may, its results, or the one that says why not."""
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
        self._broadcasts = Broadcasts()
        self._streams: Counter[UUID | None] = Counter()  # open ones, by user
        self._open: set[Stream] = set()
        self._looking: asyncio.Task[None] | None = None

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
        return Answer.of(result)

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

    async def stream(self, operation: Executable, variables: Mapping[str, Any], caller: Caller) -> "Answer | Stream":
        """Begin a subscription: the answer that refuses it, or an answer for each event from now on."""
        started = time.perf_counter()
        user = caller.actor.user_id
        try:
            self._admit(operation, caller)
            if user is not None and self._streams[user] >= STREAMS_MAX:
                raise Limited(f"there are {STREAMS_MAX} streams open already", retry_after_s=RECHECK_S)
            self._streams[user] += 1
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    return await self._begun(operation, variables, caller, started)
            except BaseException:
                self._streams -= Counter([user])
                raise
        except Exception as problem:
            return self._finished(operation, caller, _failed(problem), started)

    async def _begun(
        self, operation: Executable, variables: Mapping[str, Any], caller: Caller, started: float
    ) -> "Stream":
        """The stream. Raises what it is refused with."""
        async with self._units.unit(writes=False) as unit:  # holds no connection between two statements
            ctx, known = self._ctx(caller, unit), self._principals.changes
            if caller.token is not None:  # so that nothing which has changed since the caller came is overlooked
                ctx.actor = await self._principals.actor(caller.token)
            source = await operation.subscribe(variables, ctx)
            if isinstance(source, ExecutionResult):
                raise _Refused(Answer.of(source))
            reader = await self._joined(source) if isinstance(source, Wanted) else Alone(_answers(source))

        def over(last: Answer) -> None:
            self._streams -= Counter([caller.actor.user_id])
            self._open.discard(stream)
            self._finished(operation, caller, last, started)

        stream = Stream(reader, ctx, caller, self._principals, known, over)
        self._open.add(stream)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_again())
        return stream

    async def _joined(self, wanted: Wanted) -> Reader:
        try:
            return await self._broadcasts.join(wanted)
        except DomainError as refused:
            if not wanted.path:
                raise
            raise located_error(refused, path=wanted.path) from refused

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._open)

    async def _look_again(self) -> None:
        """Look every few seconds, for as long as there are streams, whether each has still a right to be told."""
        while self._open:
            await asyncio.sleep(RECHECK_S)
            for stream in list(self._open):
                await stream.look_again()


class Stream:
    """Answers to one caller, for as long as it may have them: an iterator, to be closed at the end.

    Before each the caller is looked at again where rights have changed; and every few seconds in any case, since not
    all changes are told: a stream does not outlive a right.
    """

    def __init__(
        self,
        reader: Reader | Alone,
        ctx: Ctx,
        caller: Caller,
        principals: Principals,
        known: int,
        over: Callable[[Answer], None],
    ) -> None:
        self._reader = reader
        self._ctx = ctx
        self._caller = caller
        self._principals = principals
        self._over = over
        self._known = known  # the changes of rights that the caller was last looked at after
        self._last: Answer | None = None
        self._closed = False

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Answer:
        if self._last is not None and self._last.errors:
            raise StopAsyncIteration
        try:
            answer = await anext(self._reader)
            if self._known != self._principals.changes:
                await self._refuse_changed()
        except StopAsyncIteration:
            raise
        except Exception as problem:
            answer = _failed(problem)
        self._last = answer = _shown(answer, self._caller) if answer.errors else answer
        return answer

    async def look_again(self) -> None:
        """End it, if the caller would be refused today."""
        try:
            await self._refuse_changed()
        except Exception as problem:
            self._reader.end(problem)

    async def _refuse_changed(self) -> None:
        """Raises what the caller would be refused with today."""
        self._known = self._principals.changes
        if self._caller.token is not None:
            actor = await self._principals.actor(self._caller.token)
            if actor is not self._ctx.actor:
                self._ctx.actor = actor
                self._ctx.need_again()

    async def aclose(self) -> None:
        """Listen no more."""
        if not self._closed:
            self._closed = True
            try:
                await self._reader.aclose()
            finally:
                self._over(self._last or Answer(None))


class _Refused(Exception):
    """A subscription that comes to an answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


async def _answers(results: AsyncIterator[ExecutionResult]) -> AsyncGenerator[Answer, None]:
    """Results as answers."""
    try:
        async for result in results:
            yield Answer.of(result)
    finally:
        if isinstance(results, AsyncGenerator):
            await results.aclose()


def _shown(answer: Answer, caller: Caller) -> Answer:
    if not answer.errors:
        return answer
    return replace(answer, errors=[errors.coded(error, caller.request.id) for error in answer.errors])


def _failed(problem: Exception) -> Answer:
    """The answer of an operation that ended in an exception."""
    if isinstance(problem, _Refused):
        return problem.answer
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
