"""The REST engine's backend: stored operations go to the same runner as everything else."""

from collections.abc import Mapping
from typing import Any

from graphql import DocumentNode, GraphQLError

from domain.kernel import ctx as kernel
from domain.kernel.errors import Code
from graph import errors
from graph.answer import Answer
from graph.documents import Operation
from graph.run import Caller as RunnerCaller
from graph.run import Runner, Stream
from graph.transfer import EXPORTS
from infra.storage import files
from infra.transfer.exports import Exports
from rest_compat.engine.backend import Blob, CallInfo, Elsewhere, Made, Result, Results
from rest_compat.engine.errors import Refusal

DOOR = "api"


class RestCaller:
    """See `rest_compat.engine.backend.Caller`."""

    __slots__ = ("inner",)

    def __init__(self, inner: RunnerCaller) -> None:
        self.inner = inner

    @property
    def anonymous(self) -> bool:
        return self.inner.anonymous

    @property
    def user_id(self) -> str | None:
        id = self.inner.actor.user_id
        return None if id is None else str(id)


class RunnerBackend:
    """See `rest_compat.engine.backend.Backend`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._exports = Exports(runner)
        self._stored: dict[str, Operation] = {}

    def prepare(self, document: DocumentNode, name: str, label: str) -> Operation:
        """A stored operation, known by its label from now on."""
        operation = self._stored[label] = self._runner.documents.stored(document, name, label)
        return operation

    async def caller(self, token: str | None, info: CallInfo) -> RestCaller:
        """Who the credential stands for."""
        request = kernel.Request(info.request_id, DOOR, info.client_ip)
        return RestCaller(await self._runner.caller(token, request))

    async def admit(self, handle: Any, caller: RestCaller) -> Refusal | None:
        """Why this caller may not ask for this operation at all."""
        refused = self._runner.refused_entry(handle, caller.inner)
        return None if refused is None else _refusal(errors.refusal(refused))

    async def run(
        self, handle: Any, variables: Mapping[str, Any], caller: RestCaller, idempotency_key: str | None
    ) -> Result:
        """Execute a query or mutation."""
        return _result(await self._runner.run(handle, files.received(variables), caller.inner, idempotency_key))

    async def stream(self, handle: Any, variables: Mapping[str, Any], caller: RestCaller) -> Result | Results:
        """Begin a subscription."""
        opened = await self._runner.stream(handle, variables, caller.inner)
        return _result(opened) if isinstance(opened, Answer) else _Results(opened)

    async def open_file(self, reference: str) -> Blob | Elsewhere | Made:
        """The bytes that a file reference stands for, wherever they are, or are yet to be made."""
        if reference.startswith(EXPORTS):
            return await self._exports.opened(reference)
        return await files.opened(self._runner, reference)


class _Results:
    """A stream's answers as results."""

    def __init__(self, answers: Stream) -> None:
        self._answers = answers

    def __aiter__(self) -> "_Results":
        return self

    async def __anext__(self) -> Result:
        return _result(await anext(self._answers))

    async def aclose(self) -> None:
        await self._answers.aclose()


def _result(answer: Answer) -> Result:
    if not answer.errors:
        return Result(answer.data, (), answer.replayed)
    return Result(None, [_refusal(error) for error in answer.errors])


def _refusal(error: GraphQLError) -> Refusal:
    told = error.extensions or {}
    return Refusal(
        code=str(told.get("code", Code.INTERNAL)),
        message=error.message,
        field=told.get("field"),
        reason=told.get("reason"),
        details=told.get("details") or {},
        retry_after_s=told.get("retryAfter"),
        path=tuple(told.get("path", ())),
    )
