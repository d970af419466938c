"""From the query model to SQL: one statement, every value a bound parameter, names only from declarations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from domain.access.permissions import Verb
from domain.kernel.events import LOGGED
from domain.kernel.unit import LookUp, Statement
from domain.records import searching
from domain.records.computed import Links
from domain.records.declared import AppSchema, ObjectType
from domain.records.declared import Field as DeclaredField
from domain.records.later import Later
from domain.records.naming import literal, quoted
from domain.records.plan import column_type
from domain.records.policies import POLICY, Guard, maskable
from domain.records.query import (
    ALWAYS,
    All,
    AnyOf,
    Compared,
    Condition,
    Key,
    Linked,
    Linking,
    Metric,
    Near,
    Not,
    Op,
    Order,
    SharedWith,
    Sought,
    Test,
    Untrue,
)
from domain.records.types import EnumType, FieldType, IntegerType, NumberType

ROW = "t"  # the alias of the row that conditions speak of
AS_IT_IS = "g"  # the alias of a row that a caller sees through a guard
# Columns of our own beside the fields' have names that no field can have.
COUNTED = '"counted rows"'
NUMBERED = '"row number"'

# In the place of what is told of a row that its caller may not write so.
REFUSED = f"stoa.refused_record({literal(POLICY)})"

INFIX = {
    Op.EQ: "=",
    Op.NE: "<>",
    Op.GT: ">",
    Op.GTE: ">=",
    Op.LT: "<",
    Op.LTE: "<=",
    Op.LIKE: "LIKE",
    Op.ILIKE: "ILIKE",
    Op.CONTAINS: "@>",
}


@dataclass(slots=True)
class Params:
    """The values of a statement, numbered as they come."""

    values: list[object] = field(default_factory=list)
    _known: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, value: object, type: str) -> str:
        """`$n::type` for `value`; the same one for a value that is already there."""
        key = (id(value), type)
        if key not in self._known or value is None:  # the nulls of a statement are different things
            self.values.append(value)
            self._known[key] = len(self.values)
        return f"${self._known[key]}::{type}"


def relation(schema: AppSchema, entity: ObjectType) -> str:
    """The quoted name of an entity's table."""
    return f"{quoted(schema.schema_name)}.{quoted(entity.name)}"


def source(schema: AppSchema, entity: ObjectType, params: Params) -> str:
    """What to read an entity's rows FROM: its table, or as much of it as the caller may see."""
    guard, table = entity.guard, relation(schema, entity)
    if guard is None or (guard.rows == ALWAYS and not guard.fields):
        return table
    columns = _guarded(guard, AS_IT_IS, params) if guard.fields else f"{AS_IT_IS}.*"
    return f"(SELECT {columns} FROM {table} {AS_IT_IS} WHERE {condition(guard.raw, guard.rows, params, AS_IT_IS)})"


def through(entity: ObjectType, expression: str, params: Params) -> str:
    """An expression over a row ROW of the table, as far as the caller may see that row's fields."""
    guard = entity.guard
    if guard is None or not guard.fields:
        return expression
    return f"(SELECT {expression} FROM (SELECT {_guarded(guard, ROW, params)}) {ROW})"


def _guarded(guard: Guard, alias: str, params: Params) -> str:
    """The columns of the row `alias` of the table, those that are not shown in each row as far as they are in this."""
    columns = []
    for name, declared in guard.entity.stored.items():
        column, shown_when = f"{alias}.{quoted(name)}", guard.fields.get(name)
        if shown_when is not None:
            clear = condition(guard.raw, shown_when.clear, params, alias)
            masked = condition(guard.raw, shown_when.masked, params, alias)
            part = _masked(column) if maskable(declared) else "NULL"
            column = f"CASE WHEN {clear} THEN {column} WHEN {masked} THEN {part} END"
        columns.append(f"{column} AS {quoted(name)}")
    return ", ".join(columns)


def _masked(text: str) -> str:
    """A text's last quarter, of at most four characters."""
    return f"'***' || right({text}, least(4, length({text}) / 4))"


