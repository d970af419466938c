"""The fields of an entity, as a manifest declares them.

A manifest is RootCX's unless it says `"dialect": "stoa"`. RootCX has few types, takes every other word for text and
passes over what it doesn't know. Stoa's own dialect has all field types with their parameters, refuses what it doesn't
know, and knows more of a field: whether its values are unique, and what it was called before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from domain.apps.computing import FORMULA, LOOKUP, PARAMETERS, ROLLUP, Others, computed
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.computed import Links, links_name
from domain.records.declared import USERS, Field, Link, OnDelete
from domain.records.types import (
    LINK,
    NATIVE_ALIASES,
    NATIVE_TYPES,
    FieldType,
    JsonType,
    LinksType,
    NotOfType,
    SecretType,
    field_type,
    link_to,
    native_type,
)

OPTIONS_MAX = 1000
WORDS = (*NATIVE_TYPES, "reference", "many_to_many", "user", FORMULA, LOOKUP, ROLLUP)
COMPUTED = (FORMULA, LOOKUP, ROLLUP)
CHOICES = ("enum", "multi_enum")  # types that are nothing without their values


class Dialect(StrEnum):
    """How the fields of a manifest are spelled."""

    ROOTCX = "rootcx"
    STOA = "stoa"


@dataclass(frozen=True)
class Surroundings:
    """What a field may speak of: the entities of the manifest, and the accounts, by the type of their ids."""

    dialect: Dialect
    ids: Mapping[str, FieldType]
    entity: str = ""  # whose field it is
    others: Others | None = None  # None while the stored fields themselves are read


def dialect_of(root: Node) -> Dialect:
    """The dialect of a manifest. Raises Invalid."""
    word = root.text("dialect", default=Dialect.ROOTCX)
    if word not in set(Dialect):
        raise Invalid("dialect", f"dialect must be one of {', '.join(Dialect)}")
    return Dialect(word)


def field(node: Node, name: str, around: Surroundings) -> Field:
    """A field of that name. Raises Invalid with the path of what is wrong."""
    if around.dialect is Dialect.ROOTCX:
        return _rootcx_field(node, name, around)
    return _native_field(node, name, around)


def id_type(declared: Node | None, dialect: Dialect) -> FieldType:
    """The type of an entity's ids, given its own `id` field, if it has one."""
    if declared is None:
        return LINK.id
    if dialect is Dialect.ROOTCX:
        return field_type(declared.text("type"))
    return _native_type(declared, "type")


def former_name(node: Node, dialect: Dialect) -> str | None:
    """What a field or an entity was called before; RootCX has no word for it."""
    name: str | None = None if dialect is Dialect.ROOTCX else node.text("renamedFrom", "renamed_from", default=None)
    return name


# RootCX's own.


def _rootcx_field(node: Node, name: str, around: Surroundings) -> Field:
    type = field_type(node.text("type"))
    link = _link(node, around) if type is LINK else None
    if link is not None:
        type = link_to(around.ids[link.target])
    key = node.flag("is_primary_key", "isPrimaryKey") and name != "id"
    options = _options(node, type)
    return Field(
        name=name,
        type=type,
        required=node.flag("required") or key,
        default=_rootcx_default(node, type, options),
        options=options,
        link=link,
        unique=key,
        description=node.text("description", default=""),
    )


def _options(node: Node, type: FieldType) -> tuple[str, ...] | None:
    options = node.texts("enum_values", "enumValues", default=None)
    if options is None:
        return None
    path = node.path("enum_values")
    different = {_of_type(type.element, option, path) for option in options}
    if not 1 <= len(options) <= OPTIONS_MAX or len(different) < len(options):
        raise Invalid(path, f"{path} must be 1 to {OPTIONS_MAX} different values")
    return tuple(options)


def _of_type(type: FieldType, value: Any, path: str) -> Any:
    """`value` as it is compared. Raises Invalid."""
    try:
        return type.operand(value)
    except NotOfType as wrong:
        raise Invalid(path, f"{path} {wrong}") from wrong


def _rootcx_default(node: Node, type: FieldType, options: tuple[str, ...] | None) -> Any:
    value = node.raw("default_value", "defaultValue")
    if value is None or node.flag("is_primary_key", "isPrimaryKey"):
        return None
    if isinstance(value, dict | list) and not isinstance(type, JsonType):
        return None  # objects and lists are defaults of json columns only
    path = node.path("default_value")
    compared = _of_type(type, value, path)
    if options is not None and compared not in {type.operand(option) for option in options}:
        raise Invalid(path, f"{path} must be one of the declared values")
    return type.stored(value)


def _link(node: Node, around: Surroundings) -> Link | None:
    references = node.object("references")
    rule = node.text("on_delete", "onDelete", default=None)
    if rule is not None and rule not in set(OnDelete):
        path = node.path("on_delete")
        raise Invalid(path, f"{path} must be one of {', '.join(OnDelete)}")
    if references is None:
        return None
    target, _ = references.text("entity"), references.text("field")
    if target not in around.ids:
        path = references.path("entity")
        raise Invalid(path, f"{path} '{target[:80]}' must be an entity of this manifest, or {USERS}")
    fallback = OnDelete.RESTRICT if node.flag("required") else OnDelete.SET_NULL
    return Link(target, OnDelete(rule) if rule else fallback)


# Stoa's own.


