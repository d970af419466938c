"""Running operations over typed schemas: everything before the statement is remembered.

Remembered, each with a bound: the schema of an app for a set of rights, the validated document, and the plan for the
structure its variables have. What is left for a request is to look these up, read its operands, and run one
statement whose text is the answer.
"""

from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    ValueNode,
    VariableNode,
    Visitor,
    execute_sync,
    parse,
    print_schema,
    specified_rules,
    validate,
    visit,
)
from graphql.execution.values import get_variable_values

from domain.kernel.bounded import Bounded
from domain.kernel.ctx import Actor, Ctx
from domain.kernel.errors import Conflict, DomainError, Invalid, Missing
from domain.kernel.seal import Seal
from domain.kernel.unit import Statement
from domain.records import searching
from domain.records.declared import AppSchema
from domain.records.later import structure
from domain.records.policies import seen_by
from domain.records.refusals import DeclarationChanged, refused_as_declared
from domain.records.types import NotOfType
from graph import limits
from graph.broadcast import Wanted
from graph.documents import DocumentRefused, pick
from graph.errors import refusal
from graph.run import Caller, Runner
from graph.typed.compile import Paged, Plan, QueryCompiler, given_value
from graph.typed.follow import SubscriptionCompiler
from graph.typed.live import ChangePlan, LivePlan, Shared
from graph.typed.schema import Rights, TypedSchema, rights_of
from graph.typed.write import MutationCompiler, Step, speak_of, with_author

# What is remembered, in bytes, by what the parts of it were found to take: many small schemas, or some large ones.
SCHEMAS_BYTES_MAX = 128 << 20
OPERATIONS_BYTES_MAX = 32 << 20  # of one schema
SCHEMA_BYTES, TYPE_BYTES, CHAR_BYTES, PLAN_BYTES = 20_000, 4_000, 300, 8_000
PLANS_MAX = 64  # of one operation
RIGHTS_MAX = 5_000

# An answer costs a fraction here of what it costs where resolvers make it.
LIMITS = limits.Limits(cost=500_000)


@dataclass(slots=True)
class TypedOperation:
    """A validated operation with the plans it has had."""

    known: "Known"
    asked: tuple[str, str | None]  # the document, and the operation's name
    document: DocumentNode
    node: OperationDefinitionNode
    paged: Mapping[int, Paged]
    exact: frozenset[str]  # variables whose values are structure: orders, flags
    searched: frozenset[str]  # variables that are search texts
    declared: tuple[str, ...]
    defaults: Mapping[str, Any]
    introspects: bool = False  # whether its document asks about the schema
    checked: Bounded[Hashable, "MutationPlan"] = field(default_factory=lambda: Bounded(PLANS_MAX))
    sized_by: tuple[str, ...] = ()  # variables that say how much is asked for
    plans: Bounded[Hashable, Plan] = field(default_factory=lambda: Bounded(PLANS_MAX))
    followed: Bounded[Hashable, "FollowedPlan"] = field(default_factory=lambda: Bounded(PLANS_MAX))
    measured: Bounded[Hashable, bool] = field(default_factory=lambda: Bounded(PLANS_MAX))

    @property
    def schema(self) -> TypedSchema:
        """The schema it was validated by."""
        return self.known.schema

    @property
    def bytes(self) -> int:
        """What it takes to remember it."""
        plans = len(self.checked) + len(self.plans) + len(self.followed)
        return CHAR_BYTES * len(self.asked[0]) + PLAN_BYTES * plans

    def shape(self, name: str, value: Any) -> Hashable:
        """What of a variable's value a plan depends on."""
        if name in self.exact:
            return orjson.dumps(value)
        if name in self.searched and isinstance(value, str):
            with suppress(NotOfType):  # refused by whoever compiles
                return searching.asked(value).shape
        shape: Hashable = structure(value)
        return shape

    def measure(self, variables: Mapping[str, Any]) -> None:
        """Raises DocumentRefused when too much is asked for with these variables."""
        sizes = tuple([variables.get(name) for name in self.sized_by])
        if self.measured.get(sizes) is None:
            try:
                limits.check_limits(self.document, variables, self.schema.paged, LIMITS)
            except DomainError as refused:
                raise DocumentRefused([refusal(refused)]) from refused
            self.measured.put(sizes, True)


@dataclass(slots=True)
class Known:
    """A schema, with the operations that were asked of it last."""

    key: Hashable
    schema: TypedSchema
    operations: Bounded[tuple[str, str | None], TypedOperation]

    @property
    def bytes(self) -> int:
        """What it takes to remember it: its types are made when they are asked for."""
        return SCHEMA_BYTES + TYPE_BYTES * self.schema.types.made + self.operations.weight


