"""From a subscription over the typed schema to what is listened for, and the statements that read what is told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from graphql import FieldNode, OperationDefinitionNode, ValueNode

from domain.kernel.events import Watch
from domain.records.computed import Lookup, Rollup
from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.later import Later
from domain.records.live import watch_of
from domain.records.query import ALWAYS, All, AnyOf, Compared, Condition, Key, Linked, Linking, Not, Test, Untrue
from domain.records.select import Compiler
from domain.records.selection import Aggregate, Edges, Groups, Listing, Many, Nodes, One, RecordPart, Source, Value
from graph.typed.compile import TYPENAME, QueryCompiler, first_of, selections_of
from graph.typed.live import ChangePlan, LivePlan
from graph.typed.meaning import Follows
from graph.typed.where import TypedReader
from graph.typed.write import Template


@dataclass(slots=True)
class SubscriptionCompiler(QueryCompiler):
    """Compiles the one root field of a subscription."""

    def subscription(self, operation: OperationDefinitionNode) -> ChangePlan | LivePlan:
        """What is told when. Raises Invalid."""
        key, nodes, follows = self._root_of(operation)
        entity = self.schema.app.types[follows.entity]
        if follows.live:
            return self._live(key, nodes, entity)
        given = self._argument(nodes[0], "where")
        where = ALWAYS if given is None else TypedReader(self.schema, entity).read(given)
        return self._changes(key, nodes, entity, where)

    def after(self, operation: OperationDefinitionNode) -> ValueNode | None:
        """The cursor that changes are wanted behind, as it is written."""
        (node, *_) = self._root_of(operation)[1]
        return next((given.value for given in node.arguments or () if given.name.value == "after"), None)

    def _root_of(self, operation: OperationDefinitionNode) -> tuple[str, list[FieldNode], Follows]:
        ((key, nodes),) = self._merged([operation.selection_set]).items()
        assert self.schema.subscription_type is not None
        return key, nodes, self.schema.subscription_type.fields[nodes[0].name.value].extensions["follows"]

    def _told(self, nodes: Sequence[FieldNode], type: str) -> Iterator[tuple[str, str, list[FieldNode]]]:
        """The keys of an object, what each tells, and the fields behind it."""
        for key, same in self._merged(selections_of(nodes)).items():
            name = same[0].name.value
            yield key, f"={type}" if name == TYPENAME else name, same

    # Changes.

    def _changes(self, key: str, nodes: Sequence[FieldNode], entity: ObjectType, where: Condition) -> ChangePlan:
        record = None
        parts = []
        for inner, what, same in self._told(nodes, f"{self.schema.names.of(entity.name).type}Change"):
            parts.append((inner, what))
            if what == "record":
                record = self._by_id(same, entity)
        return ChangePlan(self.schema.app, key, watch_of(self.schema.app, entity, where), parts, record)

    def _by_id(self, nodes: Sequence[FieldNode], entity: ObjectType) -> Template:
        compiler = Compiler()
        ids = Later("ids", (), "ids", lambda ids: [entity.columns["id"].type.operand(id) for id in ids])
        sql = compiler.by_ids(Source(self.schema.app, entity), self._record_parts(nodes, entity), ids)
        return Template(sql, tuple(compiler.params.values))

    # Lists that stay as they are.

    def _live(self, key: str, nodes: Sequence[FieldNode], entity: ObjectType) -> LivePlan:
        app, type = self.schema.app, self.schema.names.of(entity.name).type
        parts: list[tuple[str, str]] = []
        placed: list[tuple[str, str]] = []
        listed: list[FieldNode] = []
        single: list[FieldNode] = []
        for inner, what, same in self._told(nodes, f"{type}Live"):
            parts.append((inner, what))
            if what == "nodes":
                listed += same
            elif what == "changed":
                for deeper, told, fields in self._told(same, f"{type}Placed"):
                    placed.append((deeper, told))
                    single += fields if told == "node" else []
        definition = self.schema.subscription_type.fields[nodes[0].name.value]  # type: ignore[union-attr]
        which = self._which(nodes[0], entity)
        listing = Listing(
            source=Source(app, entity),
            parts=(),
            where=which.where,
            order=which.order,
            distinct=which.distinct,
            limit=self._later(self._argument(nodes[0], "first", definition), "first", first_of),
        )
        documents = {"listed": self._record_parts(listed, entity), "single": self._record_parts(single, entity)}
        compiler = Compiler()
        sql = compiler.rows(listing, documents)
        looked = _Looked(app)
        looked.listing(replace(listing, parts=[Nodes("", [*documents["listed"], *documents["single"]])]))
        watches = [watch_of(app, app.types[name]) for name in sorted(looked.entities)]
        watches += looked.deciding()
        return LivePlan(
            app, sorted(looked.entities), key, Template(sql, tuple(compiler.params.values)), watches, parts, placed
        )


class _Looked:
    """The entities that a list looks at: those whose records it shows or speaks of, and those behind them, whose
    records decide what the caller may see of them, or are part of their computed fields."""

    def __init__(self, app: AppSchema) -> None:
        self._app = app
        self.entities: set[str] = set()
        self._behind: set[str] = set()

    def listing(self, listing: Listing) -> None:
        """What a list looks at, whatever part of it is wanted."""
        entity = listing.source.entity
        self.entities.add(entity.name)
        self.condition(listing.where)
        for sort in listing.order:
            self.entities.update(source.entity.name for _, source in sort.through)
            self._field(sort.by)
        for declared in listing.distinct:
            self._field(declared)
        for part in listing.parts:
            match part:
                case Nodes():
                    self._record(part.parts)
                case Edges():
                    self._record([one for inner in part.parts if isinstance(inner, Nodes) for one in inner.parts])
                case Aggregate() | Groups():  # they may be of any field
                    for declared in entity.fields:
                        self._field(declared)

    def _record(self, parts: Sequence[RecordPart]) -> None:
        for part in parts:
            match part:
                case Value():
                    self._field(part.field)
                case One():
                    self.entities.add(part.source.entity.name)
                    self._record(part.parts)
                case Many():
                    self.listing(part.listing)

    def condition(self, where: Condition) -> None:
        """What a condition looks at besides its own entity."""
        match where:
            case Test(field):
                self._field(field)
            case Compared(field, _, other):
                self._field(field)
                self._field(other)
            case Linked() | Linking():
                self.entities.add(where.entity)
                self.condition(where.part)
            case Not(part) | Untrue(part):
                self.condition(part)
            case All(parts) | AnyOf(parts):
                for part in parts:
                    self.condition(part)

    def _field(self, declared: Key) -> None:
        computed = declared.computed if isinstance(declared, Field) else None
        if isinstance(computed, Lookup | Rollup):
            self._behind.add(computed.entity)

    def deciding(self) -> Iterator[Watch]:
        """The changes behind the records: of others as they are, not as the caller may see them."""
        policies = _Looked(self._app)
        for name in self.entities:
            guard = self._app.types[name].guard
            for held in guard.held.values() if guard is not None else ():
                for one in held or ():
                    policies.condition(one.rows)
        for name in sorted(self._behind | policies.entities | policies._behind):
            guard = self._app.types[name].guard
            if guard is not None:
                yield watch_of(guard.raw, guard.raw.types[name])
            elif name not in self.entities:
                yield watch_of(self._app, self._app.types[name])