def document(entity: ObjectType, *, logged: bool = False) -> str:
    """The row as JSON text, its keys in declared order; as the log has it, only what the table has columns for."""

    def made() -> str:
        fields = entity.stored if logged else entity.columns
        columns = ", ".join(f"{shown(declared, ROW)} AS {quoted(name)}" for name, declared in fields.items())
        return f"(SELECT row_to_json(d.*) FROM (SELECT {columns}) d)::text"

    return entity.once("logged document" if logged else "document", made)


def _named(entity: ObjectType) -> Sequence[str]:
    """The fields of the row as they are shown, under their names."""
    return entity.once(
        "named", lambda: [f"{shown(declared, ROW)} AS {quoted(name)}" for name, declared in entity.columns.items()]
    )


def logged_row(schema: AppSchema, entity: ObjectType) -> str:
    """The row `ROW` that the log's JSON object `LOGGED` was made of: a FROM item.

    It fails for a record that was logged when its fields were declared otherwise.
    """
    columns = [(literal(name), declared.type) for name, declared in entity.stored.items()]
    forms = [(name, type.read_back(f"({today(entity, LOGGED)} ->> {name})")) for name, type in columns]
    pairs = ", ".join(f"{name} : {form}" for name, form in forms if form is not None)
    logged = today(entity, LOGGED)
    record = f"{logged} || JSON_OBJECT({pairs} RETURNING jsonb)" if pairs else logged
    return f"jsonb_populate_record(NULL::{relation(schema, entity)}, {record}) {ROW}"


def today(entity: ObjectType, record: str) -> str:
    """A record of the log with its fields under the names they have today, if the declaration says the former ones.

    `entity` is the whole of it, with no field left out that somebody may not see.
    """
    former = [(field.renamed_from, field.name) for field in entity.stored.values() if field.renamed_from is not None]
    if not former:
        return record
    names = ", ".join(f"({literal(before)}, {literal(now)})" for before, now in former)
    return (
        "(SELECT jsonb_object_agg(coalesce(n.today, k.key), k.value) "
        f"FROM jsonb_each({record}) k LEFT JOIN (VALUES {names}) n (former, today) "
        f"ON n.former = k.key AND NOT {record} ? n.today)"
    )


def value(declared: DeclaredField, alias: str) -> str:
    """A field's value in the row `alias`."""
    if declared.computed is not None and not declared.computed.stored:
        return declared.computed.value(alias)
    return f"{alias}.{quoted(declared.name)}"


def shown(declared: DeclaredField, alias: str) -> str:
    """The JSON form of a field's value in the row `alias`."""
    return declared.type.shown(value(declared, alias))


def condition(schema: AppSchema, tested: Condition, params: Params, alias: str = ROW) -> str:
    """A boolean expression over the row `alias`."""
    match tested:
        case Test():
            return _test(schema, tested, params, alias)
        case All(parts):
            return _joined(schema, parts, params, alias, " AND ", "true")
        case AnyOf(parts):
            return _joined(schema, parts, params, alias, " OR ", "false")
        case Not(part):
            return f"NOT ({condition(schema, part, params, alias)})"
        case Untrue(part):
            return f"({condition(schema, part, params, alias)}) IS NOT TRUE"
        case Compared(field, op, other):
            return field.type.compared(value(field, alias), INFIX[op], value(other, alias))
        case Linked():
            return _linked(schema, tested, params, alias)
        case Linking():
            return _linking(schema, tested, params, alias)
        case SharedWith():
            return _shared_with(tested, params, alias)
        case Sought():
            return _sought(tested, params, alias)
        case Near():
            return _near(tested, params, alias)


def _joined(schema: AppSchema, parts: Sequence[Condition], params: Params, alias: str, word: str, empty: str) -> str:
    if not parts:
        return empty
    return "(" + word.join(condition(schema, part, params, alias) for part in parts) + ")"


def _test(schema: AppSchema, test: Test, params: Params, alias: str) -> str:
    column, type = value(test.field, alias), test.field.type
    match test.op:
        case Op.IS_NULL:
            return f"{column} IS {'' if test.value else 'NOT '}NULL"
        case Op.IN:
            return f"{column} = ANY ({params.add(test.value, type.bound_list)})"
        case Op.NOT_IN:
            return f"{column} <> ALL ({params.add(test.value, type.bound_list)})"
        case Op.WITHIN:
            lat, lng, metres = test.value
            return _near(Near(test.field, Metric.METRES, (lat, lng), metres), params, alias)
    return type.compared(column, INFIX[test.op], params.add(test.value, type.bound))


