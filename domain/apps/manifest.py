"""The app manifest of RootCX: reading it, checking it, and its parsed form.

Source: the manifest reference of RootCX. Field keys are taken in both spellings, `enum_values` and `enumValues`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from domain.access.permissions import is_key
from domain.apps import fields
from domain.apps.computing import Others
from domain.apps.expressions import checked_expression
from domain.apps.fields import Dialect, dialect_of
from domain.apps.policies import kept_policies, policies_of
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.declared import (
    SYSTEM_FIELDS,
    USERS,
    AppSchema,
    Check,
    Field,
    Identity,
    Index,
    IndexPart,
    ObjectType,
    Search,
    SearchField,
)
from domain.records.policies import check_policies
from domain.records.searching import LANGUAGES, WEIGHTS
from domain.records.types import UUID_TYPE, FieldType

NAME = re.compile(r"[a-z][a-z0-9_]*")
NAME_CHARS_MAX = 63  # PostgreSQL cuts longer identifiers, and two names must not become one
ENTITIES_MAX = 500
FIELDS_MAX = 500
SEARCHED_FIELDS_MAX = 32
KINDS = ("app", "integration", "agent")
OPERATIONS = ("INSERT", "UPDATE", "DELETE")
OVERLAP_POLICIES = ("skip", "queue")
PG_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
INDEX_METHODS = ("btree", "hash", "gist", "gin", "spgist", "brin")

_STORAGE = re.compile(r"[a-z0-9.]+")
_CRON_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CRON_FIELDS = re.compile(r"[0-9*/,\-$]+( [0-9*/,\-$]+){4}")
_CRON_SECONDS = re.compile(r"([1-9]|[1-5][0-9]) seconds")


@dataclass(frozen=True)
class Manifest:
    """A manifest that may be installed. `document` is its parsed form: unknown keys are gone."""

    app_id: str
    name: str
    version: str
    description: str
    kind: str
    dialect: Dialect
    types: tuple[ObjectType, ...]
    custom_keys: dict[str, str]  # un-prefixed key -> description
    actions: tuple[str, ...]
    document: dict[str, Any]


def parse_manifest(source: Any) -> Manifest:
    """Read a manifest. Raises Invalid with the path of the first thing wrong."""
    root = Node(source, "")
    app_id = identifier(root, "appId")
    dialect = dialect_of(root)
    types = tuple(_entities(root, dialect))
    check_policies(AppSchema(None, app_id, "", app_id, 0, {type.name: type for type in types}))
    kind = root.text("type", default="app")
    if kind not in KINDS:
        raise Invalid("type", f"type must be one of {', '.join(KINDS)}")
    actions = [_action(node) for node in root.objects("actions")]
    document = {
        "appId": app_id,
        **({"dialect": dialect.value} if dialect is not Dialect.ROOTCX else {}),
        "name": root.text("name"),
        "version": root.text("version", default="0.0.1"),
        "description": root.text("description", default=""),
        "type": kind,
        "dataContract": [_kept_entity(node, dialect) for node in root.objects("dataContract")],
        "permissions": {"permissions": [_permission(node) for node in _permissions(root)]},
        "actions": actions,
        "webhooks": [_webhook(path, value) for path, value in root.values("webhooks")],
        "crons": [_cron(node) for node in root.objects("crons")],
        **{key: root.json(key) for key in ("configSchema", "userAuth") if root.object(key)},
        **{key: root.text(key) for key in ("instructions", "icon") if root.has(key)},
        **_trigger(root),
        **_public(root),
    }
    if not document["name"].strip():
        raise Invalid("name", "name must not be empty")
    return Manifest(
        app_id=app_id,
        name=document["name"],
        version=document["version"],
        description=document["description"],
        kind=kind,
        dialect=dialect,
        types=types,
        custom_keys={key["key"]: key["description"] for key in document["permissions"]["permissions"]},
        actions=tuple(action["id"] for action in actions),
        document=document,
    )


def identifier(node: Node, *keys: str) -> str:
    """A name that may be a table or a column. Raises Invalid."""
    name: str = node.text(*keys)
    path = node.path(keys[0])
    if not NAME.fullmatch(name):
        raise Invalid(path, f"{path} '{name[:80]}' must be lower-case letters, digits and _, a letter first")
    if len(name) > NAME_CHARS_MAX:
        raise Invalid(path, f"{path} must be at most {NAME_CHARS_MAX} characters")
    return name


# Entities.


def _entities(root: Node, dialect: Dialect) -> Iterator[ObjectType]:
    nodes = list(root.objects("dataContract"))
    if len(nodes) > ENTITIES_MAX:
        raise Invalid("dataContract", f"dataContract must have at most {ENTITIES_MAX} entities")
    ids: dict[str, FieldType] = {USERS: UUID_TYPE}
    by_name: dict[str, Node] = {}
    for node in nodes:
        name = identifier(node, "entityName")
        if name in ids:
            raise Invalid(node.path("entityName"), f"{node.path('entityName')} '{name}' is declared twice")
        own = next((field for field in node.objects("fields") if field.raw("name") == "id"), None)
        ids[name] = fields.id_type(own, dialect)
        by_name[name] = node
    around = fields.Surroundings(dialect, ids)

    @cache
    def stored_fields(name: str) -> Mapping[str, Field] | None:
        return _stored_fields(by_name[name], around) if name in by_name else None

    return (_entity(node, around, stored_fields) for node in nodes)


def _stored_fields(entity: Node, around: fields.Surroundings) -> Mapping[str, Field]:
    """The fields that others may be computed of, the system's own among them."""
    plain = [node for node in entity.objects("fields", required=True) if not fields.is_computed(node, around.dialect)]
    made = tuple(fields.field(node, identifier(node, "name"), around) for node in plain)
    return ObjectType(identifier(entity, "entityName"), made).columns


