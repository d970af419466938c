"""The typed schema of one app, as one set of permissions may see it. Its types are made when a document names them.

A thousand object types have some ten thousand GraphQL types around them; an operation names a handful. So the type
map makes a type when it is first looked up, and nothing walks all of them but introspection.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import getdoc
from typing import Any, TypeVar

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    introspection_types,
    specified_directives,
)

from domain.access.permissions import Grants, Verb
from domain.kernel.page import FIRST_DEFAULT
from domain.records.declared import SYSTEM_FIELDS, AppSchema, Field, ObjectType
from domain.records.policies import bound_by
from domain.records.query import Op
from domain.records.types import NATIVE_TYPES, EnumType, FieldType, GeoPointType, VectorType
from graph.scalars import SCALARS
from graph.typed import aggregates
from graph.typed.meaning import Follows, Reads, Writes
from graph.typed.names import FILTER, AppNames, EntityNames, Relation, pascal

T = TypeVar("T")

SORT_ORDERS: Mapping[str, tuple[bool, bool | None]] = {  # descending, nulls first (None: as PostgreSQL has it)
    "ASC": (False, None),
    "DESC": (True, None),
    "ASC_NULLS_FIRST": (False, True),
    "DESC_NULLS_LAST": (True, False),
}

SEARCH = (
    'Words to find, the last one perhaps unfinished; "..." for a phrase, `or`, and `-` before what must not be there. '
    "The best matches come first where no order is asked for."
)

NEAR = (
    "Only records that have a value there, the nearest first where no order is asked for; with `within`, none that is "
    "further away."
)


@dataclass(frozen=True)
class Rights:
    """What of an app's records may be done: the part of a caller's grants that a schema depends on."""

    verbs: frozenset[tuple[str, Verb]]
    bound: frozenset[tuple[str, Verb, str]] = frozenset()  # the policies as far as which they may

    def may(self, entity: str, verb: Verb) -> bool:
        """Whether records of the entity may be treated so."""
        return (entity, verb) in self.verbs


BESIDE_KEY = frozenset({"values", "ifUpdatedAt"})  # what mutations by a key take besides its fields


def rights_of(schema: AppSchema, grants: Grants) -> Rights:
    """The rights that grants come to in one app."""
    verbs: set[tuple[str, Verb]] = set()
    bound: set[tuple[str, Verb, str]] = set()
    for name, entity in schema.types.items():
        for verb in Verb:
            policies = bound_by(schema, entity, verb, grants)
            if policies is None or policies:
                verbs.add((name, verb))
                bound.update((name, verb, policy.name) for policy in policies or ())
    return Rights(frozenset(verbs), frozenset(bound))


class _LazyMap(Mapping[str, T]):
    """A mapping whose values are made when they are looked up. `make` returns None for a name there is not."""

    def __init__(self, names: Callable[[], Iterator[str]], make: Callable[[str], T | None]) -> None:
        self._names = names
        self._make = make
        self._made: dict[str, T | None] = {}

    def __getitem__(self, name: str) -> T:
        if name not in self._made:
            made = self._make(name)
            if made is None:
                raise KeyError(name)  # not remembered: names come from documents, and there is no end of them
            self._made[name] = made
        found = self._made[name]
        assert found is not None
        return found

    @property
    def made(self) -> int:
        """How many were looked up."""
        return len(self._made)

    def __iter__(self) -> Iterator[str]:
        return self._names()

    def __len__(self) -> int:
        return sum(1 for _ in self._names())


class _LazyObject(GraphQLObjectType):
    """An object type whose fields are made one by one."""

    def __init__(self, name: str, fields: Mapping[str, GraphQLField], description: str) -> None:
        super().__init__(name, {}, description=description)
        self._lazy = fields

    @property
    def fields(self) -> Mapping[str, GraphQLField]:
        return self._lazy


class TypedSchema(GraphQLSchema):
    """The schema of one app for one set of rights."""

    def __init__(self, app: AppSchema, rights: Rights) -> None:
        # GraphQLSchema's own constructor walks all types; this one lets them be.
        self.app = app
        self.rights = rights
        self.names = AppNames(app)
        types: Any = _LazyMap(self._type_names, self._type)
        self.types = types
        self.type_map = types  # a mapping, though not a dict
        self.directives = tuple(specified_directives)
        self.description = f"The records of {app.app_name}."
        self.extensions = {}
        self.ast_node = None
        self.extension_ast_nodes = ()
        self._implementations_map = {}
        self._sub_type_map = {}
        self._validation_errors = []
        self.query_type = _LazyObject("Query", _LazyMap(self._query_names, self._query_field), "What can be read.")
        self.mutation_type = (
            _LazyObject("Mutation", _LazyMap(lambda: iter(self._mutations), self._mutation_field), "What can be done.")
            if any(self.may_write(entity, verb) for entity in self.readable for verb in Verb if verb != Verb.READ)
            else None
        )
        self.subscription_type = _LazyObject(
            "Subscription",
            _LazyMap(lambda: iter(self._subscriptions), self._subscription_field),
            "What can be followed.",
        )

    # Which entities there are.

    @cached_property
    def readable(self) -> list[str]:
        """The entities whose records may be read."""
        return [name for name in self.app.types if self.rights.may(name, Verb.READ)]

    @cached_property
    def _by_many(self) -> dict[str, str]:
        return {self.names.of(name).many: name for name in self.readable}

    @cached_property
    def _by_one(self) -> dict[str, str]:
        return {self.names.of(name).one: name for name in self.readable}

    @cached_property
    def _by_unique(self) -> dict[str, Reads]:
        """The look-ups by the fields of a unique key: `contactByEmail`."""
        found: dict[str, Reads] = {}
        for entity in self.readable:
            names = self.names.of(entity)
            for fields in telling_keys(self.app.types[entity]):
                name = f"{names.one}By{'And'.join(pascal(field.name) for field in fields)}"
                if name not in self._by_many and name not in self._by_one and name not in found:
                    found[name] = Reads("unique", entity, key=fields)
        return found

    def may_write(self, entity: str, verb: Verb) -> bool:
        """Whether records of the entity may be written so, with a field to set where one sets fields."""
        if verb is Verb.DELETE or not self.rights.may(entity, verb):
            return self.rights.may(entity, verb)
        return any(True for _ in _settable(self.app.types[entity], self.names.of(entity), verb))

    @cached_property
    def _mutations(self) -> dict[str, Writes]:
        """What may be done with records that may be read."""
        found: dict[str, Writes] = {}
        for entity in self.readable:
            one, many = (pascal_of(name) for name in (self.names.of(entity).one, self.names.of(entity).many))
            for verb in (Verb.CREATE, Verb.UPDATE, Verb.DELETE):
                if self.may_write(entity, verb):
                    found[f"{verb}{one}"] = Writes(verb, entity)
                    found[f"{verb}{many}"] = Writes(verb, entity, many=True)
            both = self.may_write(entity, Verb.CREATE) and self.may_write(entity, Verb.UPDATE)
            if both and unique_keys(self.app.types[entity]):
                found[f"upsert{one}"] = Writes(Verb.CREATE, entity, upsert=True)
        for name, reads in self._by_unique.items():
            for verb in (Verb.UPDATE, Verb.DELETE):
                if self.may_write(reads.entity, verb) and not BESIDE_KEY & self.key_arguments(reads).keys():
                    found[f"{verb}{pascal_of(name)}"] = Writes(verb, reads.entity, key=reads.key)
        return found

    @cached_property
    def _subscriptions(self) -> dict[str, Follows]:
        """What may be followed: the records that may be read."""
        found: dict[str, Follows] = {}
        for entity in self.readable:
            names = self.names.of(entity)
            found[f"{names.one}Changed"] = Follows(entity, live=False)
            found[f"{names.many}Live"] = Follows(entity, live=True)
        return found

    @cached_property
    def paged(self) -> Mapping[str, int]:
        """The fields that take `first`, by name, with its default."""
        lists = set(self._by_many)
        for entity in self.readable:
            lists.update(relation.name for relation in self.names.of(entity).relations.values() if relation.several)
        return dict.fromkeys(lists, FIRST_DEFAULT)

    # Types by name.

    def get_type(self, name: str) -> GraphQLNamedType | None:
        """The type of that name."""
        return self.types.get(name)

    def _type_names(self) -> Iterator[str]:
        yield "Query"
        yield "Subscription"
        if self.mutation_type is not None:
            yield "Mutation"
        yield from COMMON
        yield from introspection_types
        yield from FILTER_TYPES
        for name, (of, _) in self.names.enums.items():
            if self.rights.may(of.name, Verb.READ):
                yield from (name, name + FILTER)
        for entity in self.readable:
            type = self.names.of(entity).type
            around = (suffix for suffix, (_, verb) in AROUND_ENTITY.items() if verb is Verb.READ)
            yield from (type + suffix for suffix in around if self._there(suffix, entity))
            if self.may_write(entity, Verb.CREATE):
                yield f"{type}Create"
                if f"upsert{pascal_of(self.names.of(entity).one)}" in self._mutations:
                    yield f"{type}Key"
            if self.may_write(entity, Verb.UPDATE):
                yield f"{type}Update"

    def _type(self, name: str) -> GraphQLNamedType | None:
        if name == "Query":
            return self.query_type
        if name == "Mutation":
            return self.mutation_type
        if name == "Subscription":
            return self.subscription_type
        if name in COMMON:
            return COMMON[name]
        if name in FILTER_TYPES:
            return FILTER_TYPES[name](self)
        if name in introspection_types:
            return introspection_types[name]
        return self._enum_type(name) or self._entity_type(name)

    def _enum_type(self, name: str) -> GraphQLNamedType | None:
        for found, make in ((name, _enum), (name.removesuffix(FILTER), _enum_filter)):
            entity, field = self.names.enums.get(found, (None, None))
            if entity is not None and field is not None and self.rights.may(entity.name, Verb.READ):
                return make(self, name, entity, field)
        return None

    def _entity_type(self, name: str) -> GraphQLNamedType | None:
        for suffix, (make, verb) in AROUND_ENTITY.items():
            entity = self.names.entity_of_type.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if entity is None or not self.rights.may(entity, Verb.READ) or not self._there(suffix, entity):
                continue
            if verb is Verb.READ or self.may_write(entity, verb):
                return make(self, name, self.app.types[entity], self.names.of(entity))
        return None

    def _there(self, suffix: str, entity: str) -> bool:
        """Whether an entity has the type whose name ends so: it would have no fields otherwise."""
        fits = ONLY_WITH.get(suffix)
        names = self.names.of(entity)
        return fits is None or any(True for _ in aggregates.fields_for(self.app.types[entity], names, fits))

    def scalar(self, type: FieldType, enum: str | None = None) -> Any:
        """The GraphQL type of a field type's values, or of those that are an enum's."""
        one = self.types[enum or type.element.graphql]
        return one if type.element is type else GraphQLList(GraphQLNonNull(one))

    def filter_of(self, entity: ObjectType, field: Field) -> str:
        """The name of the type of conditions on a field's values."""
        enum = self.names.enum_of(entity, field)
        return field.type.filter if enum is None else enum + FILTER

    # Root fields.

    def _query_names(self) -> Iterator[str]:
        yield from self._by_many
        yield from self._by_one
        yield from self._by_unique

    def _query_field(self, name: str) -> GraphQLField | None:
        entity = self._by_many.get(name)
        if entity is not None:
            return self._list_field(entity, Reads("list", entity), self.app.types[entity].description)
        reads = self._by_unique.get(name)
        if reads is not None:
            return self._unique_field(reads)
        entity = self._by_one.get(name)
        if entity is None:
            return None
        id = GraphQLArgument(GraphQLNonNull(GraphQLID), description="The record's id.")
        type = self.types[self.names.of(entity).type]
        return GraphQLField(
            type, {"id": id}, description="One record, or null.", extensions={"reads": Reads("one", entity)}
        )

    def _unique_field(self, reads: Reads) -> GraphQLField:
        names = self.names.of(reads.entity)
        told = f"The {names.one} that alone has {_values(reads)}, or null."
        return GraphQLField(
            self.types[names.type], self.key_arguments(reads), description=told, extensions={"reads": reads}
        )

    def key_arguments(self, meant: Reads | Writes) -> dict[str, GraphQLArgument]:
        """The values that find a record by a unique key."""
        shown = {raw: name for name, raw in self.names.of(meant.entity).fields.items()}
        return {
            shown[field.name]: GraphQLArgument(
                GraphQLNonNull(value_type(self, self.app.types[meant.entity], field)),
                description=field.description or None,
            )
            for field in meant.key
        }

    def _list_field(self, entity: str, reads: Reads, description: str) -> GraphQLField:
        arguments = {
            **self._choosing(entity),
            "after": GraphQLArgument(GraphQLString, description="The cursor to start behind."),
            "offset": GraphQLArgument(GraphQLNonNull(GraphQLInt), 0, description="How many to leave out first."),
        }
        made: Any = GraphQLNonNull(self.types[f"{self.names.of(entity).type}Connection"])
        return GraphQLField(made, arguments, description=description or None, extensions={"reads": reads})

    def _choosing(self, entity: str) -> dict[str, GraphQLArgument]:
        """The arguments of a list that say which records it has, and in what order."""
        type = self.names.of(entity).type
        ordered: Any = GraphQLList(GraphQLNonNull(self.types[f"{type}OrderBy"]))
        alike: Any = GraphQLList(GraphQLNonNull(self.types[f"{type}Field"]))
        made = {
            "where": GraphQLArgument(self.types[f"{type}Where"], description="Which records."),
            "orderBy": GraphQLArgument(ordered, description="In what order; newest first without it."),
            "first": GraphQLArgument(GraphQLNonNull(GraphQLInt), FIRST_DEFAULT, description="How many to return."),
            "distinctOn": GraphQLArgument(
                alike, description="Of the records that are alike in all of these, only the first in the order."
            ),
        }
        if self._there("Near", entity):
            made["near"] = GraphQLArgument(self.types[f"{type}Near"], description=NEAR)
        if self.app.types[entity].search is not None:
            made["search"] = GraphQLArgument(GraphQLString, description=SEARCH)
        return made

    def _mutation_field(self, name: str) -> GraphQLField | None:
        writes = self._mutations.get(name)
        return None if writes is None else _mutation(self, writes)

    def _subscription_field(self, name: str) -> GraphQLField | None:
        follows = self._subscriptions.get(name)
        if follows is None:
            return None
        names = self.names.of(follows.entity)
        if follows.live:
            arguments = self._choosing(follows.entity)
            told = f"A list of {names.many}, and then whatever changes in it, or in the records shown with it."
        else:
            since = "The cursor of the last change seen; without it, from now on."
            arguments = {
                "where": GraphQLArgument(self.types[f"{names.type}Where"], description="Which records."),
                "after": GraphQLArgument(GraphQLString, description=since),
            }
            told = "Each change of the records that `where` holds for, before or after it, as it commits."
        type: Any = GraphQLNonNull(self.types[f"{names.type}{'Live' if follows.live else 'Change'}"])
        return GraphQLField(type, arguments, description=told, extensions={"follows": follows})