class TypedSchemas:
    """The schemas of all apps in use."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._share = Shared()
        self._schemas: Bounded[Hashable, Known] = Bounded(SCHEMAS_BYTES_MAX)
        self._rights: Bounded[Hashable, Rights] = Bounded(RIGHTS_MAX)

    def schema(self, app: AppSchema, actor: Actor) -> TypedSchema:
        """The schema of an app as the actor may see it."""
        return self._known(app, actor).schema

    def _known(self, app: AppSchema, actor: Actor) -> Known:
        version = (app.tenant_id, app.app_id, app.revision)
        rights = self._rights.get((version, actor.grants.keys))
        if rights is None:
            rights = self._rights.put((version, actor.grants.keys), rights_of(app, actor.grants))
        key = (version, rights)
        found = self._schemas.get(key)
        if found is None:
            found = Known(key, TypedSchema(seen_by(app, actor.grants), rights), Bounded(OPERATIONS_BYTES_MAX))
            self._schemas.put(key, found, found.bytes)
        return found

    def _remember(self, operation: TypedOperation) -> None:
        """An operation, with what it and its schema have come to take."""
        known = operation.known
        known.operations.put(operation.asked, operation, operation.bytes)
        self._schemas.put(known.key, known, known.bytes)

    def operation(
        self, app: AppSchema, actor: Actor, source: str, name: str | None, variables: Mapping[str, Any]
    ) -> TypedOperation:
        """The operation of that name in a caller's document. Raises DocumentRefused."""
        known = self._known(app, actor)
        found = known.operations.get((source, name))
        if found is None:
            found = _prepared(known, source, name, variables)
            self._remember(found)
        return found

    async def find(
        self, runner: Runner, app_id: str, source: str, name: str | None, variables: Mapping[str, Any], caller: Caller
    ) -> "Asked":
        """What a caller asks of an app. Raises DocumentRefused."""
        app = None if caller.anonymous else runner.ports.catalog.at_hand(caller.actor.tenant_id, app_id)
        if app is None:
            try:
                app = await runner.look(lambda ctx: _app(ctx, app_id), caller)
            except DomainError as refused:
                raise DocumentRefused([refusal(refused)]) from refused
        operation = self.operation(app, caller.actor, source, name, variables)
        operation.measure(variables)
        write = None
        if operation.node.operation is OperationType.MUTATION:
            try:
                write = self.mutation(operation, {**operation.defaults, **variables})
            except DomainError as refused:
                raise DocumentRefused([refusal(refused)]) from refused
        return Asked(self, app_id, source, operation, write)

    async def sdl(self, runner: Runner, app_id: str, caller: Caller) -> str:
        """The app's schema in GraphQL's own language, as the caller may see it. Raises DomainError."""
        app = await runner.look(lambda ctx: _app(ctx, app_id), caller)
        return print_schema(self.schema(app, caller.actor)) + "\n"

    async def run(self, operation: TypedOperation, variables: Mapping[str, Any], ctx: Ctx) -> dict[str, Any]:
        """The data: each root field's JSON, as PostgreSQL built it. Raises DomainError, DocumentRefused."""
        if operation.node.operation is OperationType.MUTATION:
            return await self._mutated(operation, variables, ctx)
        given = {**operation.defaults, **variables} if operation.defaults else variables
        given = self._with_cursors(operation, given, ctx.tenant_id)
        plan = self._plan(operation, given)
        found = spliced(plan, await _fetched(operation, plan, given, ctx))
        if operation.introspects:
            found |= _introspected(operation, given)
            self._remember(operation)
        return found

    async def _mutated(self, operation: TypedOperation, variables: Mapping[str, Any], ctx: Ctx) -> dict[str, Any]:
        given = {**operation.defaults, **variables}
        plan = self.mutation(operation, given)
        given = dict(self._with_cursors(operation, with_author(ctx, given), ctx.tenant_id))
        given |= {name: given_value(node, given) for name, node in plan.given.items()}
        made = {}
        for step in plan.steps:
            try:
                made[step.key] = _FRAGMENT(await step.run(ctx, given))
            except (Conflict, Invalid) as refused:
                speak_of(refused, operation.schema.names.of(step.about.entity.name))
                raise
        return made

    def followed(self, operation: TypedOperation, variables: Mapping[str, Any], ctx: Ctx) -> Wanted:
        """What a subscription follows. Raises DomainError, DocumentRefused."""
        given = {**operation.defaults, **variables}
        _refuse_bad_variables(operation, given)
        given = dict(self._with_cursors(operation, given, ctx.tenant_id))
        key = _plan_key(operation, given)
        found = operation.followed.get(key)
        if found is None:
            compiler = SubscriptionCompiler(operation.schema, operation.document, given, operation.paged)
            found = operation.followed.put(
                key, FollowedPlan(compiler.subscription(operation.node), compiler.after(operation.node))
            )
            self._remember(operation)
        if isinstance(found.plan, LivePlan):
            return Wanted(found.plan.followed(ctx, given))
        return Wanted(found.plan.followed(ctx, self._share, given), given_value(found.after, given))

    def mutation(self, operation: TypedOperation, variables: Mapping[str, Any]) -> "MutationPlan":
        """What a mutation does with variables of this structure. Raises Invalid, DocumentRefused."""
        key = _structure(operation, variables)
        plan = operation.checked.get(key)
        if plan is None:
            _refuse_bad_variables(operation, variables)
            compiler = MutationCompiler(operation.schema, operation.document, variables, operation.paged)
            steps = compiler.steps(operation.node)
            plan = operation.checked.put(key, MutationPlan(steps, compiler.given))
            self._remember(operation)
        return plan

    def _plan(self, operation: TypedOperation, variables: Mapping[str, Any]) -> Plan:
        key = _plan_key(operation, variables)
        plan = operation.plans.get(key)
        if plan is None:
            _refuse_bad_variables(operation, variables)
            compiler = QueryCompiler(operation.schema, operation.document, variables, operation.paged)
            plan = operation.plans.put(key, compiler.plan(operation.node))
            self._remember(operation)
        return plan

    def _with_cursors(
        self, operation: TypedOperation, variables: Mapping[str, Any], tenant_id: UUID
    ) -> Mapping[str, Any]:
        """The variables, with what lists need for their cursors: the pads that sign them, the keys in those given."""
        if not operation.paged:
            return variables
        more: dict[str, Any] = dict(variables)
        for paged in operation.paged.values():
            asked = [given_value(argument, variables) for argument in paged.asked]
            text = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS, default=str).decode()
            purpose = f"cursor:{tenant_id}:{paged.scope}:{text}"
            inner, outer = paged.pads
            more[inner], more[outer] = self._seal.pads(purpose)
            cursor = given_value(paged.after, variables)
            if cursor is not None:
                payload = self._seal.unseal(cursor, purpose) if isinstance(cursor, str) else None
                if payload is None:
                    raise Invalid("after", "not a cursor of this list")
                more[paged.key] = orjson.loads(payload)
        return more