def _entity(
    node: Node, around: fields.Surroundings, stored_fields: Callable[[str], Mapping[str, Field] | None]
) -> ObjectType:
    name = identifier(node, "entityName")
    if around.dialect is Dialect.STOA:
        around = replace(around, entity=name, others=Others(name, stored_fields(name) or {}, stored_fields))
    declared = tuple(_fields(node, around))
    columns = {*SYSTEM_FIELDS, *(field.name for field in declared if field.stored)}
    return ObjectType(
        name=name,
        fields=declared,
        identity=_identity(node, declared),
        indexes=tuple(_indexes(node, name, columns)),
        search=None if around.dialect is Dialect.ROOTCX else _search(node, {field.name: field for field in declared}),
        checks=tuple(_checks(node, name, columns)),
        description=node.text("description", default=""),
        trash=node.flag("trash"),
        renamed_from=fields.former_name(node, around.dialect),
        policies=tuple(policies_of(node, declared, identifier)),
    )


def _fields(entity: Node, around: fields.Surroundings) -> Iterator[Field]:
    seen: set[str] = set()
    for count, node in enumerate(entity.objects("fields", required=True)):
        if count >= FIELDS_MAX:
            raise Invalid(entity.path("fields"), f"an entity must have at most {FIELDS_MAX} fields")
        name = identifier(node, "name")
        if name in seen:
            raise Invalid(node.path("name"), f"{node.path('name')} '{name}' is declared twice")
        if name in PG_COLUMNS:
            raise Invalid(node.path("name"), f"{node.path('name')} '{name}' is a word of PostgreSQL's own")
        seen.add(name)
        field = fields.field(node, name, around)
        if name not in ("created_at", "updated_at"):  # the system's own, whatever is declared
            yield field


def _identity(node: Node, declared: tuple[Field, ...]) -> Identity | None:
    if not node.has("identityKind") and not node.has("identityKey"):
        return None
    kind = identifier(node, "identityKind")
    key = identifier(node, "identityKey")
    if key not in {f.name for f in declared}:
        raise Invalid(node.path("identityKey"), f"{node.path('identityKey')} '{key}' is not one of the fields")
    return Identity(kind, key)


def _indexes(entity: Node, name: str, columns: Collection[str]) -> Iterator[Index]:
    seen: set[str] = set()
    for position, node in enumerate(entity.objects("indexes")):
        parts = tuple(_index_part(path, value, columns) for path, value in node.values("columns", required=True))
        if not parts:
            raise Invalid(node.path("columns"), f"{node.path('columns')} must not be empty")
        label = identifier(node, "name") if node.has("name") else f"idx_{name}_{position}"
        if label in seen:
            raise Invalid(node.path("name"), f"{node.path('name')} '{label}' is declared twice")
        seen.add(label)
        method = node.text("using", default="btree")
        if method not in INDEX_METHODS:
            raise Invalid(node.path("using"), f"{node.path('using')} must be one of {', '.join(INDEX_METHODS)}")
        where = node.text("where", default=None)
        yield Index(
            name=label,
            parts=parts,
            unique=node.flag("unique"),
            method=method,
            where=checked_expression(where, columns, node.path("where")) if where else None,
            options=tuple(sorted(_storage(node))),
        )