# What is followed.


def _change(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLField]:
        made = {
            "cursor": (GraphQLNonNull(GraphQLString), "Subscribe with it as `after` to go on behind this change."),
            "operation": (GraphQLNonNull(CHANGE_KIND), "What happened."),
            "id": (GraphQLNonNull(GraphQLID), "The record's id."),
            "record": (schema.types[names.type], "The record as it is when this is told; null when it is gone."),
            "changedAt": (GraphQLNonNull(schema.types["DateTime"]), "When it was changed."),
            "actorId": (GraphQLID, "The id of the user who changed it, if it was one."),
        }
        return {shown: GraphQLField(type, description=told) for shown, (type, told) in made.items()}

    return GraphQLObjectType(name, fields, description=f"One committed change of one of the {names.many}.")


def _live(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLField]:
        node: Any = GraphQLNonNull(schema.types[names.type])
        placed: Any = GraphQLNonNull(schema.types[f"{names.type}Placed"])
        return {
            "nodes": GraphQLField(GraphQLList(node), description="All of them in the first event; null in later ones."),
            "changed": GraphQLField(
                GraphQLNonNull(GraphQLList(placed)), description="Those that are new, different or elsewhere."
            ),
            "removed": GraphQLField(
                GraphQLNonNull(GraphQLList(GraphQLNonNull(GraphQLID))), description="The ids of those no longer in it."
            ),
        }

    return GraphQLObjectType(name, fields, description=f"A list of {names.many} that is kept as it is.")


