"""The app manifest of RootCX: reading it, checking it, and its parsed form.

Source: the manifest reference of RootCX. Field keys are taken in both spellings, `enum_values` and `enumValues`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from domain.access.permissions import is_key
from domain.apps.expressions import check_expression
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.declared import (
    USERS,
    Check,
    Field,
    Identity,
    Index,
    IndexPart,
    Link,
    ObjectType,
    OnDelete,
)
from domain.records.types import LINK, JsonType, ListType, NotOfType, field_type

NAME = re.compile(r"[a-z][a-z0-9_]*")
NAME_CHARS_MAX = 63  # PostgreSQL cuts longer identifiers, and two names must not become one
ENTITIES_MAX = 500
FIELDS_MAX = 500
OPTIONS_MAX = 1000
KINDS = ("app", "integration", "agent")
OPERATIONS = ("INSERT", "UPDATE", "DELETE")
OVERLAP_POLICIES = ("skip", "queue")
SYSTEM_COLUMNS = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
INDEX_METHODS = ("btree", "hash", "gist", "gin", "spgist", "brin")

_CRON_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CRON_FIELDS = re.compile(r"[0-9*/,\-$]+( [0-9*/,\-$]+){4}")
_CRON_SECONDS = re.compile(r"([1-9]|[1-5]\d) seconds")


@dataclass(frozen=True)
class Manifest:
    """A manifest that may be installed. `document` is its parsed form: unknown keys are gone."""

    app_id: str
    name: str
    version: str
    description: str
    kind: str
    types: tuple[ObjectType, ...]
    custom_keys: dict[str, str]  # un-prefixed key -> description
    actions: tuple[str, ...]
    document: dict[str, Any]


def parse_manifest(source: Any) -> Manifest:
    """Read a manifest. Raises Invalid with the path of the first thing wrong."""
    root = Node(source, "")
    app_id = identifier(root, "appId")
    types = tuple(_entities(root))
    _check_links(types)
    kind = root.text("type", default="app")
    if kind not in KINDS:
        raise Invalid("type", f"type must be one of {', '.join(KINDS)}")
    actions = [_action(node) for node in root.objects("actions")]
    document = {
        "appId": app_id,
        "name": root.text("name"),
        "version": root.text("version", default="0.0.1"),
        "description": root.text("description", default=""),
        "type": kind,
        "dataContract": list(_kept_entities(root)),
        "permissions": {"permissions": [_permission(node) for node in _permissions(root)]},
        "actions": actions,
        "webhooks": [_webhook(path, value) for path, value in root.values("webhooks")],
        "crons": [_cron(node) for node in root.objects("crons")],
        **{key: root.raw(key) for key in ("configSchema", "userAuth") if root.object(key)},
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


def _entities(root: Node) -> Iterator[ObjectType]:
    seen: set[str] = set()
    for count, node in enumerate(root.objects("dataContract")):
        if count >= ENTITIES_MAX:
            raise Invalid("dataContract", f"dataContract must have at most {ENTITIES_MAX} entities")
        entity = _entity(node)
        if entity.name in seen:
            raise Invalid(node.path("entityName"), f"entity '{entity.name}' is declared twice")
        seen.add(entity.name)
        yield entity


def _entity(node: Node) -> ObjectType:
    name = identifier(node, "entityName")
    fields = tuple(_fields(node))
    return ObjectType(
        name=name,
        fields=fields,
        identity=_identity(node, fields),
        indexes=tuple(_indexes(node, name, {"id", "created_at", "updated_at"} | {f.name for f in fields})),
        checks=tuple(_checks(node, name)),
        description=node.text("description", default=""),
    )


def _fields(entity: Node) -> Iterator[Field]:
    seen: set[str] = set()
    for count, node in enumerate(entity.objects("fields", required=True)):
        if count >= FIELDS_MAX:
            raise Invalid(entity.path("fields"), f"an entity must have at most {FIELDS_MAX} fields")
        name = identifier(node, "name")
        if name in seen:
            raise Invalid(node.path("name"), f"field '{name}' is declared twice")
        if name in SYSTEM_COLUMNS:
            raise Invalid(node.path("name"), f"field name '{name}' is taken by PostgreSQL")
        seen.add(name)
        if name not in ("created_at", "updated_at"):  # the system's own, whatever is declared
            yield _field(node, name)


def _field(node: Node, name: str) -> Field:
    type = field_type(node.text("type"))
    required = node.flag("required")
    key = node.flag("is_primary_key", "isPrimaryKey") and name != "id"
    options = node.texts("enum_values", "enumValues", default=None)
    if options is not None and (not options or len(set(options)) < len(options) or len(options) > OPTIONS_MAX):
        path = node.path("enum_values")
        raise Invalid(path, f"{path} must be 1 to {OPTIONS_MAX} different values")
    return Field(
        name=name,
        type=type,
        required=required or key,
        default=_default(node, type, options),
        options=tuple(options) if options else None,
        link=_link(node, required) if type is LINK else None,
        unique=key,
        description=node.text("description", default=""),
    )


def _default(node: Node, type: Any, options: list[str] | None) -> Any:
    value = node.raw("default_value", "defaultValue")
    if value is None or node.flag("is_primary_key", "isPrimaryKey"):
        return None
    if isinstance(value, dict | list) and not isinstance(type, JsonType):
        return None  # objects and lists are defaults of json columns only
    path = node.path("default_value")
    try:
        value = type.stored(value)
    except NotOfType as wrong:
        raise Invalid(path, f"{path} {wrong}") from wrong
    if options and value not in options and not isinstance(type, ListType):
        raise Invalid(path, f"{path} must be one of the declared values")
    return value


def _link(node: Node, required: bool) -> Link | None:
    references = node.object("references")
    rule = node.text("on_delete", "onDelete", default=None)
    if rule is not None and rule not in set(OnDelete):
        path = node.path("on_delete")
        raise Invalid(path, f"{path} must be one of {', '.join(OnDelete)}")
    if references is None:
        return None
    references.text("field")
    fallback = OnDelete.RESTRICT if required else OnDelete.SET_NULL
    on_delete = OnDelete(rule) if rule else fallback
    if on_delete is OnDelete.SET_NULL and required:
        path = node.path("on_delete")
        raise Invalid(path, f"{path} set_null contradicts required")
    return Link(references.text("entity"), on_delete)


def _check_links(types: tuple[ObjectType, ...]) -> None:
    names = {type.name for type in types}
    for entity, type in enumerate(types):
        for position, declared in enumerate(type.fields):
            link = declared.link
            if link is None or link.target in names or link.target == USERS:
                continue
            path = f"dataContract.{entity}.fields.{position}.references.entity"
            reason = "must be an entity of this manifest, or core:users"
            raise Invalid(path, f"{path} '{link.target[:80]}' {reason}")


def _identity(node: Node, fields: tuple[Field, ...]) -> Identity | None:
    if not node.has("identityKind") and not node.has("identityKey"):
        return None
    kind = identifier(node, "identityKind")
    key = identifier(node, "identityKey")
    if key not in {f.name for f in fields}:
        raise Invalid(node.path("identityKey"), f"{node.path('identityKey')} '{key}' is not one of the fields")
    return Identity(kind, key)


def _indexes(entity: Node, name: str, columns: set[str]) -> Iterator[Index]:
    seen: set[str] = set()
    for position, node in enumerate(entity.objects("indexes")):
        parts = tuple(_index_part(path, value, columns) for path, value in node.values("columns", required=True))
        if not parts:
            raise Invalid(node.path("columns"), f"{node.path('columns')} must not be empty")
        label = identifier(node, "name") if node.has("name") else f"idx_{name}_{position}"
        if label in seen:
            raise Invalid(node.path("name"), f"index '{label}' is declared twice")
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
            where=check_expression(where, node.path("where")) if where else None,
            options=tuple(sorted(_options(node))),
        )


def _index_part(path: str, value: Any, columns: set[str]) -> IndexPart:
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
        expression=check_expression(expression, part.path("expr")) if expression else None,
        descending=sort == "desc",
        nulls_first=None if nulls is None else nulls == "first",
        operator_class=operators,
    )


def _options(node: Node) -> Iterator[tuple[str, str]]:
    options = node.object("with")
    for key in node.raw("with") if options else ():
        if not options or not NAME.fullmatch(key) or not re.fullmatch(r"[a-z0-9.]+", options.text(key)):
            raise Invalid(node.path("with"), f"{node.path('with')} must map option names to plain values")
        yield key, options.text(key)


def _checks(entity: Node, name: str) -> Iterator[Check]:
    seen: set[str] = set()
    for position, node in enumerate(entity.objects("checks")):
        label = identifier(node, "name") if node.has("name") else f"chk_{name}_{position}"
        if label in seen:
            raise Invalid(node.path("name"), f"check '{label}' is declared twice")
        seen.add(label)
        yield Check(label, check_expression(node.text("expr"), node.path("expr")))


def _kept_entities(root: Node) -> Iterator[dict[str, Any]]:
    """The entities as declared, without unknown keys, in one spelling."""
    for node in root.objects("dataContract"):
        yield {
            "entityName": node.text("entityName"),
            "fields": [_kept_field(field) for field in node.objects("fields")],
            **{
                key: node.raw(key)
                for key in ("identityKind", "identityKey", "indexes", "checks", "description")
                if node.has(key)
            },
        }


def _kept_field(node: Node) -> dict[str, Any]:
    spelled = {
        "required": ("required",),
        "default_value": ("default_value", "defaultValue"),
        "enum_values": ("enum_values", "enumValues"),
        "references": ("references",),
        "is_primary_key": ("is_primary_key", "isPrimaryKey"),
        "on_delete": ("on_delete", "onDelete"),
        "description": ("description",),
    }
    kept = {key: node.raw(*keys) for key, keys in spelled.items() if node.has(*keys)}
    return {"name": node.text("name"), "type": node.text("type"), **kept}


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
    schemas = {key: node.raw(key) for key in ("inputSchema", "outputSchema") if node.has(key)}
    return {"id": id, "name": node.text("name"), "description": node.text("description", default=""), **schemas}


def _webhook(path: str, value: Any) -> dict[str, Any]:
    node = Node({"name": value} if isinstance(value, str) else value, path)
    return {"name": node.text("name"), "method": node.text("method", default="POST")}


def _cron(node: Node) -> dict[str, Any]:
    name, schedule = node.text("name"), node.text("schedule")
    overlap = node.text("overlapPolicy", default="skip")
    if not _CRON_NAME.fullmatch(name):
        raise Invalid(node.path("name"), f"{node.path('name')} must be 1 to 64 of A-Z a-z 0-9 _ -")
    if not is_schedule(schedule):
        path = node.path("schedule")
        raise Invalid(path, f"{path} must be five fields of digits and * / , - $, or `N seconds` with N 1 to 59")
    if overlap not in OVERLAP_POLICIES:
        path = node.path("overlapPolicy")
        raise Invalid(path, f"{path} must be one of {', '.join(OVERLAP_POLICIES)}")
    cron = {"name": name, "schedule": schedule, "overlapPolicy": overlap, "payload": node.raw("payload", default={})}
    if node.has("timezone"):
        cron["timezone"] = node.text("timezone")
    if node.has("method"):
        if not isinstance(cron["payload"], dict):
            raise Invalid(node.path("payload"), f"{node.path('payload')} must be an object where method is given")
        cron["method"] = node.text("method")
    return cron


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
