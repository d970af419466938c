"""From what a database has to what a declaration wants: the plan of changes, as readable steps of DDL.

The plan only looks; `apply` carries it out inside the transaction of the operation. Rules: RootCX manifest
reference, "Schema diff"; the order within a table is constraints off, types, new columns, nullability, defaults,
constraints on, columns off. Keys between tables go before everything else and come back after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid
from domain.kernel.unit import FOREIGN_KEY_STATES, UNIQUE_STATE, Statement, StatementRefused
from domain.records import searching
from domain.records.computed import Formula, Links, links_name
from domain.records.declared import (
    SYSTEM_FIELDS,
    USERS,
    AppSchema,
    Field,
    Index,
    IndexPart,
    Link,
    ObjectType,
    Search,
    SearchField,
)
from domain.records.naming import bounded, fingerprint, literal, quoted
from domain.records.there import Column, Table
from domain.records.types import AutonumberType, SecretType

TRIGGERS = {
    "insert": ("stoa.record_inserted", "REFERENCING NEW TABLE AS new_rows"),
    "update": ("stoa.record_updated", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    "delete": ("stoa.record_deleted", "REFERENCING OLD TABLE AS old_rows"),
}
CONSTRAINTS = ("check", "unique", "fk")


@dataclass(frozen=True, slots=True)
class Step:
    """One change. `change` is its kind, `detail` the part a person wants to read.

    `sql` is carried out where the step stands, `first` before and `last` after those of all steps. `loses` says that
    stored values go with it, or before it was `weighed`, that they may: those of the rows that `lost` selects. `before`
    is what a rename or a new default replaces: PostgreSQL prints defaults in its own way, so only it can tell whether
    the two are the same.
    """

    entity: str
    change: str
    sql: tuple[str, ...] = ()
    column: str | None = None
    detail: str = ""
    loses: bool = False
    lost: str | None = None
    before: str | None = None
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    @property
    def statements(self) -> tuple[str, ...]:
        """All its SQL."""
        return (*self.first, *self.sql, *self.last)


# What is wanted.


@dataclass(frozen=True, slots=True)
class Wanted:
    """A constraint or index the declaration asks for. `kind` is the word of its changes, like `replace_index`.

    `column` is what it is about, or begins with, where that is one column.
    """

    kind: str
    name: str
    column: str | None
    definition: str
    unique: bool = False  # of an index

    @property
    def mark(self) -> str:
        """Tells it from another definition under the same name."""
        return fingerprint(self.kind, f"{'UNIQUE ' if self.unique else ''}{self.definition}")

    def sql(self, place: str, table: str) -> tuple[str, ...]:
        """What makes it and leaves its mark; `place` is the quoted schema."""
        name, mark = quoted(self.name), literal(self.mark)
        if self.kind in CONSTRAINTS:
            made = f"ALTER TABLE {table} ADD CONSTRAINT {name} {self.definition}"
            return made, f"COMMENT ON CONSTRAINT {name} ON {table} IS {mark}"
        made = f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {name} ON {table} USING {self.definition}"
        return made, f"COMMENT ON INDEX {place}.{name} IS {mark}"


def column_type(schema: AppSchema, declared: Field) -> str:
    """The PostgreSQL type of a field."""
    return declared.type.column


def default_sql(declared: Field, type: str) -> str | None:
    """The default of a column of this type, in SQL."""
    if declared.name == "id":
        return "gen_random_uuid()" if type == "uuid" else None
    if declared.name in SYSTEM_FIELDS:
        return "now()"
    return None if declared.default is None else declared.type.constant(declared.default)


def wanted_marks(schema: AppSchema, entity: ObjectType) -> dict[str, Wanted]:
    """The constraints and indexes of an entity, by name. Raises Invalid where two would have the same."""
    found: dict[str, Wanted] = {}
    for wanted in (*_constraints(schema, entity), *_indexes(schema, entity)):
        if wanted.name in found:
            raise Invalid(entity.name, f"entity '{entity.name}' has two constraints or indexes named '{wanted.name}'")
        found[wanted.name] = wanted
    return found


def _constraints(schema: AppSchema, entity: ObjectType) -> Iterator[Wanted]:
    for declared in entity.fields:
        if declared.computed is not None:
            continue
        name, column = declared.name, quoted(declared.name)
        rules: list[str] = []
        if declared.options is not None:
            type = column_type(schema, declared)
            element = type.removesuffix("[]")
            constants = ", ".join(declared.type.element.constant(option) for option in declared.options)
            options = f"ARRAY[{constants}]::{element}[]"
            within = f"{column} <@ {options}" if type != element else f"{column} = ANY ({options})"
            rules.append(within)
        rule = declared.type.rule(column)
        if rule is not None:
            rules.append(f"({rule})")
        if rules:
            yield Wanted("check", bounded(f"chk_{entity.name}_{name}"), name, f"CHECK ({' AND '.join(rules)})")
        if declared.link is not None:
            yield _foreign_key(schema, entity, declared, declared.link)
        if declared.unique:
            yield Wanted("unique", bounded(f"uq_{entity.name}_{name}"), name, f"UNIQUE ({column})")
    for check in entity.checks:
        yield Wanted("check", check.name, None, f"CHECK ({check.expression})")


def _foreign_key(schema: AppSchema, entity: ObjectType, declared: Field, link: Link) -> Wanted:
    table = "stoa.users" if link.target == USERS else f"{quoted(schema.schema_name)}.{quoted(link.target)}"
    rule = link.on_delete.replace("_", " ").upper()
    name = bounded(f"fk_{schema.app_id}_{entity.name}_{declared.name}_{link.target.replace(':', '_')}")
    definition = f"FOREIGN KEY ({quoted(declared.name)}) REFERENCES {table} (id) ON DELETE {rule}"
    return Wanted("fk", name, declared.name, definition)


def _indexes(schema: AppSchema, entity: ObjectType) -> Iterator[Wanted]:
    for declared in entity.fields:
        if declared.link is not None:
            name = bounded(f"idx_{schema.app_id}_{entity.name}_{declared.name}")
            yield Wanted("index", name, declared.name, f"btree ({quoted(declared.name)}, id)")
    if entity.identity is not None:
        key = entity.identity.key
        name = bounded(f"idx_identity_{entity.name}_{key}")
        yield Wanted("identity_index", name, key, f"btree ({quoted(key)})")
    newest_first = bounded(f"idx_{entity.name}_created_at")
    yield Wanted("index", newest_first, "created_at", "btree (created_at DESC, id)")
    if entity.search is not None:
        yield from _search_indexes(entity.name, entity.search)
    for index in entity.indexes:
        yield Wanted("index", index.name, index.parts[0].column, _index_definition(index), index.unique)


def _search_indexes(entity: str, search: Search) -> Iterator[Wanted]:
    def of(field: SearchField) -> str:
        return quoted(field.name)

    words = f"gin (({searching.words(search, of)}))"
    yield Wanted("search_index", bounded(f"idx_search_{entity}"), None, words)
    if search.typos:
        letters = f"gin (({searching.letters(search, of)}) gin_trgm_ops)"
        yield Wanted("search_index", bounded(f"idx_search_{entity}_typos"), None, letters)


def _index_definition(index: Index) -> str:
    parts = ", ".join(_index_part(part) for part in index.parts)
    options = ", ".join(f"{key} = {value}" for key, value in index.options)
    return (
        f"{index.method} ({parts})"
        + (f" WITH ({options})" if options else "")
        + (f" WHERE ({index.where})" if index.where else "")
    )


def _index_part(part: IndexPart) -> str:
    subject = quoted(part.column) if part.column is not None else f"({part.expression})"
    nulls = {None: "", True: " NULLS FIRST", False: " NULLS LAST"}[part.nulls_first]
    operators = f" {quoted(part.operator_class)}" if part.operator_class else ""
    return subject + operators + (" DESC" if part.descending else "") + nulls


# The difference.


def plan(schema: AppSchema, tables: Mapping[str, Table]) -> list[Step]:
    """The steps from `tables` to what `schema` declares.

    Raises Invalid where rows stand in the way, or where two things of the declaration would have the same name.
    """
    _refuse_shared_names(schema)
    known = dict(tables)
    entities = schema.types.values()
    renames = [step for entity in entities for step in _renames(schema, entity, known)]
    renames += [step for entity in entities for step in _links_renamed(schema, entity, known)]
    tables_of = [step for entity in entities for step in _table_steps(schema, entity, known)]
    return [*renames, *tables_of, *(step for entity in entities for step in _links_steps(schema, entity, known))]


def _renames(schema: AppSchema, entity: ObjectType, known: dict[str, Table]) -> Iterator[Step]:
    """New names for what there is under the former ones. `known` is changed along."""
    place = quoted(schema.schema_name)
    former = entity.renamed_from
    if former is not None and former in known and entity.name not in known:
        known[entity.name] = known.pop(former)
        key = f"ALTER INDEX {place}.{quoted(f'{former}_pkey')} RENAME TO {quoted(f'{entity.name}_pkey')}"
        table = f"ALTER TABLE {place}.{quoted(former)} RENAME TO {quoted(entity.name)}"
        yield Step(entity.name, "rename_table", detail=f"{former} -> {entity.name}", before=former, first=(table, key))
    there = known.get(entity.name)
    if there is None:
        return
    there = known[entity.name] = replace(there, columns=dict(there.columns), marks=dict(there.marks))
    for name, declared in entity.stored.items():
        former = declared.renamed_from
        if former is not None and former in there.columns and name not in there.columns:
            there.columns[name] = there.columns.pop(former)
            sql = f"ALTER TABLE {place}.{quoted(entity.name)} RENAME {quoted(former)} TO {quoted(name)}"
            told = f"{former} -> {name}"
            yield Step(entity.name, "rename_column", column=name, detail=told, before=former, first=(sql,))


def _links_renamed(schema: AppSchema, entity: ObjectType, known: dict[str, Table]) -> Iterator[Step]:
    """The tables of links that are called after what was renamed."""
    place = quoted(schema.schema_name)
    for declared in entity.fields:
        if not isinstance(declared.computed, Links) or declared.computed.name in known:
            continue
        entities = [name for name in (entity.name, entity.renamed_from) if name is not None]
        fields = [name for name in (declared.name, declared.renamed_from) if name is not None]
        names = (links_name(one, other) for one in entities for other in fields)
        former = next((name for name in names if name in known), None)
        if former is not None:
            known[declared.computed.name] = known.pop(former)
            sql = f"ALTER TABLE {place}.{quoted(former)} RENAME TO {quoted(declared.computed.name)}"
            told = f"{former} -> {declared.computed.name}"
            yield Step(entity.name, "rename_links", column=declared.name, detail=told, before=former, first=(sql,))


def _links_steps(schema: AppSchema, entity: ObjectType, known: Mapping[str, Table]) -> Iterator[Step]:
    """Tables of links: made where a field has none, dropped where there is no field any more."""
    wanted = {
        declared.computed.name: (declared, declared.computed)
        for declared in entity.fields
        if isinstance(declared.computed, Links)
    }
    for name, (declared, links) in wanted.items():
        if name not in known:
            made, keys = _links_table(schema, entity, declared, links)
            yield Step(entity.name, "add_links", made, declared.name, links.entity, last=keys)
    for name, there in known.items():
        if name.partition(".")[0] in (entity.name, entity.renamed_from) and "." in name and name not in wanted:
            sql = f"DROP TABLE {quoted(schema.schema_name)}.{quoted(name)}"
            lost = _rows(schema, there, "true")
            yield Step(
                entity.name, "drop_links", column=name.partition(".")[2], loses=there.rows, lost=lost, first=(sql,)
            )


def _links_table(
    schema: AppSchema, entity: ObjectType, declared: Field, links: Links
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes a table of links, and its keys. Links go with the records at either end."""
    place, table = quoted(schema.schema_name), links.table
    ends = (
        ("source_id", entity.name, column_type(schema, entity.columns["id"])),
        ("target_id", links.entity, declared.type.element.column),
    )
    columns = ", ".join(f"{end} {type} NOT NULL" for end, _, type in ends)
    keys = (
        f"ALTER TABLE {table} ADD FOREIGN KEY ({end}) REFERENCES {place}.{quoted(other)} (id) ON DELETE CASCADE"
        for end, other, _ in ends
    )
    made = f"CREATE TABLE {table} ({columns}, position bigint NOT NULL, PRIMARY KEY (source_id, target_id))"
    return (made, f"CREATE INDEX ON {table} (target_id)"), tuple(keys)


