"""Running operations over typed schemas: everything before the statement is remembered.

Remembered, each with a bound: the schema of an app for a set of rights, the validated document, and the plan for the
structure its variables have. What is left for a request is to look these up, read its operands, and run one
statement whose text is the answer.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Undefined,
    ValueNode,
    Visitor,
    execute_sync,
    parse,
    specified_rules,
    validate,
    value_from_ast_untyped,
    visit,
)
from graphql.execution.values import get_variable_values

from domain.kernel.ctx import Actor
from domain.kernel.errors import Invalid
from domain.kernel.seal import Seal
from domain.kernel.unit import Statement
from domain.records.declared import AppSchema
from domain.records.later import structure
from graph import limits
from graph.documents import DocumentRefused, pick
from graph.typed.compile import Paged, Plan, QueryCompiler
from graph.typed.schema import Rights, TypedSchema, rights_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SCHEMAS_MAX = 200
DOCUMENTS_MAX = 500  # of one schema
PLANS_MAX = 64  # of one operation

Fetch = Callable[[Statement], Awaitable[Sequence[Mapping[str, Any]]]]


class Bounded(Generic[K, V]):
    """A mapping that forgets what was not used for longest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What is remembered."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> V:
        """Remember."""
        self._kept[key] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value


@dataclass(slots=True)
class TypedOperation:
    """A validated operation with the plans it has had."""

    schema: TypedSchema
    document: DocumentNode
    node: OperationDefinitionNode
    paged: Mapping[int, Paged]
    exact: frozenset[str]  # variables whose values are structure: orders, flags
    declared: tuple[str, ...]
    defaults: Mapping[str, Any]
    plans: Bounded[Hashable, Plan] = field(default_factory=lambda: Bounded(PLANS_MAX))

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation


class TypedSchemas:
    """The schemas of all apps in use."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._schemas: Bounded[Hashable, tuple[TypedSchema, Bounded[tuple[str, str | None], TypedOperation]]] = Bounded(
            SCHEMAS_MAX
        )
        self._rights: Bounded[Hashable, Rights] = Bounded(SCHEMAS_MAX * 10)

    def schema(self, app: AppSchema, actor: Actor) -> TypedSchema:
        """The schema of an app as the actor may see it."""
        return self._schema(app, actor)[0]

    def _schema(
        self, app: AppSchema, actor: Actor
    ) -> tuple[TypedSchema, Bounded[tuple[str, str | None], TypedOperation]]:
        version = (app.tenant_id, app.app_id, app.revision)
        rights = self._rights.get((version, actor.grants.keys))
        if rights is None:
            rights = self._rights.put((version, actor.grants.keys), rights_of(app, actor.grants))
        found = self._schemas.get((version, rights))
        if found is None:
            made: Bounded[tuple[str, str | None], TypedOperation] = Bounded(DOCUMENTS_MAX)
            found = self._schemas.put((version, rights), (TypedSchema(app, rights), made))
        return found

    def operation(
        self, app: AppSchema, actor: Actor, source: str, name: str | None, variables: Mapping[str, Any]
    ) -> TypedOperation:
        """The operation of that name in a caller's document. Raises DocumentRefused."""
        schema, operations = self._schema(app, actor)
        found = operations.get((source, name))
        if found is None:
            found = operations.put((source, name), _prepared(schema, source, name, variables))
        return found

    async def run(
        self, operation: TypedOperation, variables: Mapping[str, Any], tenant_id: UUID, fetch: Fetch
    ) -> bytes:
        """The data of a query, as JSON. Raises Invalid, DocumentRefused."""
        if _asks_about_schema(operation):
            return _introspected(operation, variables)
        given = {**operation.defaults, **variables} if operation.defaults else variables
        given = self._with_cursors(operation, given, tenant_id)
        plan = self._plan(operation, given)
        row: Mapping[str, Any] | Sequence[Any] = ()
        if plan.sql:
            row = (await fetch(Statement(plan.sql, tuple(plan.args(given)))))[0]
        return spliced(plan, row)

    def _plan(self, operation: TypedOperation, variables: Mapping[str, Any]) -> Plan:
        key = tuple(
            [
                (orjson.dumps(value) if name in operation.exact else structure(value))
                if (value := variables.get(name, ...)) is not ...
                else ...
                for name in operation.declared
            ]
        )
        if operation.paged:
            given = [variables.get(paged.key) for paged in operation.paged.values()]
            key += tuple(None if value is None else tuple(part is None for part in value) for value in given)
        plan = operation.plans.get(key)
        if plan is None:
            _refuse_bad_variables(operation, variables)
            compiler = QueryCompiler(operation.schema, operation.document, variables, operation.paged)
            plan = operation.plans.put(key, compiler.plan(operation.node))
        return plan

    def _with_cursors(
        self, operation: TypedOperation, variables: Mapping[str, Any], tenant_id: UUID
    ) -> Mapping[str, Any]:
        """The variables, with what lists need for their cursors: the pads that sign them, the keys in those given."""
        if not operation.paged:
            return variables
        more: dict[str, Any] = dict(variables)
        for paged in operation.paged.values():
            asked = [_plain(paged.where, variables), _plain(paged.order_by, variables)]
            text = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS, default=str).decode()
            purpose = f"cursor:{tenant_id}:{paged.scope}:{text}"
            inner, outer = paged.pads
            more[inner], more[outer] = self._seal.pads(purpose)
            cursor = _plain(paged.after, variables)
            if cursor is not None:
                payload = self._seal.unseal(cursor, purpose) if isinstance(cursor, str) else None
                if payload is None:
                    raise Invalid("after", "not a cursor of this list")
                more[paged.key] = orjson.loads(payload)
        return more


