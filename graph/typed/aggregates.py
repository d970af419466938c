"""The types of aggregates over a list: counts, sums and extremes, of all its records or by groups of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
)

from domain.kernel.page import FIRST_DEFAULT
from domain.records.declared import Field, ObjectType
from domain.records.selection import Function
from domain.records.types import FieldType
from graph.typed.meaning import Reads
from graph.typed.names import EntityNames

if TYPE_CHECKING:
    from graph.typed.schema import TypedSchema

BUCKETS = ("HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR")
DATE_BUCKET = GraphQLEnumType(
    "DateBucket",
    {name: GraphQLEnumValue(name) for name in BUCKETS},
    description="The span of time that dates are grouped by, in UTC. Weeks begin on Monday.",
)

Fits = Callable[[FieldType], bool]


def single(type: FieldType) -> bool:
    """Whether a value is one scalar."""
    return type.element is type


def numeric(type: FieldType) -> bool:
    """Whether values can be added up."""
    return single(type) and type.graphql in ("Float", "BigInt", "Decimal") and type.name != "vector"


def comparable(type: FieldType) -> bool:
    """Whether there is a least and a greatest value."""
    return single(type) and type.sortable and type.graphql not in ("ID", "Boolean")


def groupable(type: FieldType) -> bool:
    """Whether records can be grouped by the value."""
    return single(type) and "eq" in type.operators and type.graphql != "JSON"


def dated(type: FieldType) -> bool:
    """Whether values are days or moments."""
    return type.graphql in ("Date", "DateTime")


# What is computed of fields: which fields, and the suffix of the types around it.
OF_FIELDS: Mapping[Function, tuple[Fits, str]] = {
    Function.COUNT_DISTINCT: (groupable, "Counts"),
    Function.SUM: (numeric, "Sums"),
    Function.AVG: (numeric, "Averages"),
    Function.MIN: (comparable, "Extremes"),
    Function.MAX: (comparable, "Extremes"),
}


# Types around an entity that there are only where it has a field like that, by what their names end in.
ONLY_WITH: Mapping[str, Fits] = {
    f"{suffix}{more}": fits for fits, suffix in OF_FIELDS.values() for more in ("", "Having", "Order")
}


def fields_for(entity: ObjectType, names: EntityNames, fits: Fits) -> Iterator[tuple[str, Field]]:
    """The fields that something can be computed of, by GraphQL name."""
    for shown, raw in names.fields.items():
        if fits(entity.columns[raw].type):
            yield shown, entity.columns[raw]


def connection_fields(schema: "TypedSchema", entity: ObjectType, names: EntityNames) -> dict[str, GraphQLField]:
    """What a list tells of its records together."""
    by: Any = GraphQLNonNull(GraphQLList(GraphQLNonNull(schema.types[f"{names.type}GroupBy"])))
    groups: Any = GraphQLNonNull(GraphQLList(GraphQLNonNull(schema.types[f"{names.type}Group"])))
    arguments = {
        "by": GraphQLArgument(by, description="What the records of a group have in common."),
        "having": GraphQLArgument(schema.types[f"{names.type}Having"], description="Which groups."),
        "orderBy": GraphQLArgument(
            GraphQLList(GraphQLNonNull(schema.types[f"{names.type}GroupOrder"])),
            description="In what order; by their keys without it.",
        ),
        "first": GraphQLArgument(GraphQLNonNull(GraphQLInt), FIRST_DEFAULT, description="How many groups."),
    }
    return {
        "aggregate": GraphQLField(
            GraphQLNonNull(schema.types[f"{names.type}Aggregate"]),
            description="Of all records that `where` holds for, not only those of this page.",
            extensions={"reads": Reads("aggregate", entity.name)},
        ),
        "groups": GraphQLField(
            groups,
            arguments,
            description="Aggregates by groups of all records that `where` holds for.",
            extensions={"reads": Reads("groups", entity.name)},
        ),
    }


def _aggregate(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    made = {"count": GraphQLField(GraphQLNonNull(GraphQLInt), description="How many records.")}
    for function, (fits, suffix) in OF_FIELDS.items():
        if any(True for _ in fields_for(entity, names, fits)):
            made[function.value] = GraphQLField(GraphQLNonNull(schema.types[f"{names.type}{suffix}"]))
    return GraphQLObjectType(name, made, description=f"What {names.many} come to.")


def _of_fields(
    fits: Fits, output: Callable[["TypedSchema", ObjectType, Field], Any]
) -> Callable[["TypedSchema", str, ObjectType, EntityNames], GraphQLNamedType]:
    def make(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
        made = {shown: GraphQLField(output(schema, entity, field)) for shown, field in fields_for(entity, names, fits)}
        return GraphQLObjectType(name, made, description=f"By field of {names.many}; null where there is no value.")

    return make


def _group(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    made = {
        "key": GraphQLField(GraphQLNonNull(schema.types[f"{names.type}GroupKey"])),
        "aggregate": GraphQLField(GraphQLNonNull(schema.types[f"{names.type}Aggregate"])),
    }
    return GraphQLObjectType(name, made, description=f"A group of {names.many}.")


def _group_by(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    made = {
        shown: GraphQLInputField(DATE_BUCKET if dated(field.type) else GraphQLBoolean)
        for shown, field in fields_for(entity, names, groupable)
    }
    return GraphQLInputObjectType(name, made, description="One field to group by: true, or for times the span.")


def _having(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    made = {"count": GraphQLInputField(schema.types["BigIntFilter"])}
    for function, (fits, suffix) in OF_FIELDS.items():
        if any(True for _ in fields_for(entity, names, fits)):
            made[function.value] = GraphQLInputField(schema.types[f"{names.type}{suffix}Having"])
    return GraphQLInputObjectType(name, made, description="What must hold for a group: all that is said.")


def _order(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
    order = schema.types["SortOrder"]
    made = {
        "count": GraphQLInputField(order),
        "key": GraphQLInputField(schema.types[f"{names.type}GroupKeyOrder"]),
    }
    for function, (fits, suffix) in OF_FIELDS.items():
        if any(True for _ in fields_for(entity, names, fits)):
            made[function.value] = GraphQLInputField(schema.types[f"{names.type}{suffix}Order"])
    return GraphQLInputObjectType(name, made, description="One thing to order groups by, and which way.")


def _tests(
    fits: Fits, filter: Callable[["TypedSchema", ObjectType, Field], str]
) -> Callable[["TypedSchema", str, ObjectType, EntityNames], GraphQLNamedType]:
    def make(schema: "TypedSchema", name: str, entity: ObjectType, names: EntityNames) -> GraphQLNamedType:
        made = {
            shown: GraphQLInputField(schema.types[filter(schema, entity, field)])
            for shown, field in fields_for(entity, names, fits)
        }
        return GraphQLInputObjectType(name, made)

    return make


def _orders(fits: Fits) -> Callable[["TypedSchema", str, ObjectType, EntityNames], GraphQLNamedType]:
    return _tests(fits, lambda *_: "SortOrder")


def _output(schema: "TypedSchema", entity: ObjectType, field: Field) -> Any:
    """The GraphQL type of a field's value in a group."""
    return schema.scalar(field.type, schema.names.enum_of(entity, field))


