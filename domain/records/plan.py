"""From what a database has to what a declaration wants: the plan of changes, as readable steps of DDL.

The plan only looks; `apply` carries it out inside the transaction of the operation. Rules: RootCX manifest
reference, "Schema diff"; the order within a table is constraints off, types, new columns, nullability, defaults,
constraints on, columns off.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.unit import Statement, StatementRefused
from domain.records.declared import USERS, AppSchema, Field, Index, IndexPart, ObjectType
from domain.records.naming import bounded, fingerprint, literal, quoted
from domain.records.types import LINK

SYSTEM_COLUMNS = ("id", "created_at", "updated_at")
TRIGGERS = {
    "insert": "REFERENCING NEW TABLE AS new_rows",
    "update": "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "REFERENCING OLD TABLE AS old_rows",
}
TRIGGER_FUNCTIONS = {
    "insert": "stoa.record_inserted",
    "update": "stoa.record_updated",
    "delete": "stoa.record_deleted",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `change` is its kind, `detail` the part a person wants to read, `sql` the statements.

    `loses` says that stored values go with it. `before` is what a new default replaces: PostgreSQL prints
    defaults in its own way, so only it can tell whether the two are the same.
    """

    entity: str
    change: str
    sql: tuple[str, ...]
    column: str | None = None
    detail: str = ""
    loses: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is."""

    type: str
    required: bool
    default: str | None


@dataclass(slots=True)
class Table:
    """A table as it is. `marks` are the constraints and indexes the engine made, by name, with their fingerprint."""

    rows: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: dict[str, str] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)
    triggers: set[str] = field(default_factory=set)


# What is there.


async def inspect(ctx: Ctx, schema_name: str) -> dict[str, Table]:
    """The tables of an app's schema; none when the schema is not there."""
    tables: dict[str, Table] = {}
    for row in await ctx.fetch(Statement(_COLUMNS_SQL, (schema_name,))):
        table = tables.setdefault(row["table"], Table())
        table.columns[row["column"]] = Column(row["type"], row["required"], row["default"])
    for row in await ctx.fetch(Statement(_MARKS_SQL, (schema_name,))):
        if row["table"] in tables:
            getattr(tables[row["table"]], row["sort"])[row["name"]] = row["mark"]
    for row in await ctx.fetch(Statement(_TRIGGERS_SQL, (schema_name,))):
        tables[row["table"]].triggers.add(row["name"])
    for name, table in tables.items():
        any_row = Statement(f"SELECT EXISTS (SELECT FROM {quoted(schema_name)}.{quoted(name)}) AS any")
        table.rows = (await ctx.fetch(any_row))[0]["any"]
    return tables


_COLUMNS_SQL = """
SELECT c.relname AS "table", a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind = 'r'
ORDER BY c.relname, a.attnum
"""

_MARKS_SQL = """
SELECT t.relname AS "table", 'constraints' AS sort, k.conname AS name, obj_description(k.oid, 'pg_constraint') AS mark
FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = $1
WHERE obj_description(k.oid, 'pg_constraint') LIKE 'stoa %'
UNION ALL
SELECT t.relname, 'indexes', i.relname, obj_description(i.oid, 'pg_class')
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = $1
WHERE obj_description(i.oid, 'pg_class') LIKE 'stoa %'
"""

_TRIGGERS_SQL = """
SELECT c.relname AS "table", g.tgname AS name
FROM pg_trigger g
JOIN pg_class c ON c.oid = g.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
WHERE NOT g.tgisinternal
"""


# What is wanted.


@dataclass(frozen=True, slots=True)
class Wanted:
    """A constraint or index the declaration asks for: its name and the SQL that makes it."""

    name: str
    column: str | None
    definition: str
    replaceable: str  # the word of its change kinds: check, fk or index

    @property
    def mark(self) -> str:
        return fingerprint(self.definition)


def _id_type(schema: AppSchema, target: str) -> str:
    if target == USERS:
        return "uuid"
    return schema.types[target].columns["id"].type.column


def column_type(schema: AppSchema, declared: Field) -> str:
    """The PostgreSQL type of a field; a link has the type of what it leads to."""
    return declared.type.column if declared.link is None else _id_type(schema, declared.link.target)


