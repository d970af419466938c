"""From an operation over the typed schema to a plan: one SQL statement, and where its values come from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    InlineFragmentNode,
    ListValueNode,
    NullValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)

from domain.kernel.errors import Invalid
from domain.kernel.page import bounded_first
from domain.kernel.unit import LookUp
from domain.records import searching
from domain.records.declared import Field, ObjectType
from domain.records.later import Later, Origin, filled, origin_of, plain, read_operand, scattered, traced
from domain.records.query import All, Condition, Metric, Near, Op, Sought, Test
from domain.records.select import Compiler
from domain.records.selection import (
    After,
    Aggregate,
    Constant,
    Cursor,
    Edges,
    Function,
    GroupField,
    GroupKey,
    Groups,
    GroupSort,
    Having,
    Listing,
    ListPart,
    Many,
    Measure,
    Nodes,
    One,
    PageInfo,
    Placing,
    RecordPart,
    Sort,
    Source,
    Total,
    Value,
)
from domain.records.service import OFFSET_MAX
from domain.records.sql import condition
from domain.records.types import GeoPointType, NotOfType, degrees_of
from domain.records.types.numbers import NumberType
from graph.typed.aggregates import OF_FIELDS
from graph.typed.meaning import Reads, Writes
from graph.typed.names import Relation
from graph.typed.schema import SORT_ORDERS, TypedSchema
from graph.typed.where import TypedReader, listed

GROUPED_BY_MAX = 8
ORDERED_BY_MAX = 16
LINKS_MAX = 6  # that lead to what is ordered by
NUMBER = NumberType()
TYPENAME = "__typename"


@dataclass(frozen=True, slots=True)
class Root:
    """One root field of a plan: its key, and the column of the statement that has it, or a text that never changes."""

    key: str
    column: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled query. `values` are the statement's parameters; those that are `Later` come with each run.

    One that is all about the record of one id is a look-up: `key` is that id, and no parameter among `values`.
    """

    sql: str
    values: tuple[Any, ...]
    roots: tuple[Root, ...]
    about: ObjectType | None  # what refusals of PostgreSQL are told of
    key: Any = None

    def args(self, variables: Mapping[str, Any]) -> tuple[Any, ...]:
        """The parameters of this run. Raises Invalid."""
        return filled(self.values, variables)

    def look_up(self, variables: Mapping[str, Any]) -> tuple[LookUp, Any]:
        """What to look up in this run, and for which key. Raises Invalid."""
        key, *args = filled((self.key, *self.values), variables)
        return LookUp.of(self.sql, args), key


@dataclass(slots=True)
class Paged:
    """A list that cursors are made for or read from: what binds its cursors to it, and the cursor given."""

    number: int
    scope: str
    asked: tuple[ValueNode | None, ...]  # the arguments that say which records, and in what order
    after: ValueNode | None

    @property
    def pads(self) -> tuple[str, str]:
        """The names under which a run has the pads of the list's HMAC."""
        return f"cursor pad {self.number} inner", f"cursor pad {self.number} outer"

    @property
    def key(self) -> str:
        """The name under which a run has the values in the cursor given."""
        return f"cursor key {self.number}"


@dataclass(frozen=True, slots=True)
class Which:
    """Which records a list has, in what order; and what of that tells how they are placed."""

    where: Condition
    order: Sequence[Sort]
    distinct: Sequence[Field]
    sought: Sought | None
    near: Near | None