def _refuse_shared_names(schema: AppSchema) -> None:
    """Tables and indexes share one name space in PostgreSQL."""
    taken = {name: f"entity '{name}'" for name in schema.types} | {f"{name}_pkey": "a key" for name in schema.types}
    for entity in schema.types.values():
        for wanted in wanted_marks(schema, entity).values():
            if wanted.kind not in ("check", "fk"):
                if wanted.name in taken:
                    raise Invalid(entity.name, f"'{wanted.name}' of '{entity.name}' is also {taken[wanted.name]}")
                taken[wanted.name] = f"an index of '{entity.name}'"


def _table_steps(schema: AppSchema, entity: ObjectType, tables: Mapping[str, Table]) -> Iterator[Step]:
    place = quoted(schema.schema_name)
    table = f"{place}.{quoted(entity.name)}"
    there = tables.get(entity.name)
    if there is None:
        there = Table(triggers={f"stoa_{event}": _told(schema, entity) for event in TRIGGERS})
        first = (f"CREATE SCHEMA IF NOT EXISTS {place}",) if not tables else ()
        triggers = (_trigger(schema, entity, table, event) for event in TRIGGERS)
        comments = (sql for declared in entity.stored.values() for sql in _comments(table, declared))
        yield Step(
            entity.name, "create_table", (_create_table(schema, entity, table), *comments, *triggers), first=first
        )
    else:
        yield from _column_steps(schema, entity, table, there)
    yield from _mark_steps(schema, entity, place, table, there)
    yield from _dropped(schema, entity, table, there)
    yield from _trigger_steps(schema, entity, table, there)