def default_sql(declared: Field, type: str) -> str | None:
    """The default as an SQL literal of the column's type."""
    value = declared.default
    if value is None:
        return None
    if type.endswith("[]"):
        element = type[:-2]
        return f"ARRAY[{', '.join(literal(_text(part)) for part in value)}]::{element}[]"
    return f"{literal(_text(value) if type != 'jsonb' else orjson.dumps(value).decode())}::{type}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _constraints(schema: AppSchema, entity: ObjectType) -> Iterator[Wanted]:
    for declared in entity.fields:
        name = quoted(declared.name)
        if declared.options is not None:
            values = f"ARRAY[{', '.join(literal(option) for option in declared.options)}]"
            within = (
                f"{name} <@ {values}::{declared.type.column}"
                if declared.type.column.endswith("[]")
                else f"{name}::text = ANY ({values}::text[])"
            )
            yield Wanted(bounded(f"chk_{entity.name}_{declared.name}"), declared.name, f"CHECK ({within})", "check")
        if declared.link is not None:
            yield _foreign_key(schema, entity, declared)
        if declared.unique:
            yield Wanted(bounded(f"uq_{entity.name}_{declared.name}"), declared.name, f"UNIQUE ({name})", "unique")
    for check in entity.checks:
        yield Wanted(bounded(check.name), None, f"CHECK ({check.expression})", "check")


def _foreign_key(schema: AppSchema, entity: ObjectType, declared: Field) -> Wanted:
    assert declared.link is not None
    target = declared.link.target
    table = "stoa.users" if target == USERS else f"{quoted(schema.schema_name)}.{quoted(target)}"
    rule = declared.link.on_delete.replace("_", " ").upper()
    name = f"fk_{schema.app_id}_{entity.name}_{declared.name}_{target.replace(':', '_')}"
    definition = f"FOREIGN KEY ({quoted(declared.name)}) REFERENCES {table} (id) ON DELETE {rule}"
    return Wanted(bounded(name), declared.name, definition, "fk")


def _indexes(schema: AppSchema, entity: ObjectType) -> Iterator[Wanted]:
    for declared in entity.fields:
        if declared.link is not None:
            name = bounded(f"idx_{schema.app_id}_{entity.name}_{declared.name}")
            yield Wanted(name, declared.name, f"btree ({quoted(declared.name)}, id)", "index")
    if entity.identity is not None:
        key = entity.identity.key
        yield Wanted(bounded(f"idx_identity_{entity.name}_{key}"), key, f"btree ({quoted(key)})", "identity_index")
    yield Wanted(bounded(f"idx_{entity.name}_created_at"), "created_at", "btree (created_at, id)", "index")
    for index in entity.indexes:
        yield Wanted(bounded(index.name), None, _index_definition(index), "unique_index" if index.unique else "index")


def _index_definition(index: Index) -> str:
    parts = ", ".join(_index_part(part) for part in index.parts)
    options = ", ".join(f"{key} = {value}" for key, value in index.options)
    return (
        f"{index.method} ({parts})"
        + (f" WITH ({options})" if options else "")
        + (f" WHERE {index.where}" if index.where else "")
    )


def _index_part(part: IndexPart) -> str:
    subject = quoted(part.column) if part.column is not None else f"({part.expression})"
    nulls = {None: "", True: " NULLS FIRST", False: " NULLS LAST"}[part.nulls_first]
    operators = f" {quoted(part.operator_class)}" if part.operator_class else ""
    return subject + operators + (" DESC" if part.descending else "") + nulls


# The difference.


def plan(schema: AppSchema, tables: Mapping[str, Table]) -> list[Step]:
    """The steps from `tables` to what `schema` declares. Raises Invalid where rows stand in the way."""
    made = [step for entity in schema.types.values() for step in _table_steps(schema, entity, tables)]
    if schema.types and not tables:
        made.insert(0, Step("", "create_schema", (f"CREATE SCHEMA IF NOT EXISTS {quoted(schema.schema_name)}",)))
    later = ("add_fk", "alter_fk_delete_rule")  # a key may lead to a table made further down
    return [s for s in made if s.change not in later] + [s for s in made if s.change in later]


def _table_steps(schema: AppSchema, entity: ObjectType, tables: Mapping[str, Table]) -> Iterator[Step]:
    table = f"{quoted(schema.schema_name)}.{quoted(entity.name)}"
    there = tables.get(entity.name)
    if there is None:
        yield Step(entity.name, "create_table", (_create_table(schema, entity, table),))
        there = Table(columns=dict.fromkeys(entity.columns, Column("", False, None)), rows=False)
        yield from _mark_steps(schema, entity, table, there)
    else:
        on, off = _split(_mark_steps(schema, entity, table, there), "DROP CONSTRAINT")
        yield from off
        yield from _column_steps(schema, entity, table, there)
        yield from on
        yield from _dropped(entity, table, there)
    for event in TRIGGERS:
        if f"stoa_{event}" not in there.triggers:
            yield Step(entity.name, "add_trigger", (_trigger(schema, entity, table, event),), detail=event)