@dataclass(slots=True)
class QueryCompiler:
    """Compiles one operation for the structure its variables have now."""

    schema: TypedSchema
    document: DocumentNode
    variables: Mapping[str, Any]  # coerced only in so far as they fit
    paged: Mapping[int, Paged]  # by the position of the field in the document
    _fragments: dict[str, FragmentDefinitionNode] = field(init=False)

    def __post_init__(self) -> None:
        self._fragments = fragments_of(self.document)

    def plan(self, operation: OperationDefinitionNode) -> Plan:
        """The plan of a query. Raises Invalid."""
        merged = self._merged([operation.selection_set])
        asked = {key: nodes for key, nodes in merged.items() if not nodes[0].name.value.startswith("__")}
        columns = {key: f"r{number}" for number, key in enumerate(asked)}
        roots = tuple(Root(key, columns.get(key), '"Query"') for key in merged)
        if not asked:
            return Plan("", (), roots, None)
        nodes = next(iter(asked.values()))
        reads = self._reads(nodes)
        about = self.schema.app.types[reads.entity]
        compiler = Compiler()
        if len(asked) == 1 and reads.kind == "one":
            key, source = self._id(nodes, reads), self._source(reads.entity)
            sql = compiler.look_up(source, self._record_parts(nodes, source.entity))
            return Plan(sql, tuple(compiler.params.values[1:]), roots, about, key)
        made = [f"({self._root(compiler, nodes)})::text AS {columns[key]}" for key, nodes in asked.items()]
        return Plan(f"SELECT {', '.join(made)}", tuple(compiler.params.values), roots, about)

    def _definition(self, nodes: Sequence[FieldNode]) -> GraphQLField:
        root: Any = self.schema.query_type
        definition: GraphQLField = root.fields[nodes[0].name.value]
        return definition

    def _reads(self, nodes: Sequence[FieldNode]) -> Reads:
        reads: Reads = self._definition(nodes).extensions["reads"]
        return reads

    def _root(self, compiler: Compiler, nodes: Sequence[FieldNode]) -> str:
        reads = self._reads(nodes)
        if reads.kind == "list":
            return compiler.listing(self._listing(self._definition(nodes), nodes, reads.entity))
        source = self._source(reads.entity)
        parts = self._record_parts(nodes, source.entity)
        if reads.kind == "unique":
            met = self._equal(nodes[0], reads)
            return compiler.record(source, parts, lambda alias: condition(source.schema, met, compiler.params, alias))
        id = self._id(nodes, reads)
        type = source.entity.columns["id"].type.column
        return compiler.record(source, parts, lambda alias: f"{alias}.id = {compiler.params.add(id, type)}")

    def _id(self, nodes: Sequence[FieldNode], reads: Reads) -> Any:
        type = self.schema.app.types[reads.entity].columns["id"].type
        return self._later(self._argument(nodes[0], "id"), "id", type.operand)

    def _equal(self, node: FieldNode, meant: Reads | Writes) -> Condition:
        """That a record has the values of a unique key."""
        shown = {raw: name for name, raw in self.schema.names.of(meant.entity).fields.items()}
        values = [(field, shown[field.name]) for field in meant.key]
        return All(
            [
                Test(field, Op.EQ, self._later(self._argument(node, name), name, field.type.operand))
                for field, name in values
            ]
        )

    def _source(self, entity: str) -> Source:
        return Source(self.schema.app, self.schema.app.types[entity])

    def introspection(self, operation: OperationDefinitionNode) -> DocumentNode:
        """What of a query is about the schema: a document of its own."""
        fields = self._fields([operation.selection_set], set())
        about = tuple(node for node in fields if node.name.value in ("__schema", "__type"))
        asked = replace(operation, selection_set=replace(operation.selection_set, selections=about))
        return replace(self.document, definitions=(asked, *self._fragments.values()))

    # Records.

    def _record_parts(self, nodes: Sequence[FieldNode], entity: ObjectType) -> list[RecordPart]:
        type: Any = self.schema.types[self.schema.names.of(entity.name).type]
        parts: list[RecordPart] = []
        for key, same in self._merged(selections_of(nodes)).items():
            name = same[0].name.value
            if name == TYPENAME:
                parts.append(Constant(key, type.name))
                continue
            definition = type.fields[name]
            reads: Reads = definition.extensions["reads"]
            if reads.field is not None:
                parts.append(Value(key, reads.field))
            else:
                assert reads.relation is not None
                parts.append(self._related(key, definition, same, reads.relation))
        return parts

    def _related(
        self, key: str, definition: GraphQLField, nodes: Sequence[FieldNode], relation: Relation
    ) -> RecordPart:
        if relation.several:
            listing = self._listing(definition, nodes, relation.entity)
            return Many(key, relation.link, listing, forward=not relation.back)
        source = self._source(relation.entity)
        return One(key, relation.link, source, self._record_parts(nodes, source.entity))

    # Lists.

    def _listing(self, definition: GraphQLField, nodes: Sequence[FieldNode], entity: str) -> Listing:
        node, source = nodes[0], self._source(entity)
        paged = self.paged.get(node.loc.start if node.loc else -1)
        which = self._which(node, source.entity)
        return Listing(
            source=source,
            parts=self._list_parts(nodes, definition, source.entity, which),
            where=which.where,
            order=which.order,
            distinct=which.distinct,
            limit=self._later(self._argument(node, "first", definition), "first", first_of),
            offset=self._offset(self._argument(node, "offset", definition)),
            after=self._after(paged),
            cursor_pads=None if paged is None else _pads(paged),
        )

    def _after(self, paged: Paged | None) -> After | None:
        given = self.variables.get(paged.key) if paged is not None else None
        if paged is None or given is None:
            return None
        return After(Later(paged.key, (), "after", lambda key: key), tuple(value is None for value in given))

    def _offset(self, value: Any) -> int | Later:
        offset = self._later(value, "offset", _offset)
        return offset if isinstance(offset, Later) or offset else 0

    def _which(self, node: FieldNode, entity: ObjectType) -> Which:
        """What the arguments of a list say of its records."""
        where, order = self._argument(node, "where"), self._argument(node, "orderBy")
        conditions = [] if where is None else [TypedReader(self.schema, entity).read(where)]
        sought = self._sought(self._argument(node, "search"), entity)
        near = self._near(self._argument(node, "near"), entity)
        conditions += [part for part in (sought, near) if part is not None]
        met = conditions[0] if len(conditions) == 1 else All(conditions)
        best = [] if near is None else [Sort(near)]
        best += [] if sought is None else [Sort(sought, descending=True)]
        distinct = self._distinct(self._argument(node, "distinctOn"), entity)
        return Which(met, self._order(order, entity, best), distinct, sought, near)

    def _near(self, given: Any, entity: ObjectType) -> Near | None:
        if given is None:
            return None
        name, value = _only(given, "near", "one field")
        field = entity.columns[self.schema.names.of(entity.name).fields[name]]
        path, within = f"near.{name}", value.get("within")
        if within is not None:
            within = self._later(within, f"{path}.within", NUMBER.operand)
        if isinstance(field.type, GeoPointType):
            degrees = (lambda place: degrees_of(place)[0], lambda place: degrees_of(place)[1])
            to = tuple(self._later(value["to"], f"{path}.to", read) for read in degrees)
            return Near(field, Metric.METRES, to, within)
        metric, to = _only({key: part for key, part in value.items() if key != "within"}, path, "one metric")
        return Near(field, Metric(metric), self._later(to, f"{path}.{metric}", field.type.operand), within)

    def _distinct(self, given: Any, entity: ObjectType) -> list[Field]:
        names, chosen = self.schema.names.of(entity.name).fields, list(dict.fromkeys(listed(plain(given))))
        if len(chosen) > GROUPED_BY_MAX:
            raise Invalid("distinctOn", f"distinctOn must name at most {GROUPED_BY_MAX} fields")
        return [entity.columns[names[name]] for name in chosen]

    def _sought(self, given: Any, entity: ObjectType) -> Sought | None:
        if given is None or entity.search is None:
            return None
        read = searching.reader(entity.search)
        origin, now = origin_of(given), read_operand(read, plain(given), "search")

        def operand(part: Callable[[searching.Asked], str]) -> Any:
            if origin is None:
                return part(now)
            return Later(origin.variable, origin.steps, "search", lambda text: part(read(text)))

        alike = [operand(lambda asked, n=n: asked.alike[n]) for n in range(len(now.alike))]  # type: ignore[misc]
        exact = operand(lambda asked: asked.exact) if now.exact else None
        return Sought(entity, operand(lambda asked: asked.text), tuple(alike), exact)

    def _order(self, given: Any, entity: ObjectType, best: Sequence[Sort]) -> list[Sort]:
        sorts = [self._sort(part, entity, path) for path, part in _ordered(given)]
        if not sorts:
            sorts = [*best, Sort(entity.columns["created_at"], descending=True)]
        if all(sort.through or sort.by is not entity.columns["id"] for sort in sorts):
            sorts.append(Sort(entity.columns["id"]))
        return sorts

    def _sort(self, given: Any, entity: ObjectType, path: str) -> Sort:
        name, value = _only(given, path)
        names = self.schema.names.of(entity.name)
        if name in names.fields:
            descending, nulls_first = SORT_ORDERS[value]
            return Sort(entity.columns[names.fields[name]], descending, nulls_first)
        relation = names.relations[name]
        if path.count(".") > LINKS_MAX:
            raise Invalid(path, f"{path} leads through more than {LINKS_MAX} links")
        source = self._source(relation.entity)
        inner = self._sort(value, source.entity, f"{path}.{name}")
        return Sort(inner.by, inner.descending, inner.nulls_first, ((relation.link, source), *inner.through))

    def _list_parts(
        self, nodes: Sequence[FieldNode], definition: GraphQLField, entity: ObjectType, which: Which
    ) -> list[ListPart]:
        type: Any = get_named_type(definition.type)
        parts: list[ListPart] = []
        for key, same in self._merged(selections_of(nodes)).items():
            match same[0].name.value:
                case "nodes":
                    parts.append(Nodes(key, self._record_parts(same, entity)))
                case "edges":
                    parts.append(Edges(key, self._edge_parts(same, entity, which)))
                case "pageInfo":
                    parts.append(PageInfo(key, self._page_info(same)))
                case "totalCount":
                    parts.append(Total(key))
                case "aggregate":
                    parts.append(self._aggregate(key, same, entity))
                case "groups":
                    parts.append(self._groups(key, same, type.fields["groups"], entity))
                case _:
                    parts.append(Constant(key, type.name))
        return parts

    def _edge_parts(
        self, nodes: Sequence[FieldNode], entity: ObjectType, which: Which
    ) -> list[Cursor | Nodes | Placing | Constant]:
        parts: list[Cursor | Nodes | Placing | Constant] = []
        for key, same in self._merged(selections_of(nodes)).items():
            match same[0].name.value:
                case "cursor":
                    parts.append(Cursor(key))
                case "searchRank":
                    parts.append(Placing(key, which.sought))
                case "distance":
                    parts.append(Placing(key, which.near))
                case "node":
                    parts.append(Nodes(key, self._record_parts(same, entity)))
                case _:
                    parts.append(Constant(key, f"{self.schema.names.of(entity.name).type}Edge"))
        return parts

    def _page_info(self, nodes: Sequence[FieldNode]) -> list[tuple[str, str]]:
        merged = self._merged(selections_of(nodes)).items()
        return [(key, "=PageInfo" if same[0].name.value == TYPENAME else same[0].name.value) for key, same in merged]

    # Records together.

    def _aggregate(self, key: str, nodes: Sequence[FieldNode], entity: ObjectType) -> Aggregate:
        type = f"{self.schema.names.of(entity.name).type}Aggregate"
        parts: list[Measure | Constant | Aggregate] = []
        for inner, same in self._merged(selections_of(nodes)).items():
            name = same[0].name.value
            if name == TYPENAME:
                parts.append(Constant(inner, type))
            elif name == "count":
                parts.append(Measure(inner, Function.COUNT))
            else:
                parts.append(self._of_fields(inner, same, Function(name), entity))
        return Aggregate(key, parts)

    def _of_fields(self, key: str, nodes: Sequence[FieldNode], function: Function, entity: ObjectType) -> Aggregate:
        names = self.schema.names.of(entity.name)
        parts: list[Measure | Constant | Aggregate] = []
        for inner, same in self._merged(selections_of(nodes)).items():
            name = same[0].name.value
            if name == TYPENAME:
                parts.append(Constant(inner, f"{names.type}{OF_FIELDS[function][1]}"))
            else:
                parts.append(Measure(inner, function, entity.columns[names.fields[name]]))
        return Aggregate(key, parts)

    def _groups(self, key: str, nodes: Sequence[FieldNode], definition: GraphQLField, entity: ObjectType) -> Groups:
        node, type = nodes[0], self.schema.names.of(entity.name).type
        given = listed(plain(self._argument(node, "by")))
        by = [self._group_field(part, entity, f"by.{index}") for index, part in enumerate(given)]
        if not 1 <= len(by) <= GROUPED_BY_MAX or len({made.field.name for made in by}) < len(by):
            raise Invalid("by", f"by must name 1 to {GROUPED_BY_MAX} different fields")
        parts: list[GroupKey | Aggregate | Constant] = []
        for inner, same in self._merged(selections_of(nodes)).items():
            match same[0].name.value:
                case "key":
                    parts.append(self._group_key(inner, same, entity, by))
                case "aggregate":
                    parts.append(self._aggregate(inner, same, entity))
                case _:
                    parts.append(Constant(inner, f"{type}Group"))
        order = _ordered(self._argument(node, "orderBy"))
        return Groups(
            key,
            by,
            parts,
            having=list(self._having(self._argument(node, "having"), entity)),
            order=[self._group_sort(part, entity, by, path) for path, part in order],
            limit=self._later(self._argument(node, "first", definition), "first", first_of),
        )

    def _group_field(self, given: Any, entity: ObjectType, path: str) -> GroupField:
        name, value = _only(given, path)
        if value is False:
            raise Invalid(path, f"{path} must be true")
        field = entity.columns[self.schema.names.of(entity.name).fields[name]]
        return GroupField(field, None if value is True else value.lower())

    def _group_key(
        self, key: str, nodes: Sequence[FieldNode], entity: ObjectType, by: Sequence[GroupField]
    ) -> GroupKey:
        names = self.schema.names.of(entity.name)
        grouped = {made.field.name: made for made in by}
        parts: list[tuple[str, GroupField | None] | Constant] = []
        for inner, same in self._merged(selections_of(nodes)).items():
            name = same[0].name.value
            if name == TYPENAME:
                parts.append(Constant(inner, f"{names.type}GroupKey"))
            else:
                parts.append((inner, grouped.get(names.fields[name])))
        return GroupKey(key, parts)

    def _having(self, given: Any, entity: ObjectType) -> Iterator[Having]:
        names = self.schema.names.of(entity.name)
        for name, tests in (given or {}).items():
            if name == "count":
                yield from self._tests(Measure("", Function.COUNT), tests, entity, "having.count")
                continue
            for shown, inner in (tests or {}).items():
                measure = Measure("", Function(name), entity.columns[names.fields[shown]])
                yield from self._tests(measure, inner, entity, f"having.{name}.{shown}")

    def _tests(self, measure: Measure, tests: Any, entity: ObjectType, path: str) -> Iterator[Having]:
        reader = TypedReader(self.schema, entity, path)
        read = (NUMBER if measure.own is None else measure.own).operand
        for name, value in (tests or {}).items():
            op, place = Op(name), f"{path}.{name}"
            if value is None and op in (Op.EQ, Op.NE):
                yield Having(measure, Op.IS_NULL, op is Op.EQ)
            elif value is None:
                continue
            elif op is Op.IS_NULL:
                yield Having(measure, op, reader.flag(value, place))
            elif op in (Op.IN, Op.NOT_IN):
                yield Having(measure, op, reader.operands(value, place, read))
            else:
                yield Having(measure, op, reader.operand(value, place, read))

    def _group_sort(self, given: Any, entity: ObjectType, by: Sequence[GroupField], path: str) -> GroupSort:
        name, value = _only(given, path)
        if name == "count":
            return GroupSort(Measure("", Function.COUNT), *SORT_ORDERS[value])
        shown, order = _only(value, f"{path}.{name}")
        field = entity.columns[self.schema.names.of(entity.name).fields[shown]]
        if name != "key":
            return GroupSort(Measure("", Function(name), field), *SORT_ORDERS[order])
        for made in by:
            if made.field is field:
                return GroupSort(made, *SORT_ORDERS[order])
        raise Invalid(f"{path}.key", f"{path}.key: the records are not grouped by '{shown}'")

    # Reading the document.

    def _merged(self, selections: Sequence[SelectionSetNode]) -> dict[str, list[FieldNode]]:
        """The fields by the key they have in the answer, fragments spelled out, in the order they are first met."""
        found: dict[str, list[FieldNode]] = {}
        for node in self._fields(selections, set()):
            found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
        return found

    def _fields(self, selections: Sequence[SelectionSetNode], seen: set[str]) -> Iterator[FieldNode]:
        for selection_set in selections:
            for node in selection_set.selections:
                if not self._included(node):
                    continue
                if isinstance(node, FieldNode):
                    yield node
                elif isinstance(node, InlineFragmentNode):
                    yield from self._fields([node.selection_set], seen)
                elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                    seen.add(node.name.value)
                    yield from self._fields([self._fragments[node.name.value].selection_set], seen)

    def _included(self, node: Any) -> bool:
        for directive in node.directives or ():
            if directive.name.value in ("skip", "include"):
                value = given_value(directive.arguments[0].value, self.variables)
                if bool(value) == (directive.name.value == "skip"):
                    return False
        return True

    def _argument(self, node: FieldNode, name: str, definition: GraphQLField | None = None) -> Any:
        """An argument's value, traced where a variable has it; the schema's default where it isn't given."""
        for argument in node.arguments or ():
            if argument.name.value == name:
                value = argument.value
                absent = isinstance(value, VariableNode) and value.name.value not in self.variables
                if not absent:
                    return self._value(value)
        return definition.args[name].default_value if definition is not None else None

    def _value(self, node: ValueNode) -> Any:
        if isinstance(node, VariableNode):
            name = node.name.value
            return traced(self.variables.get(name), Origin(name))
        if isinstance(node, ObjectValueNode):
            return {part.name.value: self._value(part.value) for part in present(node, self.variables)}
        if isinstance(node, ListValueNode):
            return [self._value(part) for part in node.values]
        return None if isinstance(node, NullValueNode) else value_from_ast_untyped(node)

    @staticmethod
    def _later(value: Any, path: str, read: Any) -> Any:
        """The value now, or the mark of a value that comes with each run. Raises Invalid."""
        if scattered(value):
            raise Invalid(path, f"{path} must be written out, or be a variable as a whole")
        origin = origin_of(value)
        now = read_operand(read, plain(value), path)
        return now if origin is None else Later(origin.variable, origin.steps, path, read)


