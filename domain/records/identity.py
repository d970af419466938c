"""Records of different apps about the same thing: queries over one identity kind, and rows with their links.

Source: RootCX Data API, "federated query" and "linked enrichment".
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from domain.access.permissions import Verb
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.unit import Statement
from domain.records.declared import Field, Identity, ObjectType
from domain.records.naming import literal, quoted
from domain.records.opening import Opened, may_verb, seen
from domain.records.refusals import refused_as_declared
from domain.records.spelling.dialects import Dialect, condition_of
from domain.records.sql import ROW, Params, Told, condition, document
from domain.records.sql import source as rows_of
from domain.records.types import TextType

ENTITIES_MAX = 100
LINK_KEY = '"link key"'  # a name that no field can have
_ORDER_BY = re.compile(r"[a-z0-9_]+")


async def _participants(ctx: Ctx, kind: str) -> list[Opened]:
    """The entities of a kind that the caller may read, by app and name."""
    found = []
    for app in await ctx.all(ctx.visible(App).order_by(App.id)):
        schema = await ctx.ports.catalog.find(ctx, app.id)
        for entity in schema.types.values() if schema is not None else ():
            of_kind = entity.identity is not None and entity.identity.kind == kind
            if schema is not None and of_kind and may_verb(ctx, schema, entity, Verb.READ):
                at = seen(ctx, schema, entity.name)
                if entity.identity is not None and entity.identity.key in at.entity.columns:
                    found.append(at)
    return found[:ENTITIES_MAX]


# Queries over one kind.


@dataclass(frozen=True, slots=True)
class FederatedQuery:
    """What is asked of the records of a kind. `order_by` is a key of theirs; its text decides."""

    where: Any = None
    dialect: Dialect = Dialect.STOA
    order_by: str | None = None
    descending: bool = True
    first: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Federated:
    """Rows of several entities, each with its `_source`, and how many there are before paging."""

    rows: RawJson
    total: int


async def federated(ctx: Ctx, kind: str, query: FederatedQuery) -> Federated:
    """The records of every entity of an identity kind, in the order of one key's text. Raises Invalid.

    A field of `where` that only some of the entities have is empty in the others.
    """
    ctx.user()
    if query.order_by is not None and not _ORDER_BY.fullmatch(query.order_by):
        raise Invalid("orderBy", "orderBy must be lower-case letters, digits and _")
    entities = await _participants(ctx, kind)
    if not entities:
        return Federated(RawJson("[]"), 0)
    asked = ctx.fetch(_statement(entities, query))
    row = (await refused_as_declared(entities[0].schema, entities[0].entity, asked))[0]
    return Federated(RawJson(row["rows"]), row["total"])


def _statement(entities: Sequence[Opened], query: FederatedQuery) -> Statement:
    params = Params()
    fields = {name: field for at in reversed(entities) for name, field in at.entity.columns.items()}
    parts = [_part(at, fields, query, params) for at in entities]
    key = params.add(query.order_by or "created_at", "text")
    limit, offset = params.add(query.first, "bigint"), params.add(query.offset, "bigint")
    sql = (
        "SELECT '[' || coalesce(string_agg(p.doc, ','), '') || ']' AS rows, coalesce(max(p.total), 0) AS total "
        f"FROM (SELECT u.doc, count(*) OVER () AS total FROM ({' UNION ALL '.join(parts)}) u "
        f"ORDER BY u.doc::json ->> {key} {'DESC' if query.descending else 'ASC'}, u.doc::json ->> 'id' "
        f"LIMIT {limit} OFFSET {offset}) p"
    )
    return Statement(sql, tuple(params.values))


def _part(at: Opened, fields: Mapping[str, Field], query: FederatedQuery, params: Params) -> str:
    """The rows of one entity, as if it had all the fields."""
    absent = [replace(field, computed=None) for name, field in fields.items() if name not in at.entity.columns]
    where = condition_of(query.where, query.dialect, replace(at.entity, fields=(*at.entity.fields, *absent)))
    empty = "".join(f", NULL::{field.type.column} AS {quoted(field.name)}" for field in absent)
    source = json_of({"app": at.schema.app_id, "entity": at.entity.name})
    return (
        f"SELECT {_extended(document(at.entity), '_source', params.add(str(source), 'text'))} AS doc "
        f"FROM (SELECT *{empty} FROM {rows_of(at.schema, at.entity, params)} s) {ROW} "
        f"WHERE {condition(at.schema, where, params)}"
    )


def _extended(document: str, key: str, value: str) -> str:
    """SQL of a JSON object's text with one more key."""
    return f"left({document}, -1) || ',{quoted(key)}:' || {value} || '}}'"