def _placed(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    return GraphQLObjectType(
        name,
        lambda: {
            "index": GraphQLField(GraphQLNonNull(GraphQLInt), description="Its place in the list, from 0."),
            "id": GraphQLField(GraphQLNonNull(GraphQLID)),
            "node": GraphQLField(GraphQLNonNull(schema.types[names.type])),
        },
        description=f"One of a list of {names.many}, and where it is now.",
    )


CHANGE_KIND = GraphQLEnumType(
    "ChangeKind",
    {name: GraphQLEnumValue(name) for name in ("CREATED", "UPDATED", "DELETED")},
    description="What happened to a record.",
)


# What is done with records.


def _mutation(schema: TypedSchema, writes: Writes) -> GraphQLField:
    names = schema.names.of(writes.entity)
    type: Any = GraphQLNonNull(schema.types[names.type])
    arguments, told = _arguments(schema, writes, names)
    if writes.many:
        type = GraphQLNonNull(GraphQLList(type))
    return GraphQLField(type, arguments, description=told, extensions={"writes": writes})


def _arguments(schema: TypedSchema, writes: Writes, names: EntityNames) -> tuple[dict[str, GraphQLArgument], str]:
    """What a mutation takes, and what is told of it."""
    made: dict[str, GraphQLArgument] = {}
    if writes.verb is Verb.CREATE:
        values: Any = GraphQLNonNull(schema.types[f"{names.type}Create"])
        if writes.upsert:
            key: Any = GraphQLNonNull(schema.types[f"{names.type}Key"])
            made["values"] = GraphQLArgument(values, description="The record.")
            made["by"] = GraphQLArgument(
                GraphQLNonNull(GraphQLList(key)), description="The unique fields that one there is found by."
            )
            return made, f"Change the {names.one} that has these unique fields; create it where there is none."
        made["values"] = GraphQLArgument(GraphQLNonNull(GraphQLList(values)) if writes.many else values)
        several = f"Create {names.many}, all of them or none." if writes.many else f"Create a {names.one}."
        return made, f"{several} Records that belong to them can be created along."
    if writes.many:
        made["where"] = GraphQLArgument(GraphQLNonNull(schema.types[f"{names.type}Where"]), description="Which ones.")
        made["limit"] = GraphQLArgument(
            GraphQLNonNull(GraphQLInt), 100, description="How many it may be: if there are more, nothing is done."
        )
    else:
        id = GraphQLArgument(GraphQLNonNull(GraphQLID), description="The record's id.")
        made |= schema.key_arguments(writes) if writes.key else {"id": id}
        made["ifUpdatedAt"] = GraphQLArgument(
            schema.types["DateTime"], description="Only if it was last changed then; else it is refused as a conflict."
        )
    which = f"{names.many}, all of them or none" if writes.many else f"a {names.one}"
    if writes.key:
        which = f"the {names.one} that alone has {_values(writes)}"
    if writes.verb is Verb.UPDATE:
        made["values"] = GraphQLArgument(
            GraphQLNonNull(schema.types[f"{names.type}Update"]), description="What to change; null clears a field."
        )
        return made, f"Change {which}."
    return made, f"Delete {which}. Returns what was."


def _values(meant: Reads | Writes) -> str:
    return "this value" if len(meant.key) == 1 else "these values"


def _create(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLInputField]:
        made = {}
        along = {relation.link.name for relation in names.relations.values() if not relation.back}
        for shown, field in _settable(entity, names, Verb.CREATE):
            type = value_type(schema, entity, field)
            needed = field.required and field.default is None and field.name not in along
            made[shown] = GraphQLInputField(
                GraphQLNonNull(type) if needed else type, description=field.description or None
            )
        for relation in names.relations.values():
            may = schema.rights.may(relation.entity, Verb.READ) and schema.may_write(relation.entity, Verb.CREATE)
            if may and not relation.crossing:
                other: Any = schema.types[f"{schema.names.of(relation.entity).type}Create"]
                made[relation.name] = GraphQLInputField(
                    GraphQLList(GraphQLNonNull(other)) if relation.back else other,
                    description="Created along with it." if relation.back else "Created before it, and linked to.",
                )
        return made

    return GraphQLInputObjectType(name, fields, description=f"A new {names.one}.")


def _update(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLInputField]:
        return {
            shown: GraphQLInputField(
                value_type(schema, entity, field),
                description=field.description or None,
            )
            for shown, field in _settable(entity, names, Verb.UPDATE)
        }

    return GraphQLInputObjectType(name, fields, description=f"What to change of a {names.one}.")


def _settable(entity: ObjectType, names: EntityNames, verb: Verb) -> Iterator[tuple[str, Field]]:
    """The fields that a caller may write so, by GraphQL name."""
    closed = entity.guard.closed(verb) if entity.guard is not None else ()
    for shown, raw in names.fields.items():
        set_by_writer = raw not in SYSTEM_FIELDS or (raw == "id" and entity.own_id and verb is Verb.CREATE)
        field = entity.columns[raw]
        if set_by_writer and field.writable and raw not in closed:
            yield shown, field


def _key(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    unique = {raw for key in unique_keys(entity) for raw in key}
    values = {shown: GraphQLEnumValue(shown) for shown, raw in names.fields.items() if raw in unique}
    return GraphQLEnumType(name, values, description=f"Fields that tell one of the {names.many} from all others.")


def _near(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    made = {
        shown: GraphQLInputField(
            schema.types["GeoNear" if isinstance(field.type, GeoPointType) else "VectorNear"],
            description=field.description or None,
        )
        for shown, field in aggregates.fields_for(entity, names, measurable)
    }
    return GraphQLInputObjectType(name, made, description="One field, and what its value is to be near to.")


def _field(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    values = {shown: GraphQLEnumValue(shown) for shown, _ in aggregates.fields_for(entity, names, aggregates.groupable)}
    return GraphQLEnumType(name, values, description=f"Fields that {names.many} may be alike in.")


def unique_keys(entity: ObjectType) -> list[tuple[str, ...]]:
    """The sets of fields that tell each record from all others, by which one can be found."""
    found: list[tuple[str, ...]] = [(field.name,) for field in entity.fields if field.unique]
    for index in entity.indexes:
        columns = [part.column for part in index.parts if part.column is not None]
        if index.unique and index.where is None and len(columns) == len(index.parts):
            found.append(tuple(columns))
    return [key for key in found if all(name in entity.columns for name in key)]


def telling_keys(entity: ObjectType) -> Iterator[tuple[Field, ...]]:
    """The keys but for the id that tell each record from all others as a caller sees them."""
    for key in unique_keys(entity):
        fields = tuple(entity.columns[raw] for raw in key)
        blurred = entity.guard is not None and any(map(entity.guard.blurs, key))
        if key != ("id",) and not blurred and all("eq" in field.type.operators for field in fields):
            yield fields


def pascal_of(camel: str) -> str:
    """`contactTags` -> `ContactTags`."""
    return camel[:1].upper() + camel[1:]


# The types around an entity.


def _object(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLField]:
        made = {shown: _value_field(schema, entity, entity.columns[raw]) for shown, raw in names.fields.items()}
        for relation in names.relations.values():
            if schema.rights.may(relation.entity, Verb.READ):
                made[relation.name] = _relation_field(schema, relation)
        return made

    return GraphQLObjectType(name, fields, description=entity.description or None)


def _enum(schema: TypedSchema, name: str, entity: ObjectType, field: Field) -> GraphQLNamedType:
    values = {option: GraphQLEnumValue(option) for option in field.options or ()}
    return GraphQLEnumType(name, values, description=field.description or None)


def _enum_filter(schema: TypedSchema, name: str, entity: ObjectType, field: Field) -> GraphQLNamedType:
    type = EnumType() if aggregates.single(field.type) else field.type
    return _filter(name, type, lambda schema: value_type(schema, entity, field))(schema)


def value_type(schema: TypedSchema, entity: ObjectType, field: Field) -> Any:
    """The GraphQL type of a field's values."""
    if field.link is not None:
        return GraphQLID
    return schema.scalar(field.type, schema.names.enum_of(entity, field))


def _value_field(schema: TypedSchema, entity: ObjectType, field: Field) -> GraphQLField:
    type = value_type(schema, entity, field)
    return GraphQLField(
        GraphQLNonNull(type) if field.required else type,
        description=field.description or None,
        extensions={"reads": Reads("value", field=field)},
    )


def _relation_field(schema: TypedSchema, relation: Relation) -> GraphQLField:
    reads = Reads("relation", relation.entity, relation=relation)
    if relation.several:
        return schema._list_field(relation.entity, reads, "")
    return GraphQLField(schema.types[schema.names.of(relation.entity).type], extensions={"reads": reads})


def _connection(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLField]:
        node: Any = GraphQLNonNull(GraphQLList(GraphQLNonNull(schema.types[names.type])))
        edge: Any = GraphQLNonNull(GraphQLList(GraphQLNonNull(schema.types[f"{names.type}Edge"])))
        page_info: Any = GraphQLNonNull(COMMON["PageInfo"])
        return {
            "nodes": GraphQLField(node, extensions={"reads": Reads("nodes", entity.name)}),
            "edges": GraphQLField(edge, extensions={"reads": Reads("edges", entity.name)}),
            "pageInfo": GraphQLField(page_info, extensions={"reads": Reads("pageInfo")}),
            "totalCount": GraphQLField(GraphQLNonNull(GraphQLInt), extensions={"reads": Reads("total")}),
            **aggregates.connection_fields(schema, entity, names),
        }

    return GraphQLObjectType(name, fields, description=f"A page of {names.many}.")


def _edge(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLField]:
        node: Any = GraphQLNonNull(schema.types[names.type])
        made = {
            "cursor": GraphQLField(GraphQLNonNull(GraphQLString), extensions={"reads": Reads("cursor")}),
            "node": GraphQLField(node, extensions={"reads": Reads("node", entity.name)}),
        }
        if entity.search is not None:
            made["searchRank"] = GraphQLField(
                GraphQLFloat,
                description="How well it meets `search`: 1 or more with all the words, less with words like them.",
                extensions={"reads": Reads("placing")},
            )
        if schema._there("Near", entity.name):
            made["distance"] = GraphQLField(
                GraphQLFloat,
                description="How far it is from what `near` names: in metres, or as the metric of vectors has it.",
                extensions={"reads": Reads("placing")},
            )
        return made

    return GraphQLObjectType(name, fields, description=f"One of a page of {names.many}, with its cursor.")


def _where(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLInputField]:
        itself: Any = schema.types[name]
        several: Any = GraphQLList(GraphQLNonNull(itself))
        made = {
            "AND": GraphQLInputField(several, description="All of these hold."),
            "OR": GraphQLInputField(several, description="One of these holds, at least."),
            "NOT": GraphQLInputField(itself, description="This does not hold."),
        }
        for shown, raw in names.fields.items():
            made[shown] = GraphQLInputField(schema.types[schema.filter_of(entity, entity.columns[raw])])
        for relation in names.relations.values():
            if schema.rights.may(relation.entity, Verb.READ):
                other = schema.names.of(relation.entity).type
                made[relation.name] = GraphQLInputField(
                    schema.types[f"{other}ListWhere" if relation.several else f"{other}Where"]
                )
        return made

    return GraphQLInputObjectType(name, fields, description=f"Which {names.many}: all that is said must hold.")


def _list_where(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLInputField]:
        where: Any = schema.types[f"{names.type}Where"]
        return {
            "some": GraphQLInputField(where, description="There is one that meets this."),
            "none": GraphQLInputField(where, description="There is none that meets this."),
            "every": GraphQLInputField(where, description="There is none that does not meet this."),
        }

    return GraphQLInputObjectType(name, fields, description=f"What the {names.many} of a record must be like.")


def _order_by(schema: TypedSchema, name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    def fields() -> dict[str, GraphQLInputField]:
        made = {
            shown: GraphQLInputField(COMMON["SortOrder"])
            for shown, raw in names.fields.items()
            if entity.columns[raw].type.sortable
        }
        for relation in names.relations.values():
            if not relation.several and schema.rights.may(relation.entity, Verb.READ):
                other = schema.names.of(relation.entity).type
                made[relation.name] = GraphQLInputField(schema.types[f"{other}OrderBy"])
        return made

    return GraphQLInputObjectType(name, fields, description="One field to order by, and which way.")


def measurable(type: FieldType) -> bool:
    """Whether values are near to each other or far."""
    return isinstance(type, GeoPointType | VectorType)


ONLY_WITH = {**aggregates.ONLY_WITH, "Near": measurable}

Make = Callable[[TypedSchema, str, ObjectType, EntityNames], GraphQLNamedType]

# By what their names end in: how they are made, and what one must be allowed to see them.
AROUND_ENTITY: Mapping[str, tuple[Make, Verb]] = {
    **{suffix: (make, Verb.READ) for suffix, make in aggregates.AROUND.items()},
    "Change": (_change, Verb.READ),
    "Live": (_live, Verb.READ),
    "Placed": (_placed, Verb.READ),
    "Connection": (_connection, Verb.READ),
    "Edge": (_edge, Verb.READ),
    "ListWhere": (_list_where, Verb.READ),
    "Where": (_where, Verb.READ),
    "OrderBy": (_order_by, Verb.READ),
    "Create": (_create, Verb.CREATE),
    "Update": (_update, Verb.UPDATE),
    "Key": (_key, Verb.CREATE),
    "Field": (_field, Verb.READ),
    "Near": (_near, Verb.READ),
    "": (_object, Verb.READ),
}

# Types that are the same in every schema.

COMMON: dict[str, Any] = {
    "PageInfo": GraphQLObjectType(
        "PageInfo",
        {
            name: GraphQLField(
                GraphQLNonNull(GraphQLBoolean) if name.startswith("has") else GraphQLString,
                extensions={"reads": Reads("info")},
            )
            for name in ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor")
        },
        description="Where a page stands in its list.",
    ),
    "SortOrder": GraphQLEnumType(
        "SortOrder",
        {name: GraphQLEnumValue(name) for name in SORT_ORDERS},
        description="Which way. Nulls count as larger than any value unless it says otherwise.",
    ),
    "Int": GraphQLInt,
    "Float": GraphQLFloat,
    "String": GraphQLString,
    "Boolean": GraphQLBoolean,
    "ID": GraphQLID,
}
VECTOR: Any = GraphQLList(GraphQLNonNull(GraphQLFloat))
COMMON |= {
    "GeoWithin": GraphQLInputObjectType(
        "GeoWithin",
        {name: GraphQLInputField(GraphQLNonNull(GraphQLFloat)) for name in ("lat", "lng", "metres")},
        description="At most so many metres from a place, given in degrees; along the surface of the Earth.",
    ),
    "VectorNear": GraphQLInputObjectType(
        "VectorNear",
        {
            "cosine": GraphQLInputField(VECTOR, description="By the angle: 0 is the same direction, 2 the opposite."),
            "euclidean": GraphQLInputField(VECTOR, description="By the distance in a straight line."),
            "innerProduct": GraphQLInputField(
                VECTOR, description="By the inner product; the distance is its negative."
            ),
            "within": GraphQLInputField(GraphQLFloat, description="The greatest distance."),
        },
        description="A vector, given to the metric it is to be near by.",
    ),
}
COMMON |= {"DateBucket": aggregates.DATE_BUCKET, "ChangeKind": CHANGE_KIND}
COMMON |= {
    definition.name: GraphQLScalarType(
        definition.name,
        parse_value=definition.parse_value,
        description=definition.description,
    )
    for definition in SCALARS.values()
    if definition.name in ("JSON", "Date", "DateTime", "BigInt")
}
COMMON |= {  # field types read their values themselves
    type.graphql: GraphQLScalarType(type.graphql, description=(getdoc(type) or "").partition("\n\n")[0])
    for type in (make() for make in NATIVE_TYPES.values())
    if type.graphql not in COMMON
}

COMMON["GeoNear"] = GraphQLInputObjectType(
    "GeoNear",
    {
        "to": GraphQLInputField(GraphQLNonNull(COMMON["GeoPoint"])),
        "within": GraphQLInputField(GraphQLFloat, description="The greatest distance, in metres."),
    },
    description="A place to be near to, along the surface of the Earth.",
)

# The filters of field types: one input type for each distinct kind of value.


def _filter(
    name: str, type: FieldType, value_of: Callable[[TypedSchema], Any] | None = None
) -> Callable[[TypedSchema], GraphQLNamedType]:
    def fields(schema: TypedSchema) -> dict[str, GraphQLInputField]:
        value = schema.scalar(type) if value_of is None else value_of(schema)
        made: dict[str, GraphQLInputField] = {}
        for op in Op:
            if op.value in type.operators:
                several: Any = GraphQLList(GraphQLNonNull(value))
                read_apart = {Op.IS_NULL: GraphQLBoolean, Op.IN: several, Op.NOT_IN: several}
                operand = schema.types["GeoWithin"] if op is Op.WITHIN else read_apart.get(op, value)
                made[op.value] = GraphQLInputField(operand)
        return made

    return lambda schema: GraphQLInputObjectType(name, lambda: fields(schema))


FILTER_TYPES = {type.filter: _filter(type.filter, type) for type in (make() for make in NATIVE_TYPES.values())}