def _search(entity: Node, declared: Mapping[str, Field]) -> Search | None:
    """What is searched: `{"fields": {"name": "A", "notes": "C"}, "language": "english", "typos": true}`.

    The fields with their weights, from A (which counts most) to D. Without a language words are searched as they are
    spelled; with one, by their stems. Unless `typos` is false, words are found too that are merely like one asked for.
    """
    node = entity.object("search")
    if node is None:
        return None
    _refuse_unknown(node, entity.raw("search"), ("fields", "language", "typos"))
    language = node.text("language", default="simple")
    if language not in LANGUAGES:
        raise Invalid(node.path("language"), f"{node.path('language')} must be one of {', '.join(LANGUAGES)}")
    weights = {} if node.object("fields") is None else node.raw("fields")
    if not 1 <= len(weights) <= SEARCHED_FIELDS_MAX:
        raise Invalid(node.path("fields"), f"{node.path('fields')} must have 1 to {SEARCHED_FIELDS_MAX} fields")
    found = tuple(_search_field(node, name, weight, declared.get(name)) for name, weight in weights.items())
    return Search(found, language, node.flag("typos", default=True))


def _search_field(search: Node, name: str, weight: Any, field: Field | None) -> SearchField:
    path = search.path(f"fields.{name[:80]}")
    if field is None:
        raise Invalid(path, f"{path} is not one of the fields")
    if not field.stored or field.type.column not in ("text", "text[]"):
        raise Invalid(path, f"{path} is a {field.type.name} field: only texts with a column of their own are searched")
    if not isinstance(weight, str) or len(weight) != 1 or weight not in WEIGHTS:
        raise Invalid(path, f"{path} must be one of {', '.join(WEIGHTS)}")
    return SearchField(name, weight, listed=field.type.column == "text[]")


def _refuse_unknown(node: Node, keys: Iterable[str], known: Sequence[str]) -> None:
    for key in keys:
        if key not in known:
            raise Invalid(node.path(key[:80]), f"{node.path(key[:80])} is not known; there are {', '.join(known)}")


def _index_part(path: str, value: Any, columns: Collection[str]) -> IndexPart:
    part = Node({"column": value} if isinstance(value, str) else value, path)
    column = part.text("column", default=None)
    expression = part.text("expr", default=None)
    if (column is None) == (expression is None):
        raise Invalid(path, f"{path} needs a column or an expr")
    if column is not None and column not in columns:
        raise Invalid(path, f"{path} '{column[:80]}' is not one of the fields")
    sort, nulls = part.text("sort", default="asc"), part.text("nulls", default=None)
    if sort not in ("asc", "desc"):
        raise Invalid(part.path("sort"), f"{part.path('sort')} must be asc or desc")
    if nulls not in (None, "first", "last"):
        raise Invalid(part.path("nulls"), f"{part.path('nulls')} must be first or last")
    operators = identifier(part, "ops") if part.has("ops") else None
    return IndexPart(
        column=column,
        expression=None if expression is None else checked_expression(expression, columns, part.path("expr")),
        descending=sort == "desc",
        nulls_first=None if nulls is None else nulls == "first",
        operator_class=operators,
    )


def _storage(node: Node) -> Iterator[tuple[str, str]]:
    """An index's storage parameters."""
    path = node.path("with")
    for key, value in (node.raw("with") if node.object("with") else {}).items():
        if not NAME.fullmatch(key) or not isinstance(value, str) or not _STORAGE.fullmatch(value):
            raise Invalid(path, f"{path} must map option names to plain values")
        yield key, value


def _checks(entity: Node, name: str, columns: Collection[str]) -> Iterator[Check]:
    seen: set[str] = set()
    for position, node in enumerate(entity.objects("checks")):
        label = identifier(node, "name") if node.has("name") else f"chk_{name}_{position}"
        if label in seen:
            raise Invalid(node.path("name"), f"{node.path('name')} '{label}' is declared twice")
        seen.add(label)
        yield Check(label, checked_expression(node.text("expr"), columns, node.path("expr")))


# What is kept of them: what was read, in one spelling.

Spellings = Mapping[str, tuple[str, ...]]
_INDEX: Spellings = {key: (key,) for key in ("name", "columns", "unique", "using", "where", "with")}
_INDEX_PART: Spellings = {key: (key,) for key in ("column", "expr", "sort", "nulls", "ops")}
_CHECK: Spellings = {key: (key,) for key in ("name", "expr")}


