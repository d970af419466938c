"""From a subscription over the typed schema to what is listened for, and the statements that read what is told."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from graphql import FieldNode, OperationDefinitionNode, ValueNode

from domain.kernel.events import Watch
from domain.records.declared import AppSchema, ObjectType
from domain.records.later import Later
from domain.records.live import watch_of
from domain.records.query import ALWAYS, All, AnyOf, Condition, Linked, Linking, Not, Untrue
from domain.records.select import Compiler
from domain.records.selection import Edges, Listing, Many, Nodes, One, RecordPart, Source
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
        entities = {entity.name, *_mentioned(which.where)}
        entities |= {name for parts in documents.values() for name in _shown(parts)}
        entities |= {source.entity.name for sort in listing.order for _, source in sort.through}
        watches = [watch_of(app, app.types[name]) for name in sorted(entities)]
        watches += _deciding(app, entities)
        return LivePlan(
            app, sorted(entities), key, Template(sql, tuple(compiler.params.values)), watches, parts, placed
        )


def _deciding(app: AppSchema, entities: Collection[str]) -> Iterator[Watch]:
    """The changes of other records that decide what the caller may see of these."""
    found = {}
    for guard in (app.types[name].guard for name in entities):
        for policies in guard.held.values() if guard is not None else ():
            for name in (name for one in policies or () for name in _mentioned(one.rows)):
                assert guard is not None
                found[name] = watch_of(guard.raw, guard.raw.types[name])
    return (watch for name, watch in sorted(found.items()) if name not in entities)


def _mentioned(where: Condition) -> Iterator[str]:
    """The entities that a condition looks at besides its own."""
    match where:
        case Linked() | Linking():
            yield where.entity
            yield from _mentioned(where.part)
        case Not(part) | Untrue(part):
            yield from _mentioned(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from _mentioned(part)


def _shown(parts: Sequence[RecordPart]) -> Iterator[str]:
    """The entities that a selection shows besides its own."""
    for part in parts:
        if isinstance(part, One):
            yield part.source.entity.name
            yield from _shown(part.parts)
        elif isinstance(part, Many):
            yield part.listing.source.entity.name
            yield from _mentioned(part.listing.where)
            for inner in part.listing.parts:
                if isinstance(inner, Nodes):
                    yield from _shown(inner.parts)
                elif isinstance(inner, Edges):
                    yield from (name for deep in inner.parts if isinstance(deep, Nodes) for name in _shown(deep.parts))
