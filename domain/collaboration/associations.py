"""Associations: edges from one record to another, whatever their types and apps, with a word for what they mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from domain.access.permissions import Verb
from domain.collaboration.model import Association
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing, TooLarge
from domain.kernel.ids import uuid7
from domain.kernel.page import Page, PageArgs, bounded_first, seal_cursor, unseal_cursor
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.reading import json_problem
from domain.kernel.unit import Statement
from domain.records.opening import Opened, may_verb, seen
from domain.records.sql import ROW, Params, source
from domain.records.subject import Subject, held, subject

TYPE = re.compile(r"[a-z][a-z0-9_]{0,62}")
META_BYTES_MAX = 10 * 1024


class Direction(StrEnum):
    """Which way an edge runs, seen from a record."""

    OUTGOING = "outgoing"
    INCOMING = "incoming"


@dataclass(frozen=True, slots=True)
class End:
    """A record at an end of an edge."""

    app_id: str
    entity: str
    record_id: str


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, seen from one of its ends; `other` is the other one."""

    type: str
    direction: Direction
    other: End
    meta: RawJson
    created_at: datetime
    updated_at: datetime
    position: tuple[datetime, str]


async def put(ctx: Ctx, begin: End, type: str, to: End, meta: Any = None) -> Edge:
    """Make an edge, or give the one that is there another `meta`. Raises Denied, Missing, TooLarge; Invalid."""
    here = await held(ctx, begin.app_id, begin.entity, begin.record_id, Verb.UPDATE)
    there = await held(ctx, to.app_id, to.entity, to.record_id)
    if not TYPE.fullmatch(type):
        raise Invalid("type", "type must be lower-case letters, digits and _, a letter first, at most 63 of them")
    if (begin.app_id, begin.entity, here.id) == (to.app_id, to.entity, there.id):
        raise Invalid("to", "a record cannot be associated with itself")
    given = {
        "meta": _meta(meta),
        "record_created_at": here.created_at,
        "to_created_at": there.created_at,
        "updated_at": ctx.now,
    }
    key = {"tenant_id": ctx.tenant_id, **_key(here, type, there)}
    row = {**key, **given, "id": uuid7(), "created_at": ctx.now}
    upsert = insert(Association).values(row).on_conflict_do_update(index_elements=list(key), set_=given)
    stored: Association = (await ctx.execute(upsert.returning(Association))).scalar_one()
    return _outgoing(stored)


async def remove(ctx: Ctx, begin: End, type: str, to: End) -> Edge:
    """Take an edge away. Returns what it was. Raises Denied, Missing; Invalid."""
    here = await held(ctx, begin.app_id, begin.entity, begin.record_id, Verb.UPDATE)
    there = await subject(ctx, to.app_id, to.entity, to.record_id)
    row = await ctx.first(ctx.visible(Association).filter_by(**_key(here, type, there)))
    if row is None:
        raise Missing("association not found")
    await ctx.remove(row)
    return _outgoing(row)


def _key(here: Subject, type: str, there: Subject) -> dict[str, Any]:
    return {
        "app_id": here.at.schema.app_id,
        "entity": here.at.entity.name,
        "record_id": here.id,
        "type": type,
        "to_app_id": there.at.schema.app_id,
        "to_entity": there.at.entity.name,
        "to_id": there.id,
    }


def _meta(meta: Any) -> RawJson:
    meta = {} if meta is None else meta
    problem = json_problem(meta)
    if problem is not None:
        raise Invalid("meta", f"meta {problem}")
    text = json_of(meta)
    if len(text.encode()) > META_BYTES_MAX:
        raise TooLarge(f"meta must be at most {META_BYTES_MAX} bytes of JSON", field="meta")
    return text