def _native_field(node: Node, name: str, around: Surroundings) -> Field:
    word = NATIVE_ALIASES.get(node.text("type"), node.text("type"))
    unique = node.flag("unique") or (node.flag("is_primary_key", "isPrimaryKey") and name != "id")
    if word in COMPUTED:
        assert around.others is not None
        return _computed_field(node, name, word, around.others)
    if word == "many_to_many":
        return _links(node, name, around)
    if word in ("reference", "user"):
        made = _reference(node, name, word, around)
    else:
        made = Field(name, _native_type(node, "type"), options=_options(node, _native_type(node, "type")))
    if unique and (made.type.column == "jsonb" or "eq" not in made.type.operators):
        raise Invalid(node.path("unique"), f"{node.path('unique')} is not for {word} fields")
    if word in CHOICES and made.options is None:
        raise Invalid(node.path("enum_values"), f"{node.path('enum_values')} is required")
    made = replace(
        made,
        required=node.flag("required") or node.flag("is_primary_key", "isPrimaryKey") or not made.type.written,
        unique=unique,
        description=node.text("description", default=""),
        renamed_from=former_name(node, around.dialect),
    )
    return replace(made, default=_native_default(node, made))


def is_computed(node: Node, dialect: Dialect) -> bool:
    """Whether a field's declaration is of one that nobody writes, and that others can't be computed of."""
    return dialect is Dialect.STOA and node.text("type") in (*COMPUTED, "many_to_many")


def _computed_field(node: Node, name: str, word: str, others: Others) -> Field:
    keys = ("required", "unique", "default_value", "defaultValue", "references", "enum_values", "enumValues")
    _refuse_keys(node, keys, word)
    made = computed(node, name, word, others)
    described = replace(made, description=node.text("description", default=""))
    return replace(described, renamed_from=former_name(node, Dialect.STOA))


def _native_type(node: Node, key: str) -> FieldType:
    """The type a word of the declaration names, with its parameters. Raises Invalid."""
    word = node.text(key)
    type = native_type(word, node)
    if type is None:
        path = node.path(key)
        raise Invalid(path, f"{path} '{word[:80]}' is not a field type; there are {', '.join(sorted(WORDS))}")
    return type


def _reference(node: Node, name: str, word: str, around: Surroundings) -> Field:
    if word == "user":
        rule = node.text("on_delete", "onDelete", default=None)
        if rule is not None and rule not in set(OnDelete):
            path = node.path("on_delete")
            raise Invalid(path, f"{path} must be one of {', '.join(OnDelete)}")
        fallback = OnDelete.RESTRICT if node.flag("required") else OnDelete.SET_NULL
        link: Link | None = Link(USERS, OnDelete(rule) if rule else fallback)
    else:
        link = _link(node, around)
    if link is None:
        raise Invalid(node.path("references"), f"{node.path('references')} is required")
    return Field(name, link_to(around.ids[link.target]), link=link)


def _links(node: Node, name: str, around: Surroundings) -> Field:
    _refuse_keys(
        node, ("required", "unique", "default_value", "defaultValue", "enum_values", "on_delete"), "many_to_many"
    )
    link = _link(node, around)
    if link is None:
        raise Invalid(node.path("references"), f"{node.path('references')} is required")
    if link.target == USERS:
        path = node.path("references")
        raise Invalid(path, f"{path} must name an entity of this manifest")
    made = Links(links_name(around.entity, name), link.target)
    return Field(
        name,
        LinksType(around.ids[link.target]),
        description=node.text("description", default=""),
        renamed_from=former_name(node, around.dialect),
        computed=made,
    )


def _refuse_keys(node: Node, keys: Iterable[str], word: str) -> None:
    for key in keys:
        if node.has(key) and node.raw(key) is not False:
            raise Invalid(node.path(key), f"{node.path(key)} is not for {word} fields")


def _native_default(node: Node, field: Field) -> Any:
    value = node.raw("default_value", "defaultValue")
    if value is None:
        return None
    path = node.path("default_value")
    if isinstance(field.type, SecretType):
        raise Invalid(path, f"{path} is not for secret fields")
    try:
        stored = field.type.stored(value)
    except NotOfType as wrong:
        raise Invalid(path, f"{path} {wrong}") from wrong
    values = stored if isinstance(stored, list) else [stored]
    if field.options is not None and not {*values} <= {*field.options}:
        raise Invalid(path, f"{path} must be one of the declared values")
    return stored


# What is kept of a declaration: what was read, in one spelling.

_FIELD: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "type": ("type",),
    "required": ("required",),
    "default_value": ("default_value", "defaultValue"),
    "enum_values": ("enum_values", "enumValues"),
    "references": ("references",),
    "is_primary_key": ("is_primary_key", "isPrimaryKey"),
    "on_delete": ("on_delete", "onDelete"),
    "description": ("description",),
}
_NATIVE_KEYS = (
    "unique",
    "renamed_from",
    *PARAMETERS,
    *(key for type in NATIVE_TYPES.values() for key in type.parameters),
)


def kept(node: Node, dialect: Dialect) -> dict[str, Any]:
    """The declaration of a field without what nobody read."""
    keys = {**_FIELD, **(dict(_native_keys()) if dialect is Dialect.STOA else {})}
    found = {key: node.json(*spellings) for key, spellings in keys.items() if node.has(*spellings)}
    references = node.object("references")
    if references is not None:
        found["references"] = {key: references.json(key) for key in ("entity", "field") if references.has(key)}
    return found


def _native_keys() -> Iterator[tuple[str, tuple[str, ...]]]:
    for key in _NATIVE_KEYS:
        first, *rest = key.split("_")
        spelled = first + "".join(part.title() for part in rest)
        short = {"minimum": ("min",), "maximum": ("max",)}.get(key, ())
        yield key, tuple(dict.fromkeys((key, spelled, *short)))
