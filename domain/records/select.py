"""From a selection to one SQL statement that builds the JSON: no work per row or field is left for Python.

The page is found first, then its rows become objects: a list of plain rows by `json_agg` over the columns named as in
the answer (the cheapest way PostgreSQL has), single records and what needs more by `JSON_OBJECT`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from domain.records.later import Later
from domain.records.naming import NAME_BYTES_MAX, literal, quoted
from domain.records.query import Condition, Op
from domain.records.selection import (
    After,
    Aggregate,
    Constant,
    Cursor,
    Edges,
    Function,
    GroupField,
    GroupKey,
    Groups,
    GroupSort,
    Having,
    Listing,
    Many,
    Measure,
    Nodes,
    One,
    PageInfo,
    Placing,
    RecordPart,
    Sort,
    Source,
    Total,
    Value,
)
from domain.records.sql import (
    INFIX,
    Params,
    condition,
    options,
    ranked,
    shown,
    sort_type,
    sort_value,
    tied,
    value,
)
from domain.records.sql import source as rows_of
from domain.records.types import FieldType


@dataclass(slots=True)
class Compiler:
    """Compiles one statement. `params` collects its values, and marks for those that come later."""

    params: Params = field(default_factory=Params)
    _numbers: Any = field(default_factory=lambda: count(1))

    def _alias(self) -> str:
        return f"t{next(self._numbers)}"

    # Records.

    def record(self, source: Source, parts: Sequence[RecordPart], where: Callable[[str], str]) -> str:
        """One record as a JSON object, or null: the one that `where`, given the row's alias, picks out."""
        alias = self._alias()
        return f"(SELECT {self.object(source, parts, alias)} FROM {self._from(source, alias)} WHERE {where(alias)})"

    def look_up(self, source: Source, parts: Sequence[RecordPart]) -> str:
        """A look-up of records by id, each as one JSON object: see `domain.kernel.unit.LookUp`.

        To be compiled before anything else, since its keys are the first parameter.
        """
        keys = self.params.add(None, source.entity.columns["id"].type.bound_list)
        record = self.record(source, parts, lambda alias: f"{alias}.id = k.id")
        return f"SELECT {record}::text AS found FROM unnest({keys}) WITH ORDINALITY AS k (id, n) ORDER BY k.n"

    def by_ids(self, source: Source, parts: Sequence[RecordPart], ids: Any) -> str:
        """A statement for the records with these ids, in their order, each a row with its JSON text as `doc`."""
        alias = self._alias()
        type = source.entity.columns["id"].type.column
        given = f"unnest({self.params.add(ids, f'{type}[]')}) WITH ORDINALITY AS i (id, n)"
        made = f"({self.object(source, parts, alias)})::text AS doc"
        return f"SELECT {made} FROM {given} JOIN {self._from(source, alias)} ON {alias}.id = i.id ORDER BY i.n"

    def rows(self, listing: Listing, documents: Mapping[str, Sequence[RecordPart]]) -> str:
        """A statement for the page of a list, a row for each record with its `id` and JSON texts by name."""
        alias = self._alias()
        columns = [f"{alias}.id::text AS id"]
        for name, parts in documents.items():
            columns.append(f"({self.object(listing.source, parts, alias)})::text AS {quoted(name)}")
        return self._page(listing, None, alias, ", ".join(columns), more=0)

    def object(self, source: Source, parts: Sequence[RecordPart], alias: str) -> str:
        """The JSON object of the row `alias`."""
        return _object(f"{literal(part.key)} : {self._part(source, part, alias)}" for part in parts)

    def _part(self, source: Source, part: RecordPart, alias: str) -> str:
        match part:
            case Value():
                return shown(part.field, alias)
            case Constant():
                return literal(part.text)
            case One():
                link = f"{alias}.{quoted(part.link.name)}"
                return self.record(part.source, part.parts, lambda other: f"{other}.id = {link}")
            case Many():
                return self.listing(part.listing, lambda other: tied(part.link, alias, other, part.forward))
        raise AssertionError(part)

    # Lists.

    def listing(self, listing: Listing, joined: Callable[[str], str] | None = None) -> str:
        """A list as a JSON object with the parts that are wanted of it. `joined` ties it to an outer row."""
        rows = [part for part in listing.parts if isinstance(part, Nodes | Edges | PageInfo)]
        if len(rows) == 1 and isinstance(rows[0], Nodes):
            made = {rows[0].key: self._plain_rows(listing, rows[0], joined)}
            return self._listed(listing, joined, made)
        if rows:
            return self._numbered_rows(listing, rows, joined)
        return self._listed(listing, joined, {})

    def _listed(self, listing: Listing, joined: Callable[[str], str] | None, made: dict[str, str]) -> str:
        """The list's object: what was made already, and the parts that need no rows."""
        pairs = []
        for part in listing.parts:
            if isinstance(part, Total):
                made[part.key] = self._total(listing, joined)
            elif isinstance(part, Constant):
                made[part.key] = literal(part.text)
            elif isinstance(part, Aggregate):
                made[part.key] = self._aggregate(listing, part, joined)
            elif isinstance(part, Groups):
                made[part.key] = self._groups(listing, part, joined)
            pairs.append(f"{literal(part.key)} : {made[part.key]}")
        return _object(pairs)

    def _plain_rows(self, listing: Listing, nodes: Nodes, joined: Callable[[str], str] | None) -> str:
        """Only the records themselves: the columns of the page are named as in the answer."""
        alias = self._alias()
        columns = [(part.key, self._part(listing.source, part, alias)) for part in nodes.parts]
        if any(len(key.encode()) > NAME_BYTES_MAX for key, _ in columns):
            row = self.object(listing.source, nodes.parts, alias)
            page = self._page(listing, joined, alias, f"{row} AS o", more=0)
            return f"(SELECT coalesce(json_agg(r.o), '[]') FROM ({page}) r)"
        named = ", ".join(f"{sql} AS {quoted(key)}" for key, sql in columns)
        page = self._page(listing, joined, alias, named, more=0)
        return f"(SELECT coalesce(json_agg(r.*), '[]') FROM ({page}) r)"

    def _numbered_rows(
        self, listing: Listing, rows: Sequence[Nodes | Edges | PageInfo], joined: Callable[[str], str] | None
    ) -> str:
        """Records with their places: one more than the page is read, to know whether there is more."""
        alias = self._alias()
        columns = []
        for number, part in enumerate(rows):
            if not isinstance(part, PageInfo):
                columns.append(f"{self._row(listing, part, alias)} AS o{number}")
        columns.append(f"{self._cursor(listing, alias)} AS c")
        page = self._page(listing, joined, alias, ", ".join(columns), more=1)
        limit = self._number(listing.limit)
        shown = f"FILTER (WHERE r.n <= {limit})"
        made = {}
        for number, part in enumerate(rows):
            if isinstance(part, PageInfo):
                made[part.key] = self._page_info(listing, part, shown, limit)
            else:
                made[part.key] = f"coalesce(json_agg(r.o{number}) {shown}, '[]')"
        whole = self._listed(listing, joined, made)
        return f"(SELECT {whole} FROM (SELECT p.*, row_number() OVER () AS n FROM ({page}) p) r)"

    def _row(self, listing: Listing, part: Nodes | Edges, alias: str) -> str:
        if isinstance(part, Nodes):
            return self.object(listing.source, part.parts, alias)
        pairs = []
        for inner in part.parts:
            match inner:
                case Cursor():
                    pairs.append(f"{literal(inner.key)} : {self._cursor(listing, alias)}")
                case Constant():
                    pairs.append(f"{literal(inner.key)} : {literal(inner.text)}")
                case Placing():
                    placed = "NULL" if inner.by is None else sort_value(inner.by, self.params, alias)
                    pairs.append(f"{literal(inner.key)} : {placed}")
                case Nodes():
                    pairs.append(f"{literal(inner.key)} : {self.object(listing.source, inner.parts, alias)}")
        return _object(pairs)

    def _page_info(self, listing: Listing, part: PageInfo, shown: str, limit: str) -> str:
        cursors = f"(array_agg(r.c) {shown})"
        told = {
            "hasNextPage": f"count(*) > {limit}",
            "hasPreviousPage": "true" if listing.after is not None else "false",
            "startCursor": f"{cursors}[1]",
            "endCursor": f"{cursors}[least(count(*), {limit})]",
        }
        return _object(
            f"{literal(key)} : {told.get(what) or literal(what.removeprefix('='))}" for key, what in part.parts
        )

    def _page(
        self, listing: Listing, joined: Callable[[str], str] | None, alias: str, columns: str, *, more: int
    ) -> str:
        """The rows of the page in order, `more` beyond its end."""
        where = [self._which(listing, joined, alias)]
        if listing.after is not None:
            where.append(self._behind(listing, listing.after, alias))
        limit = self._number(listing.limit)
        sql = f"SELECT {columns} FROM {self._from(listing.source, alias)} WHERE {self._all(*where)}"
        sql += f" ORDER BY {', '.join(self._sorted(sort, alias) for sort in listing.order)}"
        sql += f" LIMIT {limit}" + (f" + {more}" if more else "")
        return sql + (f" OFFSET {self._number(listing.offset)}" if listing.offset != 0 else "")

    def _total(self, listing: Listing, joined: Callable[[str], str] | None) -> str:
        return f"(SELECT count(*) {self._all_of(listing, joined, self._alias())})"

    # Records together.

    def _all_of(self, listing: Listing, joined: Callable[[str], str] | None, alias: str) -> str:
        """FROM and WHERE for all records of a list, whatever page is shown."""
        return f"FROM {self._from(listing.source, alias)} WHERE {self._which(listing, joined, alias)}"

    def _which(self, listing: Listing, joined: Callable[[str], str] | None, alias: str) -> str:
        """Which records the list has, whatever page of it is shown."""
        if not listing.distinct:
            tie = [joined(alias)] if joined is not None else []
            return self._all(*tie, self._where(listing.source, listing.where, alias))
        first = self._alias()
        alike = [value(field, first) for field in listing.distinct]
        order = [*alike, *(self._sorted(sort, first) for sort in listing.order)]
        firsts = f"SELECT DISTINCT ON ({', '.join(alike)}) {first}.id FROM {self._from(listing.source, first)}"
        met = self._which(replace(listing, distinct=()), joined, first)
        return f"{alias}.id IN ({firsts} WHERE {met} ORDER BY {', '.join(order)})"

    def _aggregate(self, listing: Listing, part: Aggregate, joined: Callable[[str], str] | None) -> str:
        alias = self._alias()
        return f"(SELECT {self._measures(part, alias)} {self._all_of(listing, joined, alias)})"

    def _measures(self, aggregate: Aggregate, alias: str) -> str:
        pairs = []
        for part in aggregate.parts:
            match part:
                case Measure():
                    pairs.append(f"{literal(part.key)} : {_shown_measure(part, alias)}")
                case Constant():
                    pairs.append(f"{literal(part.key)} : {literal(part.text)}")
                case Aggregate():
                    pairs.append(f"{literal(part.key)} : {self._measures(part, alias)}")
        return _object(pairs)

    def _groups(self, listing: Listing, groups: Groups, joined: Callable[[str], str] | None) -> str:
        alias = self._alias()
        keys = [_bucket(by, alias) for by in groups.by]
        pairs = []
        for part in groups.parts:
            match part:
                case GroupKey():
                    pairs.append(f"{literal(part.key)} : {self._group_key(part, alias)}")
                case Aggregate():
                    pairs.append(f"{literal(part.key)} : {self._measures(part, alias)}")
                case Constant():
                    pairs.append(f"{literal(part.key)} : {literal(part.text)}")
        order = [self._group_sorted(sort, alias) for sort in groups.order]
        order += [
            key
            for key in map(ranked, (by.field for by in groups.by), keys)
            if not any(made.startswith(f"{key} ") for made in order)
        ]
        having = " AND ".join(self._having(test, alias) for test in groups.having)
        sql = f"SELECT {_object(pairs)} AS o, row_number() OVER (ORDER BY {', '.join(order)}) AS n"
        sql += f" {self._all_of(listing, joined, alias)} GROUP BY {', '.join(keys)}"
        sql += f" HAVING {having}" if having else ""
        sql += f" ORDER BY n LIMIT {self._number(groups.limit)}"
        return f"(SELECT coalesce(json_agg(g.o ORDER BY g.n), '[]') FROM ({sql}) g)"

    @staticmethod
    def _group_key(part: GroupKey, alias: str) -> str:
        pairs = []
        for inner in part.parts:
            if isinstance(inner, Constant):
                pairs.append(f"{literal(inner.key)} : {literal(inner.text)}")
            else:
                key, by = inner
                pairs.append(f"{literal(key)} : {'NULL' if by is None else by.field.type.shown(_bucket(by, alias))}")
        return _object(pairs)

    def _group_sorted(self, sort: GroupSort, alias: str) -> str:
        if isinstance(sort.by, Measure):
            by = _measured(sort.by, alias)
            if sort.by.own is not None and sort.by.field is not None:
                by = ranked(sort.by.field, by)
        else:
            by = ranked(sort.by.field, _bucket(sort.by, alias))
        return f"{by} {_direction(sort.descending, sort.nulls_first)}"

    def _having(self, test: Having, alias: str) -> str:
        measured = _measured(test.measure, alias)
        if test.op is Op.IS_NULL:
            return f"{measured} IS {'' if test.value else 'NOT '}NULL"
        bound = "double precision" if test.measure.own is None else test.measure.own.bound
        if test.op in (Op.IN, Op.NOT_IN):
            listed = self.params.add(test.value, f"{bound}[]")
            return f"{measured} = ANY ({listed})" if test.op is Op.IN else f"{measured} <> ALL ({listed})"
        return f"{measured} {INFIX[test.op]} {self.params.add(test.value, bound)}"

    def _number(self, value: int | Later) -> str:
        return self.params.add(value, "bigint")

    # Rows, conditions and order.

    def _from(self, source: Source, alias: str) -> str:
        return f"{rows_of(source.schema, source.entity, self.params)} {alias}"

    def _where(self, source: Source, where: Condition, alias: str) -> str:
        return condition(source.schema, where, self.params, alias)

    @staticmethod
    def _all(*conditions: str) -> str:
        return " AND ".join(part for part in conditions if part != "true") or "true"

    def _key(self, sort: Sort, alias: str) -> str:
        """What is sorted by: the row's own field, or the field of a record some links away."""
        sql = alias
        hops = []
        for link, source in sort.through:
            other = self._alias()
            hops.append((other, f"{other}.id = {sql}.{quoted(link.name)}", source))
            sql = other
        key = sort_value(sort.by, self.params, sql)
        for other, where, source in reversed(hops):
            key = f"(SELECT {key} FROM {self._from(source, other)} WHERE {where})"
        return key

    def _sorted(self, sort: Sort, alias: str) -> str:
        return f"{self._key(sort, alias)} {_direction(sort.descending, sort.nulls_first)}"

    def _behind(self, listing: Listing, after: After, alias: str) -> str:
        """Rows whose sort key comes after the cursor's, spelled out field by field: they may differ in direction."""
        return self._behind_from(listing, after, alias, 0)

    def _behind_from(self, listing: Listing, after: After, alias: str, position: int) -> str:
        sort = listing.order[position]
        key = self._key(sort, alias)
        if after.nulls[position]:
            beyond = f"{key} IS NOT NULL" if sort.nulls_come_first else "false"
            same = f"{key} IS NULL"
        else:
            bound = self.params.add(_element(after.key, position, sort_type(sort.by)), sort_type(sort.by).bound)
            beyond = f"{key} {'<' if sort.descending else '>'} {bound}"
            if not sort.nulls_come_first:
                beyond = f"({beyond} OR {key} IS NULL)"
            same = f"{key} = {bound}"
        if position == len(listing.order) - 1:
            return beyond
        return f"({beyond} OR ({same} AND {self._behind_from(listing, after, alias, position + 1)}))"

    def _cursor(self, listing: Listing, alias: str) -> str:
        """The signed text of a row's sort key, as `domain.kernel.seal` makes it: HMAC-SHA256 by its definition."""
        assert listing.cursor_pads is not None
        inner, outer = (self.params.add(pad, "bytea") for pad in listing.cursor_pads)
        keys = ", ".join(sort_type(sort.by).shown(self._key(sort, alias)) for sort in listing.order)
        payload = f"convert_to(json_build_array({keys})::text, 'UTF8')"
        mac = f"substr(sha256({outer} || sha256({inner} || {payload})), 1, 16)"
        return f"translate(encode({mac} || {payload}, 'base64'), E'+/=\\n', '-_')"


