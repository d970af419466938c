"""Computed fields, as a manifest in Stoa's own dialect declares them: formulas, lookups and rollups."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from domain.apps.expressions import checked_expression
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.computed import ROW_MARK, Computed, Formula, Lookup, Rollup
from domain.records.declared import USERS, Field
from domain.records.types import (
    DecimalType,
    DurationType,
    FieldType,
    IntegerType,
    NumberType,
    PercentType,
    SecretType,
    native_type,
)

FUNCTIONS = ("count", "sum", "avg", "min", "max")
FORMULA, LOOKUP, ROLLUP = "formula", "lookup", "rollup"
PARAMETERS = ("expression", "returns", "stored", "link", "entity", "field", "function", "where")

_CHANGES_BY_ITSELF = re.compile(r"\b(now|current_date|current_time|current_timestamp)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Others:
    """What a computed field may speak of: the stored fields of the row, and those of the manifest's entities."""

    entity: str
    row: Mapping[str, Field]
    fields_of: Callable[[str], Mapping[str, Field] | None]


def computed(node: Node, name: str, word: str, others: Others) -> Field:
    """A computed field of that name. Raises Invalid."""
    type, made = {FORMULA: _formula, LOOKUP: _lookup, ROLLUP: _rollup}[word](node, others)
    return Field(name, type, computed=made)


def _formula(node: Node, others: Others) -> tuple[FieldType, Computed]:
    text, path = node.text("expression"), node.path("expression")
    word = node.text("returns")
    type = native_type(word, node)
    if type is None:
        raise Invalid(node.path("returns"), f"{node.path('returns')} '{word[:80]}' is not a field type")
    row = [name for name, field in others.row.items() if not isinstance(field.type, SecretType)]
    expression = checked_expression(text, row, path, before_column=ROW_MARK)
    stored = node.flag("stored", default=_CHANGES_BY_ITSELF.search(text) is None)
    return type, Formula(expression, type.column, stored)


def _lookup(node: Node, others: Others) -> tuple[FieldType, Computed]:
    link = _one_of(node, "link", others.row)
    if link.link is None or link.link.target == USERS:
        path = node.path("link")
        raise Invalid(path, f"{path} '{link.name}' must be a field that leads to an entity of this manifest")
    fields = others.fields_of(link.link.target)
    assert fields is not None
    field = _one_of(node, "field", fields)
    return field.type, Lookup(link.name, link.link.target, field.name)


def _rollup(node: Node, others: Others) -> tuple[FieldType, Computed]:
    entity, path = node.text("entity"), node.path("entity")
    fields = others.fields_of(entity)
    if fields is None:
        raise Invalid(path, f"{path} '{entity[:80]}' must be an entity of this manifest")
    link = _one_of(node, "link", fields)
    if link.link is None or link.link.target != others.entity:
        raise Invalid(node.path("link"), f"{node.path('link')} '{link.name}' must be a field that leads here")
    function = node.text("function")
    if function not in FUNCTIONS:
        raise Invalid(node.path("function"), f"{node.path('function')} must be one of {', '.join(FUNCTIONS)}")
    field = None if function == "count" and not node.has("field") else _one_of(node, "field", fields)
    type = _rolled_up(function, field)
    if type is None:
        raise Invalid(node.path("field"), f"{node.path('field')} is of a type that has no {function}")
    where = node.text("where", default=None)
    met = None if where is None else checked_expression(where, [*fields], node.path("where"), before_column=ROW_MARK)
    return type, Rollup(entity, link.name, function, field.name if field else None, type.column, met)


def _rolled_up(function: str, field: Field | None) -> FieldType | None:
    """The type of what a function makes of values; None where it makes nothing."""
    if field is None or function == "count":
        return IntegerType()
    type = field.type
    if function in ("min", "max"):
        return type if "gt" in type.operators and type.graphql not in ("ID", "Money") else None
    match type:
        case IntegerType():
            return IntegerType() if function == "sum" else NumberType()
        case NumberType():
            return NumberType()
        case PercentType() | DecimalType():
            digits = type.precision + 10 if function == "sum" else type.precision
            return DecimalType(digits, type.scale)
        case DurationType():
            return DurationType()
    return None


def _one_of(node: Node, key: str, fields: Mapping[str, Field]) -> Field:
    """The stored field that the declaration names. Raises Invalid."""
    name, path = node.text(key), node.path(key)
    if name not in fields:
        raise Invalid(path, f"{path} '{name[:80]}' is not one of the fields, or is computed itself")
    return fields[name]