def _outgoing(row: Association) -> Edge:
    other = End(row.to_app_id, row.to_entity, row.to_id)
    position = (row.created_at, str(row.id))
    return Edge(row.type, Direction.OUTGOING, other, row.meta, row.created_at, row.updated_at, position)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which edges of a record; None for all."""

    direction: Direction | None = None
    type: str | None = None


async def page(ctx: Ctx, begin: End, wanted: Wanted, args: PageArgs) -> Page[Edge]:
    """The edges of a record to records the caller may read, newest first. Raises Denied, Missing; Invalid."""
    here = await subject(ctx, begin.app_id, begin.entity, begin.record_id)
    first = bounded_first(args.first)
    scope = f"associations:{begin.app_id}:{begin.entity}:{here.id}:{wanted.direction}:{wanted.type}"
    params = Params()
    edges = await _edges(ctx, here, wanted, params)
    counted = Statement(f"SELECT count(*) AS n FROM ({edges}) e", tuple(params.values))
    if args.after is not None:
        made, id = unseal_cursor(ctx, scope, args.after)
        behind = f"({params.add(datetime.fromisoformat(made), 'timestamptz')}, {params.add(id, 'text')}::uuid)"
        edges = f"SELECT * FROM ({edges}) e WHERE (e.created_at, e.id) < {behind}"
    sql = f"SELECT *, id::text AS id_text, meta::text AS meta_text FROM ({edges}) e ORDER BY created_at DESC, id DESC"
    sql += f" LIMIT {params.add(first + 1, 'bigint')}"
    found = [_edge(row) for row in await ctx.fetch(Statement(sql, tuple(params.values)))]
    rows = found[:first]

    async def count() -> int:
        return int((await ctx.fetch(counted))[0]["n"])

    cursors = [seal_cursor(ctx, scope, [row.position[0].isoformat(), row.position[1]]) for row in rows]
    return Page(rows, cursors, len(found) > first, args.after is not None, count)


def _edge(row: Mapping[str, Any]) -> Edge:
    return Edge(
        type=row["type"],
        direction=Direction(row["direction"]),
        other=End(row["other_app"], row["other_entity"], row["other_id"]),
        meta=RawJson(row["meta_text"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        position=(row["created_at"], row["id_text"]),
    )


# An edge's two ends, by the prefix of their columns.
_FROM = {"app": "app_id", "entity": "entity", "id": "record_id", "made": "record_created_at"}
_TO = {"app": "to_app_id", "entity": "to_entity", "id": "to_id", "made": "to_created_at"}
_SIDES = {Direction.OUTGOING: (_FROM, _TO), Direction.INCOMING: (_TO, _FROM)}


async def _edges(ctx: Ctx, here: Subject, wanted: Wanted, params: Params) -> str:
    """SQL of the edges whose other end is there, and may be read."""
    parts = []
    for direction, (near, far) in _SIDES.items():
        if wanted.direction in (None, direction):
            readable = await _readable(ctx, await _other_entities(ctx, here, near, far))
            there = [_there(at, far, params) for at in readable]
            parts.append(
                f"SELECT e.id, e.type, '{direction}' AS direction, e.{far['app']} AS other_app, "
                f"e.{far['entity']} AS other_entity, e.{far['id']} AS other_id, e.meta, e.created_at, e.updated_at "
                f"{_source(ctx, here, near, params)}{_typed(wanted, params)} AND ({' OR '.join(there) or 'false'})"
            )
    return " UNION ALL ".join(parts)


async def _other_entities(
    ctx: Ctx, here: Subject, near: Mapping[str, str], far: Mapping[str, str]
) -> Sequence[Mapping[str, Any]]:
    params = Params()
    sql = f"SELECT DISTINCT e.{far['app']} AS app, e.{far['entity']} AS entity {_source(ctx, here, near, params)}"
    return await ctx.fetch(Statement(sql, tuple(params.values)))


def _source(ctx: Ctx, here: Subject, near: Mapping[str, str], params: Params) -> str:
    told = {
        "tenant_id": params.add(ctx.tenant_id, "uuid"),
        near["app"]: params.add(here.at.schema.app_id, "text"),
        near["entity"]: params.add(here.at.entity.name, "text"),
        near["id"]: params.add(here.id, "text"),
        near["made"]: params.add(here.created_at, "timestamptz"),
    }
    of_record = " AND ".join(f"e.{column} = {value}" for column, value in told.items())
    return f"FROM stoa.record_associations e WHERE {of_record}"


def _typed(wanted: Wanted, params: Params) -> str:
    return "" if wanted.type is None else f" AND e.type = {params.add(wanted.type, 'text')}"


async def _readable(ctx: Ctx, pairs: Sequence[Mapping[str, Any]]) -> list[Opened]:
    """The entities among these that are declared and that the caller may read."""
    found = []
    for pair in pairs:
        schema = await ctx.ports.catalog.find(ctx, pair["app"])
        entity = None if schema is None else schema.types.get(pair["entity"])
        if schema is not None and entity is not None and may_verb(ctx, schema, entity, Verb.READ):
            found.append(seen(ctx, schema, entity.name))
    return found


def _there(at: Opened, far: Mapping[str, str], params: Params) -> str:
    """SQL: the far end is a record of this entity that is there."""
    app, entity = params.add(at.schema.app_id, "text"), params.add(at.entity.name, "text")
    id = f"e.{far['id']}::{at.entity.columns['id'].type.column}"
    return (
        f"e.{far['app']} = {app} AND e.{far['entity']} = {entity} AND EXISTS (SELECT FROM "
        f"{source(at.schema, at.entity, params)} {ROW} WHERE {ROW}.id = {id} AND {ROW}.created_at = e.{far['made']})"
    )
