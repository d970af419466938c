"""What a database has of an app: its tables as they are."""

from dataclasses import dataclass, field

from domain.kernel.ctx import Ctx
from domain.kernel.unit import Statement
from domain.records.naming import MARK, quoted


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is, and as it is called until a rename is carried out."""

    name: str
    type: str
    required: bool
    default: str | None
    counts: bool = False  # the database numbers its rows
    generated: bool = False
    mark: str | None = None  # of a generated one: tells its expression from another


@dataclass(slots=True)
class Table:
    """A table as it is, and as it is called until a rename is carried out.

    `marks` are the constraints and indexes the engine made: the mark of each, by name.
    """

    name: str = ""
    rows: bool = False
    columns: dict[str, Column] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    triggers: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what each is told, by name


async def schema_exists(ctx: Ctx, schema_name: str) -> bool:
    """Whether the database has a schema of this name."""
    found = Statement("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS found", (schema_name,))
    return bool((await ctx.fetch(found))[0]["found"])


async def inspect(ctx: Ctx, schema_name: str) -> dict[str, Table]:
    """The tables of an app's schema; none when the schema is not there."""
    tables: dict[str, Table] = {}
    for row in await ctx.fetch(Statement(_COLUMNS_SQL, (schema_name,))):
        table = tables.setdefault(row["table"], Table(row["table"]))
        table.columns[row["column"]] = Column(
            row["column"],
            row["type"],
            row["required"],
            None if row["generated"] else row["default"],
            row["counts"],
            row["generated"],
            row["mark"],
        )
    for row in await ctx.fetch(Statement(_MARKS_SQL, (schema_name, f"{MARK} %"))):
        if row["table"] in tables:
            tables[row["table"]].marks[row["name"]] = row["mark"]
    for row in await ctx.fetch(Statement(_TRIGGERS_SQL, (schema_name,))):
        tables[row["table"]].triggers[row["name"]] = tuple(row["told"].decode().split("\0")[:-1])
    for name, table in tables.items():
        any_row = Statement(f"SELECT EXISTS (SELECT FROM {quoted(schema_name)}.{quoted(name)}) AS any")
        table.rows = (await ctx.fetch(any_row))[0]["any"]
    return tables


_COLUMNS_SQL = """
SELECT c.relname AS "table", a.attname AS "column", format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required, pg_get_expr(d.adbin, d.adrelid) AS default,
       a.attidentity <> '' AS counts, a.attgenerated <> '' AS generated, col_description(c.oid, a.attnum) AS mark
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind = 'r'
ORDER BY c.relname, a.attnum
"""

_MARKS_SQL = """
SELECT t.relname AS "table", m.name, m.mark
FROM pg_namespace n
JOIN pg_class t ON t.relnamespace = n.oid
JOIN LATERAL (
    SELECT conname AS name, obj_description(oid, 'pg_constraint') AS mark FROM pg_constraint WHERE conrelid = t.oid
    UNION ALL
    SELECT i.relname, obj_description(i.oid, 'pg_class')
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = t.oid
) m ON m.mark LIKE $2
WHERE n.nspname = $1
"""

_TRIGGERS_SQL = """
SELECT c.relname AS "table", g.tgname AS name, g.tgargs AS told
FROM pg_trigger g
JOIN pg_class c ON c.oid = g.tgrelid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = $1
WHERE NOT g.tgisinternal
"""