def _create_table(schema: AppSchema, entity: ObjectType, table: str) -> str:
    columns = ", ".join(_column_definition(schema, declared) for declared in entity.stored.values())
    return f"CREATE TABLE {table} ({columns})"


def _comments(table: str, declared: Field) -> tuple[str, ...]:
    """The marks of generated columns: PostgreSQL prints expressions in its own way."""
    if not isinstance(declared.computed, Formula) or not declared.computed.stored:
        return ()
    return (f"COMMENT ON COLUMN {table}.{quoted(declared.name)} IS {literal(_formula_mark(declared.computed))}",)


def _formula_mark(formula: Formula) -> str:
    return fingerprint("formula", formula.generated)


def _column_definition(schema: AppSchema, declared: Field) -> str:
    type = column_type(schema, declared)
    default = default_sql(declared, type)
    if isinstance(declared.computed, Formula):
        return f"{quoted(declared.name)} {type} GENERATED ALWAYS AS ({declared.computed.generated}) STORED"
    if isinstance(declared.type, AutonumberType):
        counted = f"GENERATED BY DEFAULT AS IDENTITY (START WITH {declared.type.start} MINVALUE 0)"
        return f"{quoted(declared.name)} {type} {counted}"
    return (
        f"{quoted(declared.name)} {type}"
        + (f" DEFAULT {default}" if default else "")
        + (" PRIMARY KEY" if declared.name == "id" else " NOT NULL" if declared.required else "")
    )


