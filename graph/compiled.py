"""Stored operations, compiled: what a document says is worked out once, and not by each execution of it.

graphql-core's executor walks document and schema anew each time, which costs more than what most routes do. An
operation that is asked again and again becomes a tree of small functions around the same resolvers and the same
coercion of values. Compiled is what has one root field, and below it only objects whose fields are there at once;
anything else, and whatever is asked with variables that do not fit, is left to the executor.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeAlias

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Undefined,
    VariableNode,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_non_null_type,
    located_error,
    type_from_ast,
)
from graphql.execution.values import VariableValues, get_argument_values, input_is_nested_too_deeply
from graphql.pyutils import Path, is_awaitable
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_literal, coerce_input_value
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.base import StrawberryMaybe

from domain.kernel.ctx import Ctx


class _NotCompiled(Exception):
    """The operation needs the executor."""


Where: TypeAlias = "tuple[Where, str | int] | None"
"""Where in the answer something is: the last step behind those before it."""


class _Failed(Exception):
    """A field that came to nothing, as the executor tells it: a value that must be there takes its object with it."""

    def __init__(self, problem: Exception, nodes: list[FieldNode], where: Where) -> None:
        super().__init__(str(problem))
        self.error: GraphQLError = located_error(problem, nodes, _steps(where))


def _steps(where: Where) -> list[str | int]:
    steps: list[str | int] = []
    while where is not None:
        where, step = where
        steps.append(step)
    return steps[::-1]


@dataclass(slots=True)
class _Run:
    """One execution."""

    ctx: Ctx
    variables: VariableValues
    errors: list[GraphQLError] = field(default_factory=list)


Complete = Callable[[Any, _Run, Where], Any]
"""From what a resolver gave to the value in the answer. Raises what is wrong with it, or what is inside of it."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    type: GraphQLInputType
    default: Any  # Undefined for none
    mutable: bool  # each execution has a default of its own
    required: bool
    leaf: Any  # its scalar or enum; None for lists and objects

    @classmethod
    def of(cls, name: str, type: Any, default: Any) -> "_Variable":
        """The variable of that type."""
        bare = get_nullable_type(type)
        leaf = bare if is_leaf_type(bare) else None
        return cls(name, type, default, _is_mutable(default), is_non_null_type(type), leaf)

    def coerced(self, value: Any) -> Any:
        """A value that was given, as its type reads it; Undefined for one that does not fit."""
        if self.leaf is None:
            return Undefined if input_is_nested_too_deeply(value, self.type) else coerce_input_value(value, self.type)
        if value is None:
            return Undefined if self.required else None
        try:
            return self.leaf.coerce_input_value(value)
        except Exception:  # whatever a scalar finds wrong
            return Undefined


@dataclass(frozen=True, slots=True)
class CompiledOperation:
    """An operation as its root field, and what comes of it."""

    variables: tuple[_Variable, ...]
    key: str
    root: "_Resolved"
    complete: Complete

    async def executed(self, variables: Mapping[str, Any], ctx: Ctx) -> ExecutionResult | None:
        """What the operation comes to; None, and nothing done, where the variables are not what it wants."""
        coerced = self._coerced(variables)
        if coerced is None:
            return None
        run, where = _Run(ctx, coerced), (None, self.key)
        try:
            value = self.root.value(None, run)
            if is_awaitable(value):
                value = await value
            completed = self.complete(value, run, where)
        except Exception as problem:
            data = None if self.root.required else {self.key: None}
            return ExecutionResult(data, [*run.errors, self.root.failed(problem, where).error])
        return ExecutionResult({self.key: completed}, run.errors or None)

    def _coerced(self, given: Mapping[str, Any]) -> VariableValues | None:
        coerced: dict[str, Any] = {}
        for variable in self.variables:
            value = given.get(variable.name, Undefined)
            if value is Undefined:
                if variable.default is not Undefined:
                    coerced[variable.name] = deepcopy(variable.default) if variable.mutable else variable.default
                elif variable.required:
                    return None
                continue
            made = variable.coerced(value)
            if made is Undefined:
                return None
            coerced[variable.name] = made
        return VariableValues({}, coerced)