def _filter(schema: "TypedSchema", entity: ObjectType, field: Field) -> str:
    return schema.filter_of(entity, field)


# The types around an entity, by what their names end in.
AROUND: Mapping[str, Callable[["TypedSchema", str, ObjectType, EntityNames], GraphQLNamedType]] = {
    "GroupKeyOrder": _orders(groupable),
    "GroupOrder": _order,
    "GroupKey": _of_fields(groupable, _output),
    "GroupBy": _group_by,
    "Group": _group,
    "Having": _having,
    "Aggregate": _aggregate,
    "Counts": _of_fields(groupable, lambda *_: GraphQLNonNull(GraphQLInt)),
    "Sums": _of_fields(numeric, _output),
    "Averages": _of_fields(numeric, lambda *_: GraphQLFloat),
    "Extremes": _of_fields(comparable, _output),
    "CountsHaving": _tests(groupable, lambda *_: "BigIntFilter"),
    "SumsHaving": _tests(numeric, _filter),
    "AveragesHaving": _tests(numeric, lambda *_: "FloatFilter"),
    "ExtremesHaving": _tests(comparable, _filter),
    "CountsOrder": _orders(groupable),
    "SumsOrder": _orders(numeric),
    "AveragesOrder": _orders(numeric),
    "ExtremesOrder": _orders(comparable),
}