def _linked(schema: AppSchema, tested: Linked, params: Params, alias: str) -> str:
    other = f"{alias}l"
    part = condition(schema, tested.part, params, other)
    there = source(schema, schema.types[tested.entity], params)
    return f"EXISTS (SELECT FROM {there} {other} WHERE {other}.id = {alias}.{quoted(tested.link.name)} AND {part})"


def _linking(schema: AppSchema, tested: Linking, params: Params, alias: str) -> str:
    other = f"{alias}l"
    part = condition(schema, tested.part, params, other)
    if tested.unknown:
        part = f"({part}) IS NOT FALSE"
    there = source(schema, schema.types[tested.entity], params)
    return f"EXISTS (SELECT FROM {there} {other} WHERE {tied(tested.link, alias, other, tested.forward)} AND {part})"


def tied(link: DeclaredField, alias: str, other: str, forward: bool) -> str:
    """That the row `other` is one of those a link field ties to the row `alias`: one of the other row's own fields.

    With `forward` it is a field of the row `alias` that leads to several.
    """
    if not isinstance(link.computed, Links):
        return f"{other}.{quoted(link.name)} = {alias}.id"
    here, there = ("source_id", "target_id") if forward else ("target_id", "source_id")
    ids = f"SELECT {other}x.{there} FROM {link.computed.table} {other}x WHERE {other}x.{here} = {alias}.id"
    return f"{other}.id IN ({ids})"


def _shared_with(tested: SharedWith, params: Params, alias: str) -> str:
    tenant, user = params.add(tested.tenant_id, "uuid"), params.add(tested.user, "uuid")
    place = f"s.app_id = {params.add(tested.app_id, 'text')} AND s.entity = {params.add(tested.entity, 'text')}"
    return (
        f"EXISTS (SELECT FROM stoa.record_shares s WHERE s.tenant_id = {tenant} AND {place} "
        f"AND s.record_id = {alias}.id::text AND s.record_created_at = {alias}.created_at "
        f"AND s.level = ANY ({params.add(list(tested.levels), 'text[]')}) "
        f"AND (s.recipient_type = 'user' AND s.recipient_id = {user}::text OR s.recipient_type = 'role' "
        f"AND s.recipient_id IN (SELECT stoa.held_roles({tenant}, {user}))))"
    )


def _sought(tested: Sought, params: Params, alias: str) -> str:
    search, of = tested.entity.search, _columns(alias)
    assert search is not None
    words = f"({searching.words(search, of)})"
    met = f"{words} @@ {searching.meant(search, params.add(tested.text, 'text'))}"
    if not tested.alike:
        return met
    letters = f"({searching.letters(search, of)})"
    alike = [f"{letters} %>> stoa.letters({params.add(word, 'text')})" for word in tested.alike]
    if tested.exact is not None:
        alike.append(f"{words} @@ {searching.meant(search, params.add(tested.exact, 'text'))}")
    return f"({met} OR ({' AND '.join(alike)}))"


def _relevance(tested: Sought, params: Params, alias: str) -> str:
    """How well a row meets a search: 1 or more where it has the words, less where it has words like them."""
    search, of = tested.entity.search, _columns(alias)
    assert search is not None
    words = f"({searching.words(search, of)})"
    meant = searching.meant(search, params.add(tested.text, "text"))
    rank = f"1 + ts_rank({words}, {meant}, 1)::double precision"
    if not tested.alike:
        return f"({rank})"
    letters = f"({searching.letters(search, of)})"
    alike = [f"strict_word_similarity(stoa.letters({params.add(word, 'text')}), {letters})" for word in tested.alike]
    similar = f"({' + '.join(alike)})::double precision / {len(alike)}"
    return f"CASE WHEN {words} @@ {meant} THEN {rank} ELSE {similar} END"


def _columns(alias: str) -> searching.Of:
    return lambda field: f"{alias}.{quoted(field.name)}"


DISTANCES = {Metric.COSINE: "<=>", Metric.EUCLIDEAN: "<->", Metric.INNER_PRODUCT: "<#>"}