@dataclass(frozen=True, slots=True)
class _Argument:
    """The variable that an argument is, and its value without it."""

    name: str
    variable: str | None
    value: Any  # Undefined for none
    required: bool
    mutable: bool  # each execution has a value of its own


class _Info(strawberry.Info[Ctx, None]):
    """What a resolver is told of its field: what is selected below is worked out once, what few ask for then."""

    selected_fields: Any = None

    def __init__(self, resolved: "_Resolved", run: _Run) -> None:
        self._resolved = resolved
        self._run = run
        self._field = resolved.declared
        self.selected_fields = resolved.selected

    @property
    def context(self) -> Ctx:
        """Who asks, and what for."""
        return self._run.ctx

    @cached_property
    def _raw_info(self) -> GraphQLResolveInfo:  # type: ignore[override]
        return self._resolved.info_of(self._run.ctx, self._run.variables)


@dataclass
class _Resolved:
    """A field of the schema at its place in the document, and how its value is come by."""

    schema: GraphQLSchema
    parent: GraphQLObjectType
    nodes: list[FieldNode]
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]

    @cached_property
    def definition(self) -> GraphQLField:
        """The field."""
        found: GraphQLField = self.parent.fields[self.nodes[0].name.value]
        return found

    @cached_property
    def declared(self) -> Any:
        """As Strawberry has it."""
        return self.definition.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]

    @cached_property
    def required(self) -> bool:
        """Whether there must be a value."""
        return is_non_null_type(self.definition.type)

    @cached_property
    def value(self) -> Callable[[Any, _Run], Any]:
        """The resolver, given the object that has the field."""
        if self.declared.is_basic_field:
            read = attrgetter(self.declared.python_name)
            return lambda source, _run: read(source)
        if self._is_plain:
            return self._direct()
        resolve: Any = self.definition.resolve
        return lambda source, run: resolve(source, self.info_of(run.ctx, run.variables), **self._arguments(run))

    def failed(self, problem: Exception, where: Where) -> _Failed:
        """The failure of the field, or of what is inside of it."""
        return problem if isinstance(problem, _Failed) else _Failed(problem, self.nodes, where)

    # Calling the resolver.

    @cached_property
    def _is_plain(self) -> bool:
        """Whether all that the resolver takes is as it comes from coercion."""
        resolver = self.declared.base_resolver
        types = [get_nullable_type(self.definition.args[name].type) for name, _ in self._named]
        kept = not any(isinstance(argument.type, StrawberryMaybe) for argument in self.declared.arguments)
        others = resolver.parent_parameter or resolver.root_parameter or self.declared.extensions
        return all(map(is_leaf_type, types)) and kept and not others

    @cached_property
    def _named(self) -> list[tuple[str, str]]:
        """The arguments given, by their names in the schema and in Python."""
        given = {argument.name.value for argument in self.nodes[0].arguments or ()}
        found = []
        for (name, argument), declared in zip(self.definition.args.items(), self.declared.arguments, strict=True):
            if name in given or coerce_default_value(argument) is not Undefined:
                found.append((name, declared.python_name))
        return found

    def _direct(self) -> Callable[[Any, _Run], Any]:
        resolver = self.declared.base_resolver
        call, of_source, named = resolver.wrapped_func, resolver.self_parameter is not None, self._named
        told = None if resolver.info_parameter is None else resolver.info_parameter.name

        def direct(source: Any, run: _Run) -> Any:
            arguments = self._arguments(run)
            given = {python: arguments[name] for name, python in named if name in arguments}
            if told is not None:
                given[told] = _Info(self, run)
            return call(source, **given) if of_source else call(**given)

        return direct

    @cached_property
    def selected(self) -> Any:
        """What is selected below, by name: the arguments in there are nothing to rely on."""
        return strawberry.Info(
            _raw_info=self.info_of(None, VariableValues({}, {})), _field=self.declared
        ).selected_fields

    def info_of(self, ctx: Ctx | None, variables: VariableValues) -> GraphQLResolveInfo:
        """What graphql-core tells a resolver."""
        return GraphQLResolveInfo(
            self.nodes[0].name.value,
            self.nodes,
            self.definition.type,
            self.parent,
            self._path,
            self.schema,
            self.fragments,
            None,
            self.operation,
            variables,
            ctx,
            is_awaitable,
            None,
            None,  # type: ignore[arg-type]
        )

    @cached_property
    def _path(self) -> Path:
        """As far as it is the same in each execution."""
        node = self.nodes[0]
        return Path(None, (node.alias or node.name).value, self.parent.name)

    @cached_property
    def _taken(self) -> list["_Argument"] | None:
        """How the arguments are come by; None where variables are inside of one."""
        given = {argument.name.value: argument.value for argument in self.nodes[0].arguments or ()}
        taken = []
        for name, argument in self.definition.args.items():
            node, value = given.get(name), coerce_default_value(argument)
            variable = node.name.value if isinstance(node, VariableNode) else None
            if node is not None and variable is None:
                if _has_variable(node):
                    return None
                value = coerce_input_literal(node, argument.type)
            if node is not None or value is not Undefined:
                taken.append(_Argument(name, variable, value, is_non_null_type(argument.type), _is_mutable(value)))
        return taken

    def _arguments(self, run: _Run) -> dict[str, Any]:
        """The arguments as coercion leaves them. Raises GraphQLError."""
        if self._taken is None:
            return get_argument_values(self.definition, self.nodes[0], run.variables)
        found, variables = {}, run.variables.coerced
        for argument in self._taken:
            if argument.variable in variables:
                value = variables[argument.variable]
            else:
                value = deepcopy(argument.value) if argument.mutable else argument.value
            if argument.required and (value is None or value is Undefined):
                return get_argument_values(self.definition, self.nodes[0], run.variables)  # which says what is wrong
            if value is not Undefined:
                found[argument.name] = value
        return found


