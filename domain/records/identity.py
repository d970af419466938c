"""Records of different apps about the same thing: queries over one identity kind, and rows with their links.

Source: RootCX Data API, "federated query" and "linked enrichment".
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from domain.access.permissions import Verb, record_key
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.rawjson import RawJson
from domain.kernel.unit import Statement, StatementRefused
from domain.records.declared import ObjectType
from domain.records.naming import quoted
from domain.records.refusals import record_refusal
from domain.records.service import READERS, Opened, Query
from domain.records.sql import ROW, Params, condition, document, relation

ENTITIES_MAX = 100
LINKED_MAX = 10_000
_ORDER_BY = re.compile(r"[a-z0-9_]+")

Apps = frozenset[str] | None  # None for all


@dataclass(frozen=True, slots=True)
class Federated:
    """Rows of several entities, each with its `_source`, and how many there are before paging."""

    rows: RawJson
    total: int


async def _participants(ctx: Ctx, kind: str) -> list[Opened]:
    """The entities of a kind that the caller may read, by app and name."""
    found = []
    for app in await ctx.all(ctx.visible(App).order_by(App.id)):
        schema = await ctx.ports.catalog.find(ctx, app.id)
        if schema is None:
            continue
        for entity in schema.types.values():
            of_kind = entity.identity is not None and entity.identity.kind == kind
            if of_kind and ctx.may(record_key(app.id, entity.name, Verb.READ)):
                found.append(Opened(schema, entity))
    return found[:ENTITIES_MAX]


async def federated(ctx: Ctx, kind: str, query: Query) -> Federated:
    """The records of every entity of an identity kind, in the order of one key's text. Raises Invalid.

    A field of `where` or `orderBy` that only some of the entities have counts as empty in the others.
    """
    ctx.user()
    if query.order_by is not None and not _ORDER_BY.fullmatch(query.order_by):
        raise Invalid("orderBy", "orderBy must be lower-case letters, digits and _")
    entities = await _participants(ctx, kind)
    params = Params()
    parts = [_part(at, query, params) for at in entities]
    if not parts:
        return Federated(RawJson("[]"), 0)
    direction = "DESC" if query.descending else "ASC"
    key = f"u.doc ->> {params.add(query.order_by or 'created_at', 'text')}"
    limit, offset = params.add(query.first, "bigint"), params.add(query.offset, "bigint")
    sql = (
        f"SELECT '[' || coalesce(string_agg(p.doc::text, ','), '') || ']' AS rows, coalesce(max(p.total), 0) AS total "
        f"FROM (SELECT u.doc, count(*) OVER () AS total FROM ({' UNION ALL '.join(parts)}) u "
        f"ORDER BY {key} {direction}, u.doc ->> 'id' LIMIT {limit} OFFSET {offset}) p"
    )
    try:
        row = (await ctx.fetch(Statement(sql, tuple(params.values))))[0]
    except StatementRefused as refused:
        raise record_refusal(entities[0].schema, entities[0].entity, refused) from refused
    return Federated(RawJson(row["rows"]), row["total"])


def _part(at: Opened, query: Query, params: Params) -> str:
    where = READERS[query.dialect](at.entity).read(_known(at.entity, query.where))
    source = orjson.dumps({"_source": {"app": at.schema.app_id, "entity": at.entity.name}}).decode()
    return (
        f"SELECT {document(at.entity)}::jsonb || {params.add(source, 'jsonb')} AS doc "
        f"FROM {relation(at.schema, at.entity)} {ROW} WHERE {condition(at.schema, where, params)}"
    )


def _known(entity: ObjectType, where: Any) -> Any:
    """`where`, or one that nothing meets when it names a field this entity hasn't."""
    if isinstance(where, dict) and any(not key.startswith("$") and key not in entity.columns for key in where):
        return {"id": {"$in": []}}
    return where


def chosen_apps(value: Any, field: str = "linked") -> Apps | bool:
    """Which apps' records to link: True or `true` for all, a list or a comma-separated text for some. False: none.

    Raises Invalid.
    """
    if value in (None, False, "", "false", "0"):
        return False
    if value in (True, "true", "1"):
        return None
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid(field, f"{field} must be true, or a list of app ids")
    return frozenset(name.strip() for name in names if name.strip())


async def with_links(ctx: Ctx, at: Opened, rows: RawJson, apps: Apps) -> RawJson:
    """`rows` with `_linked`: the record of each other app that has the same identity. Unreadable apps are skipped."""
    identity = at.entity.identity
    if identity is None:
        return rows
    parsed = orjson.loads(str(rows))
    keys = sorted({str(row[identity.key]) for row in parsed if row.get(identity.key) is not None})
    others = [o for o in await _participants(ctx, identity.kind) if o.schema.app_id != at.schema.app_id]
    linked: dict[str, dict[str, Any]] = defaultdict(dict)
    for other in others:
        if keys and (apps is None or other.schema.app_id in apps):
            for key, record in await _matches(ctx, other, keys):
                linked[key][other.schema.app_id] = record
    for row in parsed:
        matches = linked.get(str(row.get(identity.key)))
        if matches:
            row["_linked"] = matches
    return RawJson(orjson.dumps(parsed).decode())


async def _matches(ctx: Ctx, other: Opened, keys: Sequence[str]) -> list[tuple[str, Mapping[str, Any]]]:
    identity = other.entity.identity
    assert identity is not None
    sql = (
        f"SELECT {ROW}.{quoted(identity.key)}::text AS key, {document(other.entity)} AS doc "
        f"FROM {relation(other.schema, other.entity)} {ROW} "
        f"WHERE {ROW}.{quoted(identity.key)}::text = ANY ($1::text[]) ORDER BY {ROW}.created_at, {ROW}.id LIMIT $2"
    )
    found = await ctx.fetch(Statement(sql, (keys, LINKED_MAX)))
    return [(row["key"], _linked(other, orjson.loads(row["doc"]))) for row in found]


def _linked(other: Opened, record: dict[str, Any]) -> dict[str, Any]:
    return {"entity": other.entity.name, "recordId": record["id"], "data": record}
