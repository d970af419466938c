"""Mutations over the typed schema: each root field a statement that writes and says what it wrote.

Where what is asked back lies beyond the written rows themselves, a second statement reads it: a statement does not
see what it changes. All of an operation's fields are one transaction.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import FieldNode, OperationDefinitionNode, ValueNode

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, DomainError, Invalid, Missing, TooComplex
from domain.kernel.rawjson import json_of
from domain.kernel.unit import Statement
from domain.records import nested, service, sql
from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.later import Later, Read, filled
from domain.records.linking import linked_fields, write_links
from domain.records.nested import Tree
from domain.records.opening import Opened
from domain.records.policies import of_any_row
from domain.records.query import All, Condition, Op, Test
from domain.records.refusals import refused_as_declared
from domain.records.sealing import sealed_row
from domain.records.select import Compiler
from domain.records.selection import Constant, One, RecordPart, Source, Value
from domain.records.service import AUTHOR, author_values
from domain.records.sql import ROW, Params, Told
from domain.records.types import MASK, NotOfType, SecretType
from graph.typed.compile import TYPENAME, QueryCompiler, given_value
from graph.typed.meaning import Writes
from graph.typed.names import EntityNames
from graph.typed.schema import TypedSchema, unique_keys
from graph.typed.where import TypedReader, listed

SEALED = "sealed row"  # the name under which a run has what no variable brings

Variables: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A statement whose values come with each run."""

    sql: str
    values: tuple[Any, ...]
    adds: int | None = None  # see `Statement`

    def filled(self, variables: Variables) -> Statement:
        """The statement of this run. Raises Invalid."""
        return Statement(self.sql, filled(self.values, variables), self.adds)


@dataclass(frozen=True, slots=True)
class Step:
    """One root field of a mutation.

    `write` returns a row for each record as `doc`: what is asked back, or the id that `read` then finds it by.
    Without it, `trees` makes what is to be stored.
    """

    key: str
    about: Opened
    many: bool
    write: Template | None = None
    trees: Callable[[Variables], Sequence[Tree]] | None = None
    read: Template | None = None
    found_by: "str | Template | None" = (
        None  # the variable that has the id of the one record there must be, or finds it
    )
    apart: Callable[[Variables], dict[str, Any]] | None = None  # of that record, what is new, where more is to be done
    unchanged_since: Template | None = None  # counts it as `total` if it is as old as the caller thinks
    most: Later | int | None = None  # how many it may come to
    text: str = ""  # of a field that never changes

    @property
    def single(self) -> bool:
        """Whether one statement is all of it."""
        return self.write is not None and self.read is None and self.most is None

    async def run(self, ctx: Ctx, variables: Variables) -> str:
        """Do it; the field's JSON. Raises DomainError."""
        if self.trees is not None:
            docs = await nested.store(ctx, self.trees(variables))
        elif self.write is not None and self.apart is not None:
            docs = await self._with_apart(ctx, self.write, self.apart(variables), variables)
        elif self.write is not None:
            docs = await self._written(ctx, self.write.filled(variables), variables)
        else:
            return self.text
        if self.read is not None:
            docs = await self._told_by(ctx.fetch(self.read.filled({**variables, "ids": docs})))
        return f"[{','.join(docs)}]" if self.many else docs[0]

    async def _written(self, ctx: Ctx, statement: Statement, variables: Variables) -> list[str]:
        docs = await self._told_by(ctx.conclude(statement) if self.single else ctx.fetch(statement))
        if self.found_by is not None and not docs:
            await self._refuse(ctx, variables)
        if not docs and not self.many:  # of an upsert: the one that is there is not for this caller
            raise Conflict("a record with this key exists already", field="by")
        most = self.most.value(variables) if isinstance(self.most, Later) else self.most
        if most is not None and len(docs) >= most:
            raise TooComplex(f"more than {most - 1} records match: nothing was changed", field="limit")
        return docs

    async def _with_apart(self, ctx: Ctx, write: Template, row: dict[str, Any], variables: Variables) -> list[str]:
        """Write the one record: its secrets are sealed before, its links are written after."""
        links = linked_fields(self.about, [row])
        own = {name: value for name, value in row.items() if name not in {link.name for link in links}}
        id = await self._id(ctx, variables)
        sealed = await sealed_row(ctx, self.about, str(id), own)
        docs = await self._written(ctx, write.filled({**variables, SEALED: sealed}), variables)
        await write_links(ctx, self.about, links, id, row)
        return docs

    async def _id(self, ctx: Ctx, variables: Variables) -> Any:
        """The id of the one record. Raises Missing where no record has its key."""
        if isinstance(self.found_by, Template):
            ids = await self._told_by(ctx.fetch(self.found_by.filled(variables)))
            if not ids:
                raise Missing("no record has this key")
            id: Any = ids[0]
        else:
            id = variables[self.found_by or ""]
        return self.about.entity.columns["id"].type.operand(id)

    async def _refuse(self, ctx: Ctx, variables: Variables) -> None:
        """Say why the one record was not written."""
        id = await self._id(ctx, variables)
        if self.unchanged_since is not None:
            there = await ctx.fetch(sql.by_id(self.about.schema, self.about.entity, id))
            if there and not (await ctx.fetch(self.unchanged_since.filled(variables)))[0]["total"]:
                raise Conflict("the record has been changed since then", field="ifUpdatedAt")
        await service.refuse_unchanged(ctx, self.about, str(id))

    async def _told_by(self, rows: Awaitable[Sequence[Mapping[str, Any]]]) -> list[str]:
        return [row["doc"] for row in await refused_as_declared(self.about.schema, self.about.entity, rows)]