def _split(steps: Iterable[Step], mark: str) -> tuple[list[Step], list[Step]]:
    steps = list(steps)
    return [s for s in steps if mark not in s.sql[0]], [s for s in steps if mark in s.sql[0]]


def _create_table(schema: AppSchema, entity: ObjectType, table: str) -> str:
    columns = []
    for declared in entity.columns.values():
        type = column_type(schema, declared)
        default = default_sql(declared, type)
        if declared.name == "id":
            default = None if entity.own_id and type != "uuid" else "gen_random_uuid()"
        elif declared.name in SYSTEM_COLUMNS:
            default = "now()"
        columns.append(
            f"{quoted(declared.name)} {type}"
            + (f" DEFAULT {default}" if default else "")
            + (" PRIMARY KEY" if declared.name == "id" else " NOT NULL" if declared.required else "")
        )
    return f"CREATE TABLE {table} ({', '.join(columns)})"


def _trigger(schema: AppSchema, entity: ObjectType, table: str, event: str) -> str:
    told = ", ".join(literal(part) for part in (str(schema.tenant_id), schema.app_id, entity.name))
    return (
        f"CREATE TRIGGER stoa_{event} AFTER {event.upper()} ON {table} {TRIGGERS[event]} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {TRIGGER_FUNCTIONS[event]}({told})"
    )