def _near(tested: Near, params: Params, alias: str) -> str:
    if tested.within is None:
        return f"{value(tested.field, alias)} IS NOT NULL"
    return f"{_distance(tested, params, alias)} <= {params.add(tested.within, 'double precision')}"


def _distance(tested: Near, params: Params, alias: str) -> str:
    """How far a row's value is from another; null where that is no number, like the angle of a vector of zeros."""
    own = value(tested.field, alias)
    if tested.metric is Metric.METRES:
        lat, lng = (params.add(degrees, "double precision") for degrees in tested.to)
        return f"geo_distance({own}, {lat}, {lng})"
    distance = f"({own} {DISTANCES[tested.metric]} {params.add(tested.to, tested.field.type.bound)})"
    for word in ("NaN", "Infinity", "-Infinity"):
        distance = f"nullif({distance}, '{word}')"
    return distance


def sort_value(by: Key, params: Params, alias: str) -> str:
    """What a row is sorted by."""
    match by:
        case Sought():
            return _relevance(by, params, alias)
        case Near():
            return _distance(by, params, alias)
    return ranked(by, value(by, alias))


def sort_type(by: Key) -> FieldType:
    """The type of what rows are sorted by."""
    if isinstance(by, Sought | Near):
        return NumberType()
    return by.type if options(by) is None else IntegerType()


def ranked(field: DeclaredField, sql: str) -> str:
    """What a field's value is ordered by: the values of an enum stand in the order they are declared in."""
    listed = options(field)
    return sql if listed is None else f"array_position({listed}, {sql})"


def options(field: DeclaredField) -> str | None:
    """The values of an enum in their order, as an SQL array; None for any other field."""
    if field.options is None or not isinstance(field.type, EnumType):
        return None
    return f"ARRAY[{', '.join(literal(option) for option in field.options)}]::text[]"


def order_by(order: Sequence[Order], params: Params) -> str:
    """The ORDER BY list."""
    return ", ".join(f"{sort_value(o.by, params, ROW)} {'DESC' if o.descending else 'ASC'}" for o in order)


def sort_key(order: Sequence[Order], params: Params) -> str:
    """A row's place in an order, as the JSON array of its keys' texts: every value has one, and null is null."""
    return f"to_json(ARRAY[{', '.join(f'({sort_value(o.by, params, ROW)})::text' for o in order)}])::text"


def after_key(order: Sequence[Order], key: Sequence[str | None], params: Params) -> str:
    """Rows that come after the one with this sort key. The last field of the order is unique and never null.

    Spelled out field by field, since fields may differ in direction and hold null (which sorts as the largest); where
    it can be, with a plain bound on the first one, which an index on it understands.
    """
    first, place = order[0], key[0]
    column, type = sort_value(first.by, params, ROW), sort_type(first.by)
    rest = after_key(order[1:], key[1:], params) if len(order) > 1 else "false"
    if place is None:
        same = f"({column} IS NULL AND {rest})"
        return f"({column} IS NOT NULL OR {same})" if first.descending else same
    bound = f"{params.add(place, 'text')}::{type.column}"
    if first.descending:
        return f"({column} <= {bound} AND ({column} < {bound} OR {rest}))"
    if isinstance(first.by, Sought) or (isinstance(first.by, DeclaredField) and first.by.required):
        return f"({column} >= {bound} AND ({column} > {bound} OR {rest}))"
    return f"({column} > {bound} OR {column} IS NULL OR ({column} = {bound} AND {rest}))"