@dataclass(slots=True)
class MutationCompiler(QueryCompiler):
    """Compiles the root fields of a mutation for the structure its variables have now."""

    given: dict[str, ValueNode] = field(default_factory=dict)  # arguments that are read anew with each run, by name

    def steps(self, operation: OperationDefinitionNode) -> tuple[Step, ...]:
        """What the mutation does, in order. Raises Invalid."""
        made: list[Step] = []
        for number, (key, nodes) in enumerate(self._merged([operation.selection_set]).items()):
            if nodes[0].name.value == TYPENAME:
                made.append(Step(key, made[0].about if made else _nothing(self.schema), False, text='"Mutation"'))
                continue
            assert self.schema.mutation_type is not None
            definition = self.schema.mutation_type.fields[nodes[0].name.value]
            made.append(_Root(self, number, key, nodes, definition.extensions["writes"]).step())
        return tuple(made)


def _nothing(schema: TypedSchema) -> Opened:
    return Opened(schema.app, next(iter(schema.app.types.values())))


@dataclass
class _Root:
    """One root field, being compiled."""

    compiler: MutationCompiler
    number: int
    key: str
    nodes: Sequence[FieldNode]
    writes: Writes

    def __post_init__(self) -> None:
        self.schema = self.compiler.schema
        self.app: AppSchema = self.schema.app
        self.entity: ObjectType = self.app.types[self.writes.entity]
        self.names: EntityNames = self.schema.names.of(self.writes.entity)
        self.at = Opened(self.app, self.entity)
        self.source = Source(self.app, self.entity)
        self.parts = self.compiler._record_parts(self.nodes, self.entity)

    def step(self) -> Step:
        match self.writes.verb:
            case Verb.CREATE:
                return self._upsert() if self.writes.upsert else self._create()
            case Verb.UPDATE:
                return self._change(self._update)
            case _:
                return self._change(self._delete)

    # Creating.

    def _create(self) -> Step:
        rows = listed(self._argument_now("values"))
        more = any(self._relations_in(row) or self._apart_in(row) for row in rows)
        if more or len({frozenset(row) for row in rows}) != 1:
            values_of = self._whole("values")

            def trees(variables: Variables) -> list[Tree]:
                given = self._rows(variables[values_of])
                return [_tree(self.schema, self.writes.entity, row, path, 1) for path, row in given]

            return Step(self.key, self.at, self.writes.many, trees=trees, read=self._reading())
        return self._inserting(rows[0], ())

    def _upsert(self) -> Step:
        values = self._argument_now("values")
        if self._relations_in(values):
            raise Invalid("values", "records around this one cannot be written along with an upsert")
        self._refuse_apart(values, "with an upsert")
        by = tuple(self._field(name) for name in listed(self._argument_now("by")))
        keys = unique_keys(self.entity)
        if sorted(field.name for field in by) not in map(sorted, keys):
            known = " or ".join(f"[{', '.join(shown_name(self.names, raw) for raw in key)}]" for key in keys)
            raise Invalid("by", f"by must be the fields of a unique key: {known}")
        for field_ in by:
            if values.get(self._shown(field_)) is None:
                raise Invalid("values", f"values must have '{self._shown(field_)}', which it is found by")
        return self._inserting(values, by)

    def _inserting(self, first: Mapping[str, Any], instead: Sequence[Field]) -> Step:
        fields = self._fields(first)
        if not fields:
            raise Invalid("values", "the record must have at least one field")

        def read(values: Any) -> str:
            return str(json_of([_row(self.at, self.names, row, path) for path, row in self._rows(values)]))

        rows = Later(self._whole("values"), (), "values", read)
        write, reading = self._told(lambda told: sql.insert(self.app, self.entity, fields, rows, AUTHOR, told, instead))
        return Step(self.key, self.at, self.writes.many, write=write, read=reading)

    def _rows(self, values: Any) -> list[tuple[str, Any]]:
        """The records given, each with its path."""
        if not self.writes.many:
            return [("values", values)]
        return [(f"values.{index}", row) for index, row in enumerate(listed(values))]

    # Changing.

    def _change(self, build: Callable[[Condition, Any], Callable[[Told], Statement]]) -> Step:
        if self.writes.many:
            limit = self._later("limit", lambda value: _most(value) + 1)
            where = TypedReader(self.schema, self.entity).read(self._traced("where"))
            self._refuse_apart(self._argument_now("values") or {}, "to several records at once")
            write, reading = self._told(build(where, limit))
            return Step(self.key, self.at, True, write=write, read=reading, most=limit)
        where, found_by = self._one()
        since = None
        if self._argument_now("ifUpdatedAt") is not None:
            updated_at = self.entity.columns["updated_at"]
            at = Later(self._whole("ifUpdatedAt"), (), "ifUpdatedAt", updated_at.type.operand)
            where = All([where, Test(updated_at, Op.EQ, at)])
            counted = sql.count(self.app, self.entity, where)
            since = Template(counted.sql, counted.args)
        apart = self.writes.verb is Verb.UPDATE and self._apart_in(self._argument_now("values"))
        write, reading = self._told(build(where, None), alone=not apart)
        values_of = self._whole("values")
        return Step(
            self.key,
            self.at,
            False,
            write=write,
            read=reading,
            found_by=found_by,
            apart=(lambda variables: self._changed_row(variables[values_of])) if apart else None,
            unchanged_since=since,
        )

    def _one(self) -> tuple[Condition, str | Template]:
        """Which record is meant, and where its id is, or what finds it."""
        if self.writes.key:
            where = self.compiler._equal(self.nodes[0], self.writes)
            finding = sql.ids(self.app, self.entity, where)
            return where, Template(finding.sql, finding.args)
        id, field_ = self._whole("id"), self.entity.columns["id"]
        return Test(field_, Op.EQ, Later(id, (), "id", field_.type.operand)), id

    def _update(self, where: Condition, most: Any) -> Callable[[Told], Statement]:
        values = self._argument_now("values")
        fields = [field for field in self._fields(values) if field.stored]
        if not values:
            raise Invalid("values", "there must be something to change")
        if self._apart_in(values):
            row = Later(SEALED, (), "values", lambda sealed: str(json_of([sealed])))
        else:
            row = Later(self._whole("values"), (), "values", lambda values: str(json_of([self._changed_row(values)])))
        return lambda told: sql.update(self.app, self.entity, fields, where, row, AUTHOR, told, most)

    def _changed_row(self, values: Any) -> dict[str, Any]:
        """What is to change of a record, in stored form. Raises Invalid."""
        return _row(self.at, self.names, values, "values", whole=False)

    def _delete(self, where: Condition, most: Any) -> Callable[[Told], Statement]:
        return lambda told: sql.delete(self.app, self.entity, where, AUTHOR, told, most)

    # What is asked back.

    def _told(self, build: Callable[[Told], Statement], *, alone: bool = True) -> tuple[Template, Template | None]:
        """The statement that writes, and the one that reads what it could not tell, or may not `alone`."""
        alone = self.writes.verb is Verb.DELETE or (alone and _alone(self.parts, self.entity))

        def told(params: Params) -> str:
            if not alone:
                return f"{ROW}.id::text"
            return f"({Compiler(params).object(self.source, self.parts, ROW)})::text"

        statement = build(told)
        adds = None if self.writes.many else statement.adds
        return Template(statement.sql, statement.args, adds), None if alone else self._reading()

    def _reading(self) -> Template:
        compiler, written = Compiler(), Source(self.app, of_any_row(self.entity))
        ids = Later("ids", (), "ids", lambda ids: [self.entity.columns["id"].type.operand(id) for id in ids])
        text = compiler.by_ids(written, self.parts, ids)
        return Template(text, tuple(compiler.params.values))

    # Arguments.

    def _whole(self, name: str) -> str:
        """The name under which a run has an argument, read anew each time."""
        known = f"argument {self.number} {name}"
        for argument in self.nodes[0].arguments or ():
            if argument.name.value == name:
                self.compiler.given[known] = argument.value
        return known

    def _argument_now(self, name: str) -> Any:
        for argument in self.nodes[0].arguments or ():
            if argument.name.value == name:
                return given_value(argument.value, self.compiler.variables)
        return None

    def _traced(self, name: str) -> Any:
        return self.compiler._argument(self.nodes[0], name)

    def _later(self, name: str, read: Read) -> Later | int:
        definition = self.schema.mutation_type.fields[self.nodes[0].name.value]  # type: ignore[union-attr]
        value = self.compiler._argument(self.nodes[0], name, definition)
        made: Later | int = self.compiler._later(value, name, read)
        return made

    def _relations_in(self, row: Mapping[str, Any]) -> bool:
        return any(name in self.names.relations for name in row)

    def _apart_in(self, row: Mapping[str, Any] | None) -> list[str]:
        """The fields among the values that a statement of many records doesn't write: secrets and links."""
        named = [(name, self._field(name)) for name in row or () if name in self.names.fields]
        return [name for name, field in named if isinstance(field.type, SecretType) or not field.stored]

    def _refuse_apart(self, row: Mapping[str, Any], how: str) -> None:
        for name in self._apart_in(row):
            raise Invalid(f"values.{name}", f"values.{name} cannot be written {how}")

    def _field(self, name: str) -> Field:
        return self.entity.columns[self.names.fields[name]]

    def _shown(self, field: Field) -> str:
        return shown_name(self.names, field.name)

    def _fields(self, row: Mapping[str, Any]) -> list[Field]:
        raw = {self.names.fields[name] for name in row}
        return [field for name, field in self.entity.columns.items() if name in raw]