def _object(pairs: Iterable[str]) -> str:
    """A JSON object with its keys in this order, which they would lose where a value is `jsonb`."""
    return f"JSON_OBJECT({', '.join(pairs)} RETURNING json)"


def _direction(descending: bool, nulls_first: bool | None) -> str:
    nulls = ""
    if nulls_first is not None and nulls_first != descending:
        nulls = " NULLS FIRST" if nulls_first else " NULLS LAST"
    return f"{'DESC' if descending else 'ASC'}{nulls}"


def _measured(measure: Measure, alias: str) -> str:
    """A measure's value, as it compares."""
    if measure.field is None:
        return "count(*)"
    of = value(measure.field, alias)
    match measure.function:
        case Function.COUNT_DISTINCT:
            return f"count(DISTINCT {of})"
        case Function.AVG:
            return f"avg({of})::double precision"
    listed = options(measure.field)
    if listed is not None:
        return f"({listed})[{measure.function}({ranked(measure.field, of)})]"
    return f"{measure.function}({of})"


def _shown_measure(measure: Measure, alias: str) -> str:
    """The JSON form of a measure."""
    measured = _measured(measure, alias)
    return measured if measure.own is None else measure.own.shown(measured)


def _bucket(by: GroupField, alias: str) -> str:
    of = value(by.field, alias)
    if by.bucket is None:
        return of
    if by.field.type.column == "date":
        return f"date_trunc('{by.bucket}', {of}::timestamp)::date"
    return f"date_trunc('{by.bucket}', {of}, 'UTC')"


def _element(key: Any, position: int, type: FieldType) -> Any:
    if isinstance(key, Later):
        return Later(key.variable, (*key.steps, position), key.path, type.operand)
    return type.operand(key[position])
