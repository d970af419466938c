"""Executing operations by resolvers: graphql-core's executor, and what it leaves unsaid of bad variables."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    create_source_event_stream,
    execute,
    execute_subscription_event,
    map_source_to_response_event,
    visit,
)
from graphql.execution.values import get_variable_values
from graphql.utilities import validate_input_value
from graphql.utilities.type_from_ast import type_from_ast
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.events import RecordChange
from graph.answer import Answer
from graph.broadcast import Wanted
from graph.changes import ChangeSeries, Watched


async def executed(
    schema: GraphQLSchema,
    document: DocumentNode,
    node: OperationDefinitionNode,
    variables: Mapping[str, Any],
    ctx: Ctx,
) -> ExecutionResult:
    """What a query or mutation comes to."""
    result: Any = execute(schema, document, **_asked(node, variables, ctx))
    finished: ExecutionResult = result if isinstance(result, ExecutionResult) else await result
    return _explained(finished, schema, node, variables, ctx)


async def subscribed(
    schema: GraphQLSchema,
    document: DocumentNode,
    node: OperationDefinitionNode,
    variables: Mapping[str, Any],
    ctx: Ctx,
) -> ExecutionResult | Wanted | AsyncIterator[ExecutionResult]:
    """A subscription's events, be they others' too, or the result that says why there are none."""
    asked = _asked(node, variables, ctx)
    made, given = asked.pop("executor_class"), asked.pop("variable_values")
    executor = made.build(schema, document, raw_variable_values=given, **asked)
    if isinstance(executor, list):
        return _explained(ExecutionResult(None, errors=executor), schema, node, variables, ctx)
    source: Any = create_source_event_stream(executor)
    if hasattr(source, "__await__"):
        source = await source
    if isinstance(source, ExecutionResult):
        return _explained(source, schema, node, variables, ctx)
    if isinstance(source, Watched):
        return Wanted(_series(executor, source, document, node, variables), source.after, source.path)
    events: AsyncIterator[ExecutionResult] = map_source_to_response_event(executor, source)
    return events


def _series(
    executor: Executor,
    source: Watched,
    document: DocumentNode,
    node: OperationDefinitionNode,
    variables: Mapping[str, Any],
) -> ChangeSeries:
    """What is selected of the changes. What the root field is given has become the watch."""

    async def answer(change: RecordChange) -> Answer:
        result: Any = execute_subscription_event(executor.build_per_event_executor(source.shown(change)))
        return Answer.of(await result if hasattr(result, "__await__") else result)

    used = _Used()
    visit(document, used)
    given = {name: variables[name] for name in used.names & variables.keys()}
    key = (document, node.name and node.name.value, repr(source.watch), json.dumps(given, sort_keys=True))
    return ChangeSeries(source.feed, source.watch, key, answer)


class _Used(Visitor):
    """Collects the variables that say what is selected: of directives."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        given = (argument.value for argument in node.arguments or ())
        self.names |= {value.name.value for value in given if isinstance(value, VariableNode)}


def _asked(node: OperationDefinitionNode, variables: Mapping[str, Any], ctx: Ctx) -> dict[str, Any]:
    """What executing and subscribing are given alike."""
    return {
        "context_value": ctx,
        "variable_values": dict(variables),
        "operation_name": node.name.value if node.name else None,
        "executor_class": StrawberryGraphQLCoreExecutionContext,
        "operation_extensions": None,
        "hide_suggestions": ctx.actor.user_id is None,
    }


def _explained(
    result: ExecutionResult,
    schema: GraphQLSchema,
    node: OperationDefinitionNode,
    variables: Mapping[str, Any],
    ctx: Ctx,
) -> ExecutionResult:
    """The result; where it was refused before anything ran, with what is wrong with each variable."""
    if result.data is not None or not result.errors or any(error.path for error in result.errors):
        return result
    found = list(variable_errors(schema, node, variables, hide_suggestions=ctx.actor.user_id is None))
    return ExecutionResult(None, found or result.errors)


def variable_errors(
    schema: GraphQLSchema, node: OperationDefinitionNode, variables: Mapping[str, Any], *, hide_suggestions: bool
) -> Iterator[GraphQLError]:
    """What is wrong with the variables, each with the path of the value."""
    for definition in node.variable_definitions or ():
        name = definition.variable.name.value
        if not isinstance(get_variable_values(schema, [definition], dict(variables), max_errors=10), list):
            continue
        if name not in variables:
            yield _input_error([name], "is required")
            continue
        found: list[GraphQLError] = []

        def add(error: GraphQLError, path: list[str | int], name: str = name, found: Any = found) -> None:
            found.append(_input_error([name, *path], error.message))

        type: Any = type_from_ast(schema, definition.type)
        validate_input_value(variables[name], type, add, hide_suggestions)
        yield from found


def _input_error(path: Sequence[str | int], message: str) -> GraphQLError:
    where = ".".join(str(part) for part in path)
    extensions = {"code": Code.INVALID_INPUT, "field": where, "path": list(path)}
    return GraphQLError(f"{where}: {message}", extensions=extensions)