def with_author(ctx: Ctx, variables: Variables) -> dict[str, Any]:
    """The variables, with who writes."""
    return {**variables, **author_values(service.author(ctx))}


def shown_name(names: EntityNames, raw: str) -> str:
    """The GraphQL name of a field."""
    return next((name for name, field in names.fields.items() if field == raw), raw)


def _alone(parts: Sequence[RecordPart], written: ObjectType) -> bool:
    """Whether what is asked back can be told by the statement that writes: nothing of it may change with the write."""
    for part in parts:
        if isinstance(part, One):
            if part.source.entity is written or not _alone(part.parts, written):
                return False
        elif not isinstance(part, Value | Constant):
            return False
    return True


def _tree(schema: TypedSchema, entity: str, values: Any, path: str, depth: int, linked: Sequence[str] = ()) -> Tree:
    """A record to store with those around it. `linked` are link fields that will be set for it."""
    if depth > nested.DEPTH_MAX:
        raise TooComplex(f"{path}: records can be written {nested.DEPTH_MAX} levels deep", field=path)
    if not isinstance(values, dict):
        raise Invalid(path, f"{path} must be an object")
    names, at = schema.names.of(entity), Opened(schema.app, schema.app.types[entity])
    own = {name: value for name, value in values.items() if name not in names.relations}
    tree = Tree(at, _row(at, names, own, path, whole=False))
    for name, value in values.items():
        relation = names.relations.get(name)
        if relation is None or value is None:
            continue
        link = relation.link.name
        if relation.back:
            for index, inner in enumerate(listed(value)):
                below = _tree(schema, relation.entity, inner, f"{path}.{name}.{index}", depth + 1, (link,))
                _refuse_twice(below, link, f"{path}.{name}.{index}", schema.names.of(relation.entity))
                tree.below.append((link, below))
        else:
            _refuse_twice(tree, link, path, names)
            tree.above[link] = _tree(schema, relation.entity, value, f"{path}.{name}", depth + 1)
    _complete(at, names, nested.with_links(tree, linked), path)
    if not tree.row and not tree.above and not linked:
        raise Invalid(path, f"{path} must have at least one field")
    return tree