@dataclass(frozen=True, slots=True)
class Select:
    """A page of one entity's rows. `window_total` counts over the rows before paging; with no row there is no count."""

    schema: AppSchema
    entity: ObjectType
    where: Condition
    order: Sequence[Order]
    limit: int | Later | None
    offset: int | Later = 0
    after: Sequence[str | None] | None = None
    window_total: bool = False
    linked: "Told | None" = None  # SQL of the row's document, where that is more than the row

    def _inner(self, params: Params, columns: Sequence[str]) -> str:
        where = condition(self.schema, self.where, params)
        if self.after is not None:
            where += f" AND {after_key(self.order, self.after, params)}"
        counted = [f"count(*) OVER () AS {COUNTED}"] if self.window_total else []
        # The page is found first and built into JSON after: a row that isn't shown costs no text.
        keys = self.entity.once("keys", lambda: [f"{ROW}.{quoted(name)}" for name in self.entity.stored])
        there = source(self.schema, self.entity, params)
        sql = f"SELECT {', '.join([*keys, *counted])} FROM {there} {ROW} WHERE {where}"
        sql += f" ORDER BY {order_by(self.order, params)}"
        if self.limit is not None:
            sql += f" LIMIT {params.add(self.limit, 'bigint')}"
        if self.offset:
            sql += f" OFFSET {params.add(self.offset, 'bigint')}"
        return f"SELECT {', '.join(columns)} FROM ({sql}) {ROW}"

    def whole(self) -> Statement:
        """One row: `rows`, a JSON array as text; `returned`, their number; and `total` if it was asked for."""
        params = Params()
        if not self.window_total and self.linked is None:  # the cheapest way there is to make a row JSON
            inner = self._inner(params, _named(self.entity))
            return Statement(
                f"SELECT coalesce(json_agg(p.*), '[]')::text AS rows, count(*) AS returned FROM ({inner}) p",
                tuple(params.values),
            )
        counted = [f"{ROW}.{COUNTED} AS total"] if self.window_total else []
        inner = self._inner(params, [self._document(params), *counted])
        total = ", coalesce(max(p.total), 0) AS total" if self.window_total else ""
        sql = f"SELECT '[' || coalesce(string_agg(p.doc, ','), '') || ']' AS rows, count(*) AS returned{total}"
        return Statement(f"{sql} FROM ({inner}) p", tuple(params.values))

    def rowwise(self) -> Statement:
        """A row each: `doc`, and `key`, the JSON array of its sort key."""
        params = Params()
        inner = self._inner(params, [self._document(params), f"{sort_key(self.order, params)} AS key"])
        return Statement(inner, tuple(params.values))

    def _document(self, params: Params) -> str:
        return f"{document(self.entity) if self.linked is None else self.linked(params)} AS doc"


def count(schema: AppSchema, entity: ObjectType, where: Condition) -> Statement:
    """How many rows meet a condition, as `total`."""
    params = Params()
    met_by = condition(schema, where, params)
    sql = f"SELECT count(*) AS total FROM {source(schema, entity, params)} {ROW} WHERE {met_by}"
    return Statement(sql, tuple(params.values))


def ids(schema: AppSchema, entity: ObjectType, where: Condition) -> Statement:
    """The ids of the rows that meet a condition, each as `doc`."""
    params = Params()
    met_by = condition(schema, where, params)
    sql = f"SELECT {ROW}.id::text AS doc FROM {source(schema, entity, params)} {ROW} WHERE {met_by}"
    return Statement(sql, tuple(params.values))


def by_id(schema: AppSchema, entity: ObjectType, id: object) -> Statement:
    """The row with this id, as `doc`."""
    params = Params()
    picked = f"{ROW}.id = {params.add(id, entity.columns['id'].type.column)}"
    sql = f"SELECT {document(entity)} AS doc FROM {source(schema, entity, params)} {ROW} WHERE {picked}"
    return Statement(sql, tuple(params.values))


def look_up(schema: AppSchema, entity: ObjectType) -> LookUp:
    """The row with an id, as its document: see `domain.kernel.unit.LookUp`."""

    def made() -> LookUp:
        params = Params()
        keys = params.add(None, entity.columns["id"].type.bound_list)
        row = f"SELECT {document(entity)} FROM {source(schema, entity, params)} {ROW} WHERE {ROW}.id = k.id"
        sql = f"SELECT ({row}) AS found FROM unnest({keys}) WITH ORDINALITY AS k (id, n) ORDER BY k.n"
        return LookUp.of(sql, params.values[1:])

    return entity.once("look-up", made)