def compiled(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode
) -> CompiledOperation | None:
    """The operation compiled, or None for one that needs the executor. The document must be valid."""
    try:
        return _Compiler(schema, document, operation).operation_compiled()
    except _NotCompiled:
        return None


@dataclass
class _Compiler:
    schema: GraphQLSchema
    document: DocumentNode
    operation: OperationDefinitionNode

    @cached_property
    def fragments(self) -> dict[str, FragmentDefinitionNode]:
        definitions = self.document.definitions
        return {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}

    def operation_compiled(self) -> CompiledOperation:
        root = self.schema.get_root_type(self.operation.operation)
        if root is None or self.operation.operation is OperationType.SUBSCRIPTION:
            raise _NotCompiled
        fields = self._fields([self.operation.selection_set], root)
        if len(fields) != 1:
            raise _NotCompiled
        ((key, nodes),) = fields.items()
        resolved = self._resolved(root, nodes)
        return CompiledOperation(tuple(self._variables()), key, resolved, self._complete(resolved))

    def _variables(self) -> Iterator[_Variable]:
        for definition in self.operation.variable_definitions or ():
            type: Any = type_from_ast(self.schema, definition.type)
            default = definition.default_value
            value = Undefined if default is None else coerce_input_literal(default, type)
            yield _Variable.of(definition.variable.name.value, type, value)

    def _resolved(self, parent: GraphQLObjectType, nodes: list[FieldNode]) -> _Resolved:
        resolved = _Resolved(self.schema, parent, nodes, self.operation, self.fragments)
        if nodes[0].name.value not in parent.fields:
            raise _NotCompiled  # __schema and its like
        return resolved

    # Values.

    def _complete(self, resolved: _Resolved) -> Complete:
        return self._completing(resolved.definition.type, resolved)

    def _completing(self, type: Any, resolved: _Resolved) -> Complete:
        if isinstance(type, GraphQLNonNull):
            return _there(self._completing(type.of_type, resolved), resolved)
        if isinstance(type, GraphQLList):
            element = self._completing(type.of_type, resolved)
            return _listed(element, resolved, required=is_non_null_type(type.of_type))
        if is_leaf_type(type):
            return _leaf(type)
        if not isinstance(type, GraphQLObjectType):
            raise _NotCompiled
        sets = [node.selection_set for node in resolved.nodes if node.selection_set is not None]
        return _object([self._part(type, key, nodes) for key, nodes in self._fields(sets, type).items()])

    def _part(self, parent: GraphQLObjectType, key: str, nodes: list[FieldNode]) -> "_Part":
        if nodes[0].name.value == "__typename":
            return _Part(key, None, lambda _value, _run, _where: parent.name)
        resolved = self._resolved(parent, nodes)
        if resolved.declared.is_async:
            raise _NotCompiled
        return _Part(key, resolved, self._complete(resolved))

    # The document.

    def _fields(self, sets: Iterable[SelectionSetNode], type: GraphQLObjectType) -> dict[str, list[FieldNode]]:
        """The fields selected of an object of the type, by their keys in the answer."""
        found: dict[str, list[FieldNode]] = {}
        for node in self._selected(sets, type):
            found.setdefault((node.alias or node.name).value, []).append(node)
        return found

    def _selected(self, sets: Iterable[SelectionSetNode], type: GraphQLObjectType) -> Iterator[FieldNode]:
        for selections in sets:
            for node in selections.selections:
                if node.directives:
                    raise _NotCompiled
                if isinstance(node, FieldNode):
                    yield node
                    continue
                fragment = node if isinstance(node, InlineFragmentNode) else self.fragments[node.name.value]  # type: ignore[attr-defined]
                if self._is_of(type, fragment):
                    yield from self._selected([fragment.selection_set], type)

    def _is_of(self, type: GraphQLObjectType, fragment: InlineFragmentNode | FragmentDefinitionNode) -> bool:
        if fragment.type_condition is None or fragment.type_condition.name.value == type.name:
            return True
        condition: Any = self.schema.get_type(fragment.type_condition.name.value)
        return is_abstract_type(condition) and self.schema.is_sub_type(condition, type)


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of an object in the answer; without `resolved` it is the same for all objects."""

    key: str
    resolved: _Resolved | None
    complete: Complete


def _there(complete: Complete, resolved: _Resolved) -> Complete:
    def there(value: Any, run: _Run, where: Where) -> Any:
        completed = complete(value, run, where)
        if completed is None:
            field = f"{resolved.parent.name}.{resolved.nodes[0].name.value}"
            raise TypeError(f"Cannot return null for non-nullable field {field}.")
        return completed

    return there


def _listed(complete: Complete, resolved: _Resolved, *, required: bool) -> Complete:
    def listed(value: Any, run: _Run, where: Where) -> Any:
        if value is None:
            return None
        if isinstance(value, Exception):
            raise value
        found = []
        for index, element in enumerate(value):
            here = (where, index)
            try:
                found.append(complete(element, run, here))
            except Exception as problem:
                failed = resolved.failed(problem, here)
                if required:
                    raise failed from problem
                run.errors.append(failed.error)
                found.append(None)
        return found

    return listed


def _leaf(type: Any) -> Complete:
    coerce = type.coerce_output_value

    def leaf(value: Any, _run: _Run, _where: Where) -> Any:
        if value is None:
            return None
        if isinstance(value, Exception):
            raise value
        completed = coerce(value)
        if completed is None or completed is Undefined:
            raise TypeError(f"{type} has no value for this")
        return completed

    return leaf


def _object(parts: list[_Part]) -> Complete:
    def made(source: Any, run: _Run, where: Where) -> Any:
        if source is None:
            return None
        if isinstance(source, Exception):
            raise source
        return {part.key: _of(part, source, run, (where, part.key)) for part in parts}

    return made


def _of(part: _Part, source: Any, run: _Run, where: Where) -> Any:
    resolved = part.resolved
    if resolved is None:
        return part.complete(source, run, where)
    try:
        return part.complete(resolved.value(source, run), run, where)
    except Exception as problem:
        failed = resolved.failed(problem, where)
        if resolved.required:
            raise failed from problem
        run.errors.append(failed.error)
        return None


def _is_mutable(value: Any) -> bool:
    return isinstance(value, dict | list)


def _has_variable(node: Any) -> bool:
    if isinstance(node, VariableNode):
        return True
    parts = getattr(node, "fields", None) or getattr(node, "values", None) or ()
    return any(_has_variable(getattr(part, "value", part)) for part in parts)