def _refuse_twice(tree: Tree, link: str, path: str, names: EntityNames) -> None:
    if link in tree.row or link in tree.above:
        where = f"{path}.{shown_name(names, link)}"
        raise Invalid(where, f"{where} and a record written along with this one exclude each other")


def _row(at: Opened, names: EntityNames, values: Any, path: str, *, whole: bool = True) -> dict[str, Any]:
    """The fields to write in stored form. Raises Invalid with the path of the field."""
    if not isinstance(values, dict):
        raise Invalid(path, f"{path} must be an object")
    if not values:
        return {}
    given = {}
    for name, value in values.items():
        field_ = at.entity.columns[names.fields[name]]
        if value == MASK and isinstance(field_.type, SecretType):
            raise Invalid(f"{path}.{name}", f"{path}.{name} must not be the mask that stands for it")
        one = value is None or field_.type.element is field_.type
        given[field_.name] = value if one else listed(value)
    try:
        row = service.row_of(at, given, path)
    except Invalid as wrong:
        raise _placed(wrong, names, path) from wrong
    if whole:
        _complete(at, names, row, path)
    return row


def _complete(at: Opened, names: EntityNames, row: Mapping[str, Any], path: str) -> None:
    try:
        service.refuse_missing(at, row)
    except Invalid as wrong:
        raise _placed(wrong, names, path) from wrong


def _placed(wrong: Invalid, names: EntityNames, path: str) -> Invalid:
    """The refusal with the place and name that the field has in the operation."""
    if wrong.field is None or wrong.field == path:
        return wrong
    shown = shown_name(names, wrong.field)
    return Invalid(f"{path}.{shown}", f"{path}: {wrong.message.replace(repr(wrong.field), repr(shown))}")


def speak_of(refused: DomainError, names: EntityNames) -> None:
    """Let the refusal of a record call its field what the schema calls it."""
    raw = refused.field
    if raw is not None and raw in names.fields.values():
        refused.field = shown_name(names, raw)
        refused.message = re.sub(rf"\b{re.escape(raw)}\b", refused.field, refused.message)


def _most(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= service.BULK_MAX:
        raise NotOfType(f"must be between 1 and {service.BULK_MAX}")
    return value