# Rows with their links.


@dataclass(frozen=True, slots=True)
class LinkedApps:
    """Whose records to add; of all apps, where `ids` is None."""

    ids: frozenset[str] | None


def chosen_apps(value: Any, field: str = "linked") -> LinkedApps | None:
    """Which apps' records to add: True or `true` for all, a list or a comma-separated text for some. False: none.

    Raises Invalid.
    """
    if value is None or value is False or value in ("", "false", "0"):
        return None
    if value is True or value in ("true", "1"):
        return LinkedApps(None)
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid(field, f"{field} must be true, or a list of app ids")
    return LinkedApps(frozenset(name.strip() for name in names))


async def linked_records(ctx: Ctx, at: Opened, apps: LinkedApps | None) -> Told | None:
    """SQL that makes of a row's document the one with `_linked`; None where nothing can be added.

    For each other app of the same kind that the caller may read: the newest of its records with the same key.
    """
    identity = at.entity.identity
    if apps is None or identity is None:
        return None
    others = [
        other
        for other in await _participants(ctx, identity.kind)
        if other.schema.app_id != at.schema.app_id and (apps.ids is None or other.schema.app_id in apps.ids)
    ]
    if not others:
        return None
    by_app = [(app, list(entities)) for app, entities in groupby(others, key=lambda other: other.schema.app_id)]

    def told(params: Params) -> str:
        links = ", ".join(f"({literal(app)}, {_newest(entities, params)})" for app, entities in by_app)
        extended = _extended("k.doc", "_linked", "k.links")
        return (
            f"(SELECT CASE WHEN k.links IS NULL THEN k.doc ELSE {extended} END FROM (SELECT l.doc, "
            "(SELECT '{' || string_agg(to_json(a.app)::text || ':' || a.link, ',') || '}' "
            f"FROM (VALUES {links}) a (app, link) WHERE a.link IS NOT NULL) AS links "
            f"FROM (SELECT {document(at.entity)} AS doc, {_key(at.entity, identity)} AS {LINK_KEY}) l) k)"
        )

    return told


def _newest(entities: Iterable[Opened], params: Params) -> str:
    """The link to the newest record of these entities with the key in question, as JSON text, or null."""
    matches = " UNION ALL ".join(f"({_match(other, params)})" for other in entities)
    return f"(SELECT m.link FROM ({matches}) m ORDER BY m.made DESC LIMIT 1)"


def _match(other: Opened, params: Params) -> str:
    identity = other.entity.identity
    assert identity is not None
    return (
        f"SELECT json_build_object('entity', {literal(other.entity.name)}, 'recordId', {ROW}.id, "
        f"'data', {document(other.entity)}::json)::text AS link, {ROW}.created_at AS made "
        f"FROM {rows_of(other.schema, other.entity, params)} {ROW} "
        f"WHERE {_key(other.entity, identity)} = l.{LINK_KEY} ORDER BY {ROW}.created_at DESC, {ROW}.id DESC LIMIT 1"
    )


def _key(entity: ObjectType, identity: Identity) -> str:
    """An identity's key as text, which is what keys of different types are compared by."""
    column = f"{ROW}.{quoted(identity.key)}"
    if isinstance(entity.columns[identity.key].type, TextType):
        return column  # and not an expression: there is an index on it
    return f"to_json({column}) #>> '{{}}'"