def by_ids(schema: AppSchema, entity: ObjectType, ids: Sequence[object]) -> Statement:
    """The rows with these ids in their order, each as `doc`."""
    params = Params()
    given = f"unnest({params.add(list(ids), entity.columns['id'].type.bound_list)}) WITH ORDINALITY AS v (id, n)"
    sql = (
        f"SELECT {document(entity)} AS doc FROM {given} "
        f"JOIN {source(schema, entity, params)} {ROW} ON {ROW}.id = v.id ORDER BY v.n"
    )
    return Statement(sql, tuple(params.values))


# Writing. The rows come as one JSON parameter, so a statement depends on the columns written and not on the rows.
# Who writes is set in the same statement, for the table's triggers to find.


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, for the audit log."""

    user_id: object = ""
    delegator_id: object = ""
    door: object = ""
    hooks: int = 0  # that led to it


def signing(author: Author, params: Params) -> str:
    """A SELECT that says who writes from now on, until the transaction ends."""
    told: tuple[tuple[str, object], ...] = (
        ("stoa.actor", author.user_id),
        ("stoa.delegator", author.delegator_id),
        ("stoa.door", author.door),
    )
    if author.hooks:
        told = (*told, ("stoa.hooks", str(author.hooks)))
    settings = ", ".join(f"set_config('{name}', {params.add(value, 'text')}, true)" for name, value in told)
    return f"SELECT {settings}"


def _author(author: Author, params: Params) -> str:
    return f"author AS MATERIALIZED ({signing(author, params)})"


def _recordset(schema: AppSchema, fields: Sequence[DeclaredField], rows: object, params: Params) -> str:
    typed = ", ".join(f"{quoted(f.name)} {column_type(schema, f)}" for f in fields)
    names = ", ".join([*(quoted(f.name) for f in fields), NUMBERED])
    return f"ROWS FROM (jsonb_to_recordset({params.add(rows, 'jsonb')}) AS ({typed})) WITH ORDINALITY AS v ({names})"


# SQL of what is told of a written row, over the alias ROW.
Told: TypeAlias = Callable[[Params], str]


def insert(
    schema: AppSchema,
    entity: ObjectType,
    fields: Sequence[DeclaredField],
    rows: object,
    author: Author,
    told: Told | None = None,
    instead: Sequence[DeclaredField] = (),
) -> Statement:
    """Insert the objects in `rows` (a JSON array), the given fields of each. The new rows as `doc`, in order.

    A row that equals one there is in the unique fields `instead` changes that one, if the caller may; else nothing
    becomes of it. The statement says where its rows are, for those who know that there is one. Raises Denied.
    """
    params = Params()
    who = _author(author, params)
    given = _recordset(schema, fields, rows, params)
    names = ", ".join(quoted(f.name) for f in fields)
    values = ", ".join(f"v.{quoted(f.name)}" for f in fields)
    sql = (
        f"WITH {who} INSERT INTO {relation(schema, entity)} AS {ROW} ({names}) "
        f"SELECT {values} FROM author, {given} ORDER BY v.{NUMBERED}{_instead(entity, fields, instead, params)}"
        f" RETURNING {_told(schema, entity, Verb.CREATE, fields, told, params)} AS doc"
    )
    place = None if instead else next(n for n, value in enumerate(params.values) if value is rows)
    return Statement(sql, tuple(params.values), place)


def _instead(
    entity: ObjectType, fields: Sequence[DeclaredField], unique: Sequence[DeclaredField], params: Params
) -> str:
    if not unique:
        return ""
    sets = [f"{quoted(f.name)} = excluded.{quoted(f.name)}" for f in fields if f not in unique]
    key = ", ".join(quoted(f.name) for f in unique)
    allowed = changeable(entity, Verb.UPDATE, fields, params)
    where = f" WHERE {allowed}" if allowed != "true" else ""
    return f" ON CONFLICT ({key}) DO UPDATE SET {', '.join([*sets, 'updated_at = now()'])}{where}"


def _told(
    schema: AppSchema,
    entity: ObjectType,
    verb: Verb,
    fields: Sequence[DeclaredField],
    told: Told | None,
    params: Params,
) -> str:
    """What is told of a row that was written, once it is one that the caller may write so."""
    shown = through(entity, document(entity) if told is None else told(params), params)
    return checked(schema, entity, verb, fields, shown, params)


def checked(
    schema: AppSchema,
    entity: ObjectType,
    verb: Verb,
    fields: Sequence[DeclaredField],
    expression: str,
    params: Params,
) -> str:
    """An expression over a row ROW as it was written, which refuses the statement where the caller may not write it so.

    That is where no policy of theirs allows it, and where it links to a record that is not there for them. Raises
    Denied.
    """
    refused = []
    for written in fields:
        target = schema.types.get(written.link.target) if written.link is not None else None
        if target is not None and target.guard is not None:
            refused.append(_unseen(schema, target, written, params))
    if entity.guard is not None:
        met = condition(entity.guard.raw, entity.guard.check(verb, _names(fields)), params)
        if met != "true":
            refused.append(f"WHEN ({met}) IS NOT TRUE THEN {REFUSED}")
    return f"CASE {' '.join(refused)} ELSE {expression} END" if refused else expression


def _unseen(schema: AppSchema, target: ObjectType, link: DeclaredField, params: Params) -> str:
    column, there = f"{ROW}.{quoted(link.name)}", source(schema, target, params)
    seen = f"EXISTS (SELECT FROM {there} l WHERE l.id = {column})"
    return f"WHEN {column} IS NOT NULL AND NOT {seen} THEN stoa.refused_record({literal(link.name)})"


def changeable(entity: ObjectType, verb: Verb, fields: Sequence[DeclaredField], params: Params) -> str:
    """A boolean expression over a row ROW: the caller may do that to it. Raises Denied."""
    guard = entity.guard
    return "true" if guard is None else condition(guard.raw, guard.changeable(verb, _names(fields)), params)


def _names(fields: Sequence[DeclaredField]) -> list[str]:
    return [declared.name for declared in fields]


def _picked(
    schema: AppSchema,
    entity: ObjectType,
    verb: Verb,
    fields: Sequence[DeclaredField],
    where: Condition,
    most: object,
    params: Params,
) -> str:
    """Which rows to write: of those that may be, the ones that meet a condition, or as many of them as may be."""
    allowed = changeable(entity, verb, fields, params)
    if most is None and (entity.guard is None or not entity.guard.fields):
        return _both(condition(schema, where, params), allowed)
    wanted, there = condition(schema, where, params, "p"), source(schema, entity, params)
    limit = "" if most is None else f" LIMIT {params.add(most, 'bigint')}"
    return _both(f"{ROW}.id IN (SELECT p.id FROM {there} p WHERE {wanted}{limit} FOR UPDATE)", allowed)


def _both(one: str, other: str) -> str:
    return one if other == "true" else f"{one} AND {other}"


def update(
    schema: AppSchema,
    entity: ObjectType,
    fields: Sequence[DeclaredField],
    where: Condition,
    row: object,
    author: Author,
    told: Told | None = None,
    most: object = None,
) -> Statement:
    """Set the given fields of the rows that meet a condition, and their `updated_at`. The new rows as `doc`.

    `row` is a JSON array of one object. Not more than `most` rows are changed. Raises Denied.
    """
    params = Params()
    who = _author(author, params)
    sets = "".join(f"{quoted(f.name)} = v.{quoted(f.name)}, " for f in fields)
    given = f", {_recordset(schema, fields, row, params)}" if fields else ""
    sql = (
        f"WITH {who} UPDATE {relation(schema, entity)} AS {ROW} SET {sets}updated_at = now() "
        f"FROM author{given} WHERE {_picked(schema, entity, Verb.UPDATE, fields, where, most, params)}"
        f" RETURNING {_told(schema, entity, Verb.UPDATE, fields, told, params)} AS doc"
    )
    return Statement(sql, tuple(params.values))


def delete(
    schema: AppSchema,
    entity: ObjectType,
    where: Condition,
    author: Author,
    told: Told | None = None,
    most: object = None,
) -> Statement:
    """Delete the rows that meet a condition, not more than `most`; what they were as `doc`."""
    params = Params()
    who = _author(author, params)
    shown = through(entity, document(entity) if told is None else told(params), params)
    sql = (
        f"WITH {who} DELETE FROM {relation(schema, entity)} AS {ROW} USING author "
        f"WHERE {_picked(schema, entity, Verb.DELETE, (), where, most, params)} RETURNING {shown} AS doc"
    )
    return Statement(sql, tuple(params.values))