def _kept(node: Node, spellings: Spellings) -> dict[str, Any]:
    return {key: node.json(*keys) for key, keys in spellings.items() if node.has(*keys)}


def _kept_entity(node: Node, dialect: Dialect) -> dict[str, Any]:
    more = {
        "fields": [fields.kept(field, dialect) for field in node.objects("fields")],
        "indexes": [_kept_index(index) for index in node.objects("indexes")],
        "checks": [_kept(check, _CHECK) for check in node.objects("checks")],
        "policies": kept_policies(node),
    }
    keys = ("entityName", "identityKind", "identityKey", "description", "trash")
    own = {key: (key,) for key in (keys if dialect is Dialect.ROOTCX else (*keys, "search", "renamedFrom"))}
    return {**_kept(node, own), **{key: value for key, value in more.items() if value or key == "fields"}}


def _kept_index(node: Node) -> dict[str, Any]:
    columns = [
        part if isinstance(part, str) else _kept(Node(part, path), _INDEX_PART) for path, part in node.values("columns")
    ]
    return {**_kept(node, _INDEX), "columns": columns}


# The rest of the manifest.


def _permissions(root: Node) -> Iterator[Node]:
    block = root.object("permissions")
    return iter(()) if block is None else block.objects("permissions")


def _permission(node: Node) -> dict[str, Any]:
    key = node.text("key")
    if not is_key(key):
        raise Invalid(node.path("key"), f"{node.path('key')} '{key[:80]}' may hold a-z 0-9 _ : . *")
    return {"key": key, "description": node.text("description", default="")}


def _action(node: Node) -> dict[str, Any]:
    id = node.text("id")
    if not is_key(id):
        raise Invalid(node.path("id"), f"{node.path('id')} '{id[:80]}' may hold a-z 0-9 _ : . *")
    schemas = {key: node.json(key) for key in ("inputSchema", "outputSchema") if node.has(key)}
    return {"id": id, "name": node.text("name"), "description": node.text("description", default=""), **schemas}


def _webhook(path: str, value: Any) -> dict[str, Any]:
    node = Node({"name": value} if isinstance(value, str) else value, path)
    return {"name": node.text("name"), "method": node.text("method", default="POST")}


def _cron(node: Node) -> dict[str, Any]:
    name, schedule = node.text("name"), node.text("schedule")
    overlap = node.text("overlapPolicy", default="skip")
    if not is_cron_name(name):
        raise Invalid(node.path("name"), f"{node.path('name')} must be 1 to 64 of A-Z a-z 0-9 _ -")
    if not is_schedule(schedule):
        path = node.path("schedule")
        raise Invalid(path, f"{path} must be five fields of digits and * / , - $, or `N seconds` with N 1 to 59")
    if overlap not in OVERLAP_POLICIES:
        path = node.path("overlapPolicy")
        raise Invalid(path, f"{path} must be one of {', '.join(OVERLAP_POLICIES)}")
    cron = {"name": name, "schedule": schedule, "overlapPolicy": overlap, "payload": node.json("payload", default={})}
    if node.has("timezone"):
        cron["timezone"] = node.text("timezone")
    if node.has("method"):
        if not isinstance(cron["payload"], dict):
            raise Invalid(node.path("payload"), f"{node.path('payload')} must be an object where method is given")
        cron["method"] = node.text("method")
    return cron


def is_cron_name(text: str) -> bool:
    """Whether a cron may be called so."""
    return _CRON_NAME.fullmatch(text) is not None


def is_schedule(text: str) -> bool:
    """Whether RootCX takes `text` as a schedule: five fields without names, or `N seconds`."""
    return bool(_CRON_FIELDS.fullmatch(" ".join(text.split())) or _CRON_SECONDS.fullmatch(text))


def _trigger(root: Node) -> dict[str, Any]:
    node = root.object("trigger")
    if node is None:
        return {}
    operations = [operation.upper() for operation in node.texts("on")]
    if not operations or not set(operations) <= set(OPERATIONS):
        raise Invalid("trigger.on", "trigger.on must name insert, update or delete")
    return {"trigger": {"appId": identifier(node, "appId"), "entity": identifier(node, "entity"), "on": operations}}


def _public(root: Node) -> dict[str, Any]:
    node = root.object("public")
    if node is None:
        return {}
    rpcs = [{"name": n.text("name"), "scope": n.texts("scope", default=[])} for n in node.objects("rpcs")]
    collections = [
        {"entity": n.text("entity"), "actions": n.texts("actions", default=[])} for n in node.objects("collections")
    ]
    return {"public": {"rpcs": rpcs, "collections": collections}}