def given_value(node: ValueNode | None, variables: Mapping[str, Any]) -> Any:
    """What is written in a document, with what variables bring: a part whose variable is absent is absent, too."""
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    if isinstance(node, ObjectValueNode):
        return {part.name.value: given_value(part.value, variables) for part in present(node, variables)}
    if isinstance(node, ListValueNode):
        return [given_value(part, variables) for part in node.values]
    return None if node is None else value_from_ast_untyped(node)


def present(node: ObjectValueNode, variables: Mapping[str, Any]) -> Iterator[ObjectFieldNode]:
    """The fields of an object, but for those whose variable is absent."""
    for part in node.fields:
        if not isinstance(part.value, VariableNode) or part.value.name.value in variables:
            yield part


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    """The fragments of a document by name."""
    return {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}


def selections_of(nodes: Sequence[FieldNode]) -> list[SelectionSetNode]:
    """What fields of one key select, together."""
    return [node.selection_set for node in nodes if node.selection_set is not None]


def _ordered(given: Any) -> list[tuple[str, Any]]:
    """The parts of an order, each with its path. Raises Invalid."""
    parts = listed(plain(given))
    if len(parts) > ORDERED_BY_MAX:
        raise Invalid("orderBy", f"orderBy must name at most {ORDERED_BY_MAX} fields")
    return [(f"orderBy.{index}", part) for index, part in enumerate(parts)]


def _only(given: Any, path: str, one: str = "one field; a list names several") -> tuple[str, Any]:
    """The one part of an input that has exactly one."""
    chosen = [(key, value) for key, value in (given or {}).items() if value is not None]
    if len(chosen) != 1:
        raise Invalid(path, f"{path} must name {one}")
    return chosen[0]


def _pads(paged: Paged) -> tuple[Later, Later]:
    inner, outer = paged.pads
    return Later(inner, (), "after", lambda pad: pad), Later(outer, (), "after", lambda pad: pad)


def first_of(value: Any) -> int:
    """How many to return. Raises NotOfType."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise NotOfType("must be a whole number")
    return bounded_first(value)


def _offset(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= OFFSET_MAX:
        raise NotOfType(f"must be between 0 and {OFFSET_MAX}")
    return value