def _column_steps(schema: AppSchema, entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    new = [f for f in entity.fields if f.name not in there.columns]
    kept = [f for f in entity.fields if f.name in there.columns and f.name != "id"]
    for declared in kept:
        yield from _retype(schema, entity, table, declared, there)
    for declared in new:
        yield from _add_column(schema, entity, table, declared, there)
    for declared in kept:
        yield from _nullability(entity, table, declared, there.columns[declared.name])
    for declared in kept:
        yield from _default_step(schema, entity, table, declared, there.columns[declared.name])


def _retype(schema: AppSchema, entity: ObjectType, table: str, declared: Field, there: Table) -> Iterator[Step]:
    name, type = quoted(declared.name), column_type(schema, declared)
    column = there.columns[declared.name]
    if column.type == type:
        return
    if column.default is not None:
        yield Step(entity.name, "drop_default", (f"ALTER TABLE {table} ALTER {name} DROP DEFAULT",), declared.name)
    using = declared.type.converted(name) if declared.type is not LINK else f"{name}::text::{type}"
    yield Step(
        entity.name,
        "alter_type",
        (f"ALTER TABLE {table} ALTER {name} TYPE {type} USING {using}",),
        declared.name,
        f"{column.type} -> {type}",
    )


def _add_column(schema: AppSchema, entity: ObjectType, table: str, declared: Field, there: Table) -> Iterator[Step]:
    type = column_type(schema, declared)
    default = default_sql(declared, type)
    if declared.required and default is None and there.rows:
        raise Invalid(
            f"{entity.name}.{declared.name}",
            f"field '{declared.name}' of '{entity.name}' is required, has no default, and there are rows already",
        )
    name = quoted(declared.name)
    filled = f" DEFAULT {default} NOT NULL" if declared.required and default else ""
    empty = " NOT NULL" if declared.required and not default else ""
    sql = f"ALTER TABLE {table} ADD {name} {type}{filled}{empty}"
    yield Step(entity.name, "add_column", (sql,), declared.name, type.upper())
    if default and not declared.required:  # rows that are there keep null, only new ones get the default
        yield _set_default(entity, table, declared.name, default)


def _set_default(entity: ObjectType, table: str, column: str, default: str, before: str | None = None) -> Step:
    sql = f"ALTER TABLE {table} ALTER {quoted(column)} SET DEFAULT {default}"
    return Step(entity.name, "set_default", (sql,), column, default, before=before)


def _nullability(entity: ObjectType, table: str, declared: Field, column: Column) -> Iterator[Step]:
    if declared.required == column.required:
        return
    verb = "SET" if declared.required else "DROP"
    sql = f"ALTER TABLE {table} ALTER {quoted(declared.name)} {verb} NOT NULL"
    yield Step(entity.name, f"{verb.lower()}_not_null", (sql,), declared.name)


def _default_step(schema: AppSchema, entity: ObjectType, table: str, declared: Field, column: Column) -> Iterator[Step]:
    type = column_type(schema, declared)
    default = default_sql(declared, type)
    before = column.default if column.type == type else None
    if default is None and before is not None:
        sql = f"ALTER TABLE {table} ALTER {quoted(declared.name)} DROP DEFAULT"
        yield Step(entity.name, "drop_default", (sql,), declared.name)
    elif default is not None and default != before:
        yield _set_default(entity, table, declared.name, default, before)


def _dropped(entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    for name in there.columns:
        if name not in entity.columns:
            sql = f"ALTER TABLE {table} DROP COLUMN {quoted(name)} CASCADE"
            yield Step(entity.name, "drop_column", (sql,), name, loses=there.rows)


def _mark_steps(schema: AppSchema, entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    """Constraints and indexes: those that changed are dropped and made again."""
    retyped = {
        f.name for f in entity.fields if f.name in there.columns and there.columns[f.name].type
        and there.columns[f.name].type != column_type(schema, f)
    }  # fmt: skip
    constraints = {wanted.name: wanted for wanted in _constraints(schema, entity)}
    for name, mark in there.constraints.items():
        wanted = constraints.get(name)
        if wanted is None or wanted.mark != mark or wanted.column in retyped:
            sql = f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}"
            yield Step(entity.name, f"drop_{wanted.replaceable if wanted else 'check'}", (sql,), detail=name)
    for wanted in constraints.values():
        before = there.constraints.get(wanted.name)
        if before != wanted.mark or wanted.column in retyped:
            change = {"fk": "alter_fk_delete_rule"}.get(wanted.replaceable, f"replace_{wanted.replaceable}")
            kind = change if before else f"add_{wanted.replaceable}"
            sql = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(wanted.name)} {wanted.definition}"
            comment = f"COMMENT ON CONSTRAINT {quoted(wanted.name)} ON {table} IS {literal(wanted.mark)}"
            yield Step(entity.name, kind, (sql, comment), wanted.column, wanted.name)
    indexes = {wanted.name: wanted for wanted in _indexes(schema, entity)}
    place = quoted(schema.schema_name)
    for name, mark in there.indexes.items():
        wanted = indexes.get(name)
        if wanted is None or wanted.mark != mark:
            yield Step(entity.name, "drop_index", (f"DROP INDEX {place}.{quoted(name)}",), detail=name)
    for wanted in indexes.values():
        before = there.indexes.get(wanted.name)
        if before != wanted.mark:
            unique = "UNIQUE " if wanted.replaceable == "unique_index" else ""
            word = wanted.replaceable.removeprefix("unique_")
            kind = f"replace_{word}" if before else f"add_{word}"
            sql = f"CREATE {unique}INDEX {quoted(wanted.name)} ON {table} USING {wanted.definition}"
            comment = f"COMMENT ON INDEX {place}.{quoted(wanted.name)} IS {literal(wanted.mark)}"
            yield Step(entity.name, kind, (sql, comment), wanted.column, wanted.name)


async def needed(ctx: Ctx, steps: Sequence[Step]) -> list[Step]:
    """The steps without new defaults that are the old ones in another spelling."""
    spelled = [step for step in steps if step.before is not None]
    if not spelled:
        return list(steps)
    pairs = ", ".join(f"({step.before}) IS NOT DISTINCT FROM ({step.detail}) AS d{i}" for i, step in enumerate(spelled))
    same = (await ctx.fetch(Statement(f"SELECT {pairs}")))[0]
    idle = {id(step) for i, step in enumerate(spelled) if same[f"d{i}"]}
    return [step for step in steps if id(step) not in idle]


async def apply(ctx: Ctx, steps: Sequence[Step]) -> None:
    """Carry out the plan. Raises Invalid with the field whose values stand in the way."""
    for step in steps:
        for sql in step.sql:
            try:
                await ctx.fetch(Statement(sql))
            except StatementRefused as refused:
                raise _in_the_way(step, refused) from refused


def _in_the_way(step: Step, refused: StatementRefused) -> Exception:
    field = f"{step.entity}.{step.column}" if step.column else step.entity
    what = f"field '{step.column}' of '{step.entity}'" if step.column else f"entity '{step.entity}'"
    match refused.sqlstate:
        case "23502":
            return Invalid(field, f"{what} cannot become required: there are rows without a value")
        case "23505":
            return Invalid(field, f"{what} cannot become unique: there are equal values")
        case "23514":
            return Invalid(field, f"{what} has rows that break the declared rule {step.detail}")
        case "23503":
            return Invalid(field, f"{what} has rows that link to nothing")
        case state if state.startswith(("22", "42", "0A", "54", "2B")):
            return Invalid(field, f"{what} cannot be changed as declared ({step.change} {step.detail})")
    return refused