def spliced(plan: Plan, row: Any) -> bytes:
    """The data: each root field's text put under its key, untouched."""
    parts = []
    for root in plan.roots:
        text = root.text if root.column is None else row[root.column]
        parts.append(f'"{root.key}":{"null" if text is None else text}')
    return f"{{{','.join(parts)}}}".encode()


def _plain(node: ValueNode | None, variables: Mapping[str, Any]) -> Any:
    value = None if node is None else value_from_ast_untyped(node, dict(variables))
    return None if value is Undefined else value


# Preparing.


def _prepared(schema: TypedSchema, source: str, name: str | None, variables: Mapping[str, Any]) -> TypedOperation:
    try:
        document = parse(
            source,
            max_source_length=limits.SOURCE_CHARS_MAX,
            max_lexical_tokens=limits.TOKENS_MAX,
            max_comments=limits.COMMENTS_MAX,
        )
    except GraphQLError as error:
        raise DocumentRefused([error]) from error
    errors = validate(schema, document, specified_rules, max_errors=20)
    if errors:
        raise DocumentRefused(errors)
    node = pick(document, name)
    definitions = node.variable_definitions or ()
    exact = {d.variable.name.value for d in definitions if _is_exact(d.type)}
    return TypedOperation(
        schema,
        document,
        node,
        paged=_paged(schema, document),
        exact=frozenset(exact),
        declared=tuple(d.variable.name.value for d in definitions),
        defaults={d.variable.name.value: _plain(d.default_value, {}) for d in definitions if d.default_value},
    )


def _is_exact(type: Any) -> bool:
    while not hasattr(type, "name"):
        type = type.type
    name: str = type.name.value
    return name.endswith("OrderBy") or name in ("SortOrder", "Boolean")


class _Names(Visitor):
    """Collects the names of fields and arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.found.add(node.name.value)

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        self.found.add(node.name.value)


class _Lists(Visitor):
    """Finds the lists whose cursors matter: those asked for cursors, and those given one."""

    def __init__(self, types: TypeInfo, app_id: str) -> None:
        super().__init__()
        self._types = types
        self._app_id = app_id
        self.found: dict[int, Paged] = {}

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        field = self._types.get_field_def()
        reads = (field.extensions or {}).get("reads") if field is not None else None
        if reads is None or field is None or "after" not in field.args or node.loc is None:
            return
        values = {argument.name.value: argument.value for argument in node.arguments or ()}
        link = "" if reads.relation is None else f":{reads.relation.link.name}"
        self.found[node.loc.start] = Paged(
            number=len(self.found),
            scope=f"typed:{self._app_id}:{reads.entity}{link}",
            where=values.get("where"),
            order_by=values.get("orderBy"),
            after=values.get("after"),
        )


def _paged(schema: TypedSchema, document: DocumentNode) -> dict[int, Paged]:
    """The document's lists, if it has to do with cursors at all."""
    names = _Names()
    visit(document, names)
    if not names.found & {"after", "edges", "pageInfo"}:
        return {}
    types = TypeInfo(schema)
    lists = _Lists(types, schema.app.app_id)
    visit(document, TypeInfoVisitor(types, lists))
    return lists.found


def _refuse_bad_variables(operation: TypedOperation, variables: Mapping[str, Any]) -> None:
    found = get_variable_values(
        operation.schema, operation.node.variable_definitions or (), dict(variables), max_errors=10
    )
    if isinstance(found, list):
        raise DocumentRefused(found)


def _asks_about_schema(operation: TypedOperation) -> bool:
    return any(
        isinstance(node, FieldNode) and node.name.value in ("__schema", "__type")
        for node in operation.node.selection_set.selections
    )


def _introspected(operation: TypedOperation, variables: Mapping[str, Any]) -> bytes:
    result = execute_sync(operation.schema, operation.document, variable_values=dict(variables))
    if result.errors:
        raise DocumentRefused(result.errors)
    return orjson.dumps(result.data)