def _trigger_steps(schema: AppSchema, entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    for event in TRIGGERS:
        name, made = f"stoa_{event}", _trigger(schema, entity, table, event)
        if name not in there.triggers:
            yield Step(entity.name, "add_trigger", (made,), detail=event)
        elif there.triggers[name] != _told(schema, entity):
            yield Step(entity.name, "replace_trigger", (f"DROP TRIGGER {name} ON {table}", made), detail=event)


def _trigger(schema: AppSchema, entity: ObjectType, table: str, event: str) -> str:
    function, transition = TRIGGERS[event]
    told = ", ".join(literal(part) for part in _told(schema, entity))
    return (
        f"CREATE TRIGGER stoa_{event} AFTER {event.upper()} ON {table} {transition} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}({told})"
    )


def _told(schema: AppSchema, entity: ObjectType) -> tuple[str, ...]:
    """What a table's triggers are told: whose it is, and the JSON form of columns where that isn't PostgreSQL's own."""
    whose = (str(schema.tenant_id), schema.app_id, entity.name)
    pairs = [
        f"{literal(declared.name)}, {shown}"
        for declared in entity.stored.values()
        if (shown := declared.type.shown(column := f"r.{quoted(declared.name)}")) != column
    ]
    if not pairs:
        return whose
    at_once = 40  # a function takes a hundred arguments
    parts = [", ".join(pairs[start : start + at_once]) for start in range(0, len(pairs), at_once)]
    return (*whose, " || ".join(f"jsonb_build_object({part})" for part in parts))


def _column_steps(schema: AppSchema, entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    for declared in entity.stored.values():
        if declared.name in there.columns:
            yield from _computing(schema, entity, table, declared, there)
    kept = [declared for declared in entity.stored.values() if declared.name in there.columns]
    for declared in kept:
        yield from _retype(schema, entity, table, declared, there)
    for declared in entity.stored.values():
        if declared.name not in there.columns:
            yield from _add_column(schema, entity, table, declared, there)
    for declared in kept:
        yield from _nullability(entity, table, declared, there.columns[declared.name])
    for declared in kept:
        yield from _default_step(schema, entity, table, declared, there.columns[declared.name])


def _computing(schema: AppSchema, entity: ObjectType, table: str, declared: Field, there: Table) -> Iterator[Step]:
    """What becomes computed, of something else, or isn't any more. `there` is changed along."""
    name, column = declared.name, there.columns[declared.name]
    formula = declared.computed if isinstance(declared.computed, Formula) else None
    alter = f"ALTER TABLE {table} ALTER {quoted(name)}"
    if column.counts and not isinstance(declared.type, AutonumberType):
        yield Step(entity.name, "drop_numbering", (f"{alter} DROP IDENTITY",), name)
    elif isinstance(declared.type, AutonumberType) and not column.counts:
        what = f"field '{name}' of '{entity.name}'"
        raise Invalid(f"{entity.name}.{name}", f"{what} has values of its own and cannot become an autonumber")
    if formula is None:
        if column.generated:
            there.columns[name] = replace(column, generated=False)
            yield Step(entity.name, "drop_formula", (f"{alter} DROP EXPRESSION",), name)
        return
    if column.generated and column.type == column_type(schema, declared):
        if column.mark != _formula_mark(formula):
            sql = f"{alter} SET EXPRESSION AS ({formula.generated})"
            yield Step(entity.name, "set_formula", (sql, *_comments(table, declared)), name)
        return
    yield from _dropped_column(schema, table, entity, name, there)
    wanted = wanted_marks(schema, entity)
    gone = [mark for mark in there.marks if mark in wanted and quoted(name) in wanted[mark].definition]
    for mark in gone:  # with the column goes what hangs on it
        del there.marks[mark]
    del there.columns[name]


def _retyped(schema: AppSchema, declared: Field, there: Table) -> bool:
    column = there.columns.get(declared.name)
    return column is not None and column.type != column_type(schema, declared)


def _retype(schema: AppSchema, entity: ObjectType, table: str, declared: Field, there: Table) -> Iterator[Step]:
    if not _retyped(schema, declared, there):
        return
    name, type = quoted(declared.name), column_type(schema, declared)
    column = there.columns[declared.name]
    if SecretType.column in (type, column.type):
        what = f"field '{declared.name}' of '{entity.name}'"
        raise Invalid(f"{entity.name}.{declared.name}", f"{what} cannot change its type: secrets are sealed one by one")
    alter = f"ALTER TABLE {table} ALTER {name} TYPE {type} USING {declared.type.converted(name)}"
    off = (f"ALTER TABLE {table} ALTER {name} DROP DEFAULT",) if column.default is not None else ()
    lost = _rows(schema, there, _changed(declared, column))
    yield Step(entity.name, "alter_type", (*off, alter), declared.name, f"{column.type} -> {type}", there.rows, lost)


def _changed(declared: Field, column: Column) -> str:
    """Whether a value that became one of the new type would not be what it was when it became one of the old again."""
    name = quoted(column.name)
    text = f"({declared.type.converted(name)})::text"
    back = f"CASE WHEN pg_input_is_valid({text}, {literal(column.type)}) THEN ({text})::{column.type} END"
    return f"{name} IS NOT NULL AND {name} IS DISTINCT FROM ({back})"


def _rows(schema: AppSchema, there: Table, condition: str) -> str | None:
    """A select of the rows that meet a condition, before anything is renamed; None without rows."""
    table = f"{quoted(schema.schema_name)}.{quoted(there.name)}"
    return f"SELECT FROM {table} WHERE {condition}" if there.rows else None


def _add_column(schema: AppSchema, entity: ObjectType, table: str, declared: Field, there: Table) -> Iterator[Step]:
    type = column_type(schema, declared)
    default = default_sql(declared, type)
    if declared.required and declared.type.written and default is None and there.rows:
        raise Invalid(
            f"{entity.name}.{declared.name}",
            f"field '{declared.name}' of '{entity.name}' is required, has no default, and there are rows already",
        )
    add = f"ALTER TABLE {table} ADD "
    if declared.computed is not None:
        sql: tuple[str, ...] = (add + _column_definition(schema, declared), *_comments(table, declared))
    elif declared.required or default is None:
        sql = (add + _column_definition(schema, declared),)
    else:  # rows that are there keep null, only new ones get the default
        sql = (f"{add}{quoted(declared.name)} {type}", _set_default(table, declared.name, default))
    yield Step(entity.name, "add_column", sql, declared.name, type.upper())


def _set_default(table: str, column: str, default: str) -> str:
    return f"ALTER TABLE {table} ALTER {quoted(column)} SET DEFAULT {default}"


def _nullability(entity: ObjectType, table: str, declared: Field, column: Column) -> Iterator[Step]:
    if declared.required == column.required:
        return
    verb = "SET" if declared.required else "DROP"
    sql = f"ALTER TABLE {table} ALTER {quoted(declared.name)} {verb} NOT NULL"
    yield Step(entity.name, f"{verb.lower()}_not_null", (sql,), declared.name)


def _default_step(schema: AppSchema, entity: ObjectType, table: str, declared: Field, column: Column) -> Iterator[Step]:
    type = column_type(schema, declared)
    default = default_sql(declared, type)
    before = column.default if column.type == type else None  # changing the type took it away
    if default is None and before is not None:
        sql = f"ALTER TABLE {table} ALTER {quoted(declared.name)} DROP DEFAULT"
        yield Step(entity.name, "drop_default", (sql,), declared.name)
    elif default is not None and default != before:
        sql = _set_default(table, declared.name, default)
        yield Step(entity.name, "set_default", (sql,), declared.name, default, before=before)


def _dropped(schema: AppSchema, entity: ObjectType, table: str, there: Table) -> Iterator[Step]:
    for name in there.columns:
        if name not in entity.stored:
            yield from _dropped_column(schema, table, entity, name, there)


def _dropped_column(schema: AppSchema, table: str, entity: ObjectType, name: str, there: Table) -> Iterator[Step]:
    sql, column = f"ALTER TABLE {table} DROP COLUMN {quoted(name)} CASCADE", there.columns[name]
    holds = there.rows and not column.generated  # what was computed can be computed again
    lost = _rows(schema, there, f"NOT {quoted(column.name)} IS NULL") if holds else None
    yield Step(entity.name, "drop_column", (sql,), name, loses=holds, lost=lost)


def _mark_steps(schema: AppSchema, entity: ObjectType, place: str, table: str, there: Table) -> Iterator[Step]:
    """Constraints and indexes: what is no longer wanted goes, what changed is made anew."""
    wanted = wanted_marks(schema, entity)
    retyped = {declared.name for declared in entity.stored.values() if _retyped(schema, declared, there)}
    for name, mark in there.marks.items():
        if name not in wanted:
            kind = mark.split()[1]
            yield Step(entity.name, f"drop_{kind}", detail=name, first=(_drop(kind, name, place, table),))
    for name, mark in there.marks.items():
        one = wanted.get(name)
        if one is not None and (one.mark != mark or (one.kind in CONSTRAINTS and one.column in retyped)):
            yield _replaced(entity, one, mark, place, table)
    for one in wanted.values():
        if one.name not in there.marks:
            yield _made(entity, f"add_{one.kind}", one, place, table)


def _drop(kind: str, name: str, place: str, table: str) -> str:
    if kind in CONSTRAINTS:
        return f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}"
    return f"DROP INDEX {place}.{quoted(name)}"


def _replaced(entity: ObjectType, wanted: Wanted, mark: str, place: str, table: str) -> Step:
    # The name of a key has its link and target in it: under the same name only the rule can be another one.
    rule = wanted.kind == "fk" and wanted.mark != mark
    change = "alter_fk_delete_rule" if rule else f"replace_{wanted.kind}"
    return _made(entity, change, wanted, place, table, (_drop(mark.split()[1], wanted.name, place, table),))


def _made(entity: ObjectType, change: str, wanted: Wanted, place: str, table: str, first: tuple[str, ...] = ()) -> Step:
    sql = wanted.sql(place, table)
    here, last = ((), sql) if wanted.kind == "fk" else (sql, ())  # a key may lead to a table made further down
    return Step(entity.name, change, here, wanted.column, wanted.name, first=first, last=last)


async def weighed(ctx: Ctx, steps: Sequence[Step]) -> list[Step]:
    """The steps, with what they lose: a change of type does where it cannot be undone.

    Raises Invalid with the field whose values cannot become what is declared.
    """
    return [replace(step, loses=await _loses(ctx, step)) for step in steps]


async def _loses(ctx: Ctx, step: Step) -> bool:
    if step.lost is None:
        return False
    try:
        return bool((await ctx.fetch(Statement(f"SELECT EXISTS ({step.lost}) AS lost")))[0]["lost"])
    except StatementRefused as refused:
        raise _in_the_way(step, refused) from refused


async def needed(ctx: Ctx, steps: Sequence[Step]) -> list[Step]:
    """The steps without new defaults that are the old ones in another spelling."""
    spelled = [step for step in steps if step.change == "set_default" and step.before is not None]
    if not spelled:
        return list(steps)
    pairs = ", ".join(f"({step.before}) IS NOT DISTINCT FROM ({step.detail}) AS d{i}" for i, step in enumerate(spelled))
    same = (await ctx.fetch(Statement(f"SELECT {pairs}")))[0]
    idle = {id(step) for i, step in enumerate(spelled) if same[f"d{i}"]}
    return [step for step in steps if id(step) not in idle]


async def apply(ctx: Ctx, steps: Sequence[Step]) -> None:
    """Carry out the plan. Raises Invalid with the field whose values stand in the way."""
    statements = [
        *((step, sql) for step in steps for sql in step.first),
        *((step, sql) for step in steps for sql in step.sql),
        *((step, sql) for step in steps for sql in step.last),
    ]
    for step, sql in statements:
        try:
            await ctx.fetch(Statement(sql))
        except StatementRefused as refused:
            raise _in_the_way(step, refused) from refused


def _in_the_way(step: Step, refused: StatementRefused) -> Exception:
    field = f"{step.entity}.{step.column}" if step.column else step.entity
    what = f"field '{step.column}' of '{step.entity}'" if step.column else f"entity '{step.entity}'"
    match refused.sqlstate:
        case "23502":
            return Invalid(field, f"{what} is required, and there are rows that have, or would have, no value")
        case state if state == UNIQUE_STATE:
            return Invalid(field, f"{what} cannot become unique ({step.detail}): there are equal values")
        case "23514":
            return Invalid(field, f"{what} has rows that break the declared rule {step.detail}")
        case state if state in FOREIGN_KEY_STATES:
            return Invalid(field, f"{what} has rows that link to nothing")
        case "42704" if step.change.endswith("_search_index"):
            told = 'the database has no pg_trgm, which typos are found with: install it, or declare "typos": false'
            return Invalid(f"{step.entity}.search.typos", f"{what}: {told}")
        case "42P17" if step.change in ("add_column", "create_table", "set_formula"):
            return Invalid(field, f"{what} has a formula that depends on when it is computed: declare it stored: false")
        case state if state.startswith(("22", "42", "0A", "54", "2B")):
            return Invalid(field, f"{what} cannot be changed as declared ({step.change} {step.detail})")
    return refused