@dataclass(frozen=True, slots=True)
class MutationPlan:
    """A compiled mutation: its steps, and the arguments they read anew."""

    steps: tuple[Step, ...]
    given: Mapping[str, ValueNode]


@dataclass(frozen=True, slots=True)
class FollowedPlan:
    """A compiled subscription, and the argument that says where it begins."""

    plan: ChangePlan | LivePlan
    after: ValueNode | None


def _plan_key(operation: TypedOperation, variables: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of the variables, and of the cursors in them, a plan depends on."""
    key = _structure(operation, variables)
    if operation.paged:
        given = [variables.get(paged.key) for paged in operation.paged.values()]
        key += tuple(None if value is None else tuple(part is None for part in value) for value in given)
    return key


def _structure(operation: TypedOperation, variables: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of the variables a plan depends on."""
    return tuple(
        [
            operation.shape(name, value) if (value := variables.get(name, ...)) is not ... else ...
            for name in operation.declared
        ]
    )


async def _fetched(operation: TypedOperation, plan: Plan, given: Mapping[str, Any], ctx: Ctx) -> Mapping[str, Any]:
    """The row that a plan's statement comes to."""
    if plan.about is None:
        return {}
    app = operation.known.schema.app
    if plan.key is not None:
        return {"r0": await refused_as_declared(app, plan.about, ctx.look_up(*plan.look_up(given)))}
    return (await refused_as_declared(app, plan.about, ctx.fetch(Statement(plan.sql, plan.args(given)))))[0]


def spliced(plan: Plan, row: Mapping[str, Any]) -> dict[str, Any]:
    """The data: each root field's text under its key, untouched."""
    return {
        root.key: _FRAGMENT(root.text if root.column is None else row[root.column] or "null") for root in plan.roots
    }


_FRAGMENT = orjson.Fragment


async def _app(ctx: Ctx, app_id: str) -> AppSchema:
    """The app. Raises Unauthenticated, Missing."""
    ctx.user()
    found = await ctx.ports.catalog.find(ctx, app_id)
    if found is None:
        raise Missing(f"app '{app_id[:80]}' not found")
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation over an app's schema, as one caller asks for it now."""

    schemas: TypedSchemas
    app_id: str
    text: str
    operation: TypedOperation
    write: MutationPlan | None  # of a mutation

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.operation.node.operation

    @property
    def public(self) -> bool:
        """Records are nobody's who has not signed in."""
        return False

    @property
    def kept(self) -> bool:
        """Whether its answer may be kept with a key."""
        return True

    @property
    def label(self) -> str:
        """What logs and metrics call it."""
        return "typed"

    @property
    def single(self) -> bool:
        """Whether it has one field, and that one comes to a single statement."""
        return self.write is not None and len(self.write.steps) == 1 and self.write.steps[0].single

    @property
    def name(self) -> str | None:
        """Its name in its document."""
        return self.operation.node.name.value if self.operation.node.name else None

    @property
    def source(self) -> str:
        """The app and the document."""
        return f"{self.app_id}:{self.text}"

    async def execute(self, variables: Mapping[str, Any], ctx: Ctx) -> ExecutionResult:
        """Run it; once more if the app's declaration changed since it was looked up."""
        try:
            try:
                return ExecutionResult(await self.schemas.run(self.operation, variables, ctx))
            except DeclarationChanged:
                if self.type is not OperationType.QUERY:
                    raise
                ctx.ports.catalog.forget(ctx.tenant_id, self.app_id)
                app = await _app(ctx, self.app_id)
                operation = self.schemas.operation(app, ctx.actor, self.text, self.name, variables)
                return ExecutionResult(await self.schemas.run(operation, variables, ctx))
        except DocumentRefused as refused:
            return ExecutionResult(None, refused.errors)

    async def subscribe(self, variables: Mapping[str, Any], ctx: Ctx) -> ExecutionResult | Wanted:
        """What it follows, or the result that says why nothing."""
        try:
            return self.schemas.followed(self.operation, variables, ctx)
        except DocumentRefused as refused:
            return ExecutionResult(None, refused.errors)


# Preparing.


def _prepared(known: Known, source: str, name: str | None, variables: Mapping[str, Any]) -> TypedOperation:
    schema = known.schema
    try:
        document = parse(
            source,
            max_source_length=limits.SOURCE_CHARS_MAX,
            max_lexical_tokens=limits.TOKENS_MAX,
            max_comments=limits.COMMENTS_MAX,
        )
    except GraphQLError as error:
        raise DocumentRefused([error]) from error
    # Measured first: the work of validation grows faster than a document does.
    try:
        introspects = limits.check_limits(document, variables, schema.paged, LIMITS)
    except DomainError as refused:
        raise DocumentRefused([refusal(refused)]) from refused
    errors = validate(schema, document, specified_rules, max_errors=20)
    if errors:
        raise DocumentRefused(errors)
    node = pick(document, name)
    definitions = node.variable_definitions or ()
    exact = {d.variable.name.value for d in definitions if _is_exact(d.type)}
    return TypedOperation(
        known,
        (source, name),
        document,
        node,
        paged=_paged(schema, document),
        exact=frozenset(exact),
        declared=tuple(d.variable.name.value for d in definitions),
        searched=frozenset(_given_to(document, "search")),
        sized_by=tuple(_given_to(document, "first")),
        defaults={d.variable.name.value: given_value(d.default_value, {}) for d in definitions if d.default_value},
        introspects=introspects,
    )


def _is_exact(type: Any) -> bool:
    while not hasattr(type, "name"):
        type = type.type
    name: str = type.name.value
    return name.endswith(("OrderBy", "Key", "Field", "GroupBy", "Order")) or name in ("DateBucket", "Boolean")


class _Names(Visitor):
    """Collects the names of fields and arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.found.add(node.name.value)

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        self.found.add(node.name.value)


class _Given(Visitor):
    """Collects the variables given to an argument."""

    def __init__(self, argument: str) -> None:
        super().__init__()
        self._argument = argument
        self.found: set[str] = set()

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        if node.name.value == self._argument and isinstance(node.value, VariableNode):
            self.found.add(node.value.name.value)


def _given_to(document: DocumentNode, argument: str) -> list[str]:
    given = _Given(argument)
    visit(document, given)
    return sorted(given.found)


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
        if reads is None or field is None or "offset" not in field.args or node.loc is None:
            return
        values = {argument.name.value: argument.value for argument in node.arguments or ()}
        link = "" if reads.relation is None else f":{reads.relation.link.name}:{reads.relation.name}"
        self.found[node.loc.start] = Paged(
            number=len(self.found),
            scope=f"typed:{self._app_id}:{reads.entity}{link}",
            asked=tuple(values.get(name) for name in ("where", "orderBy", "search", "near", "distinctOn")),
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


def _introspected(operation: TypedOperation, variables: Mapping[str, Any]) -> dict[str, Any]:
    compiler = QueryCompiler(operation.schema, operation.document, variables, operation.paged)
    document = compiler.introspection(operation.node)
    result = execute_sync(operation.schema, document, variable_values=dict(variables))
    if result.errors:
        raise DocumentRefused(result.errors)
    return result.data or {}
