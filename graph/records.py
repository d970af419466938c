"""Records of any app, by the names of the app and the entity."""

from collections.abc import AsyncGenerator
from datetime import datetime
from enum import Enum
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import EVERYTHING, Verb, app_key, record_key, reveal_key
from domain.kernel import events
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import FIRST_MAX
from domain.kernel.rawjson import RawJson, array_of
from domain.records import explaining, identity, live, sealing, service
from domain.records.identity import FederatedQuery
from domain.records.service import Found, Query
from domain.records.spelling import dialects
from graph.changes import Watched
from graph.connection import FIRST, PageInfo
from graph.rules import Access, about, bounded, mutation, query, subscription
from graph.scalars import Json, JsonObject, Record, Records
from graph.selection import selected

Info = strawberry.Info[Ctx, None]

App = Annotated[strawberry.ID, about("The app's id.")]
Entity = Annotated[str, about("The name of the object type.")]
RecordId = Annotated[strawberry.ID, about("The record's id, a UUID.")]
Where = Annotated[
    JsonObject | None, about('Which records, like `{stage: {in: ["Lead"]}, OR: [...]}`; spelled as `dialect` says.')
]
Values = Annotated[JsonObject, about("The fields' values, by name.")]

Dialect = strawberry.enum(
    dialects.Dialect, name="Dialect", description="Whose rules a query follows: its spelling, and what empty means."
)
DialectArg = Annotated[Dialect, about("Whose rules `where` follows.")]  # type: ignore[valid-type]


def may(verb: Verb) -> Access:
    """Who may do that to the records of `entity`."""
    return Access(permission=record_key("{app}", "{entity}", verb))


@strawberry.enum(description="Which way a list runs.")
class Direction(Enum):
    ASC = "asc"
    DESC = "desc"


@strawberry.enum(description="What happened to a record.")
class Change(Enum):
    CREATED = "INSERT"
    UPDATED = "UPDATE"
    DELETED = "DELETE"


@strawberry.type(description="A record with its cursor.")
class RecordEdge:
    cursor: str
    node: Record


@strawberry.type(description="A page of records.")
class RecordConnection:
    found: strawberry.Private[Found]
    after: strawberry.Private[bool]

    @strawberry.field(description="The records of the page, as one JSON array.")
    def rows(self) -> Records:
        return Records(self.found.rows)

    @strawberry.field(description="The records of the page.")
    def nodes(self) -> list[Record]:
        return [Record(document) for document in self.found.documents]

    @strawberry.field(description="The records of the page with their cursors.")
    def edges(self) -> list[RecordEdge]:
        pairs = zip(self.found.cursors, self.found.documents, strict=True)
        return [RecordEdge(cursor=cursor, node=Record(document)) for cursor, document in pairs]

    @strawberry.field(description="Where the page stands.")
    def page_info(self) -> PageInfo:
        cursors = self.found.cursors
        return PageInfo(
            has_next_page=self.found.has_next,
            has_previous_page=self.after,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )

    @strawberry.field(description="How many records there are in all; counted only when asked for.")
    def total_count(self) -> int:
        assert self.found.total is not None
        return self.found.total


WANTED = {"rows": "rows", "nodes": "documents", "edges": "documents", "pageInfo": "documents", "totalCount": "total"}


@strawberry.type(description="Records of several entities, each with its `_source`.")
class FederatedRecords:
    rows: Records
    total_count: int


@strawberry.type(description="One committed change of one record.")
class RecordChange:
    change: strawberry.Private[events.RecordChange]

    @strawberry.field(description="Where this change stands among all: subscribe with `after` to go on behind it.")
    def cursor(self) -> str:
        return self.change.cursor

    @strawberry.field(description="What happened.")
    def operation(self) -> Change:
        return Change(self.change.operation)

    @strawberry.field(description="The record's id.")
    def id(self) -> strawberry.ID:
        return strawberry.ID(self.change.record_id)

    @strawberry.field(description="The record as it is now; null when it was deleted.")
    def record(self) -> Record | None:
        return None if self.change.after is None else Record(RawJson(self.change.after.decode()))

    @strawberry.field(description="The record as it was; null when it was created.")
    def previous(self) -> Record | None:
        return None if self.change.before is None else Record(RawJson(self.change.before.decode()))

    @strawberry.field(description="When it was changed.")
    def changed_at(self) -> datetime:
        return self.change.changed_at

    @strawberry.field(description="The id of the user who changed it, if it was one.")
    def actor_id(self) -> UUID | None:
        return self.change.actor_id


@strawberry.enum(description="What may be done with records.")
class RecordVerb(Enum):
    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"


@strawberry.type(description="What one policy says of a verb for a user.")
class PolicySaid:
    name: str
    description: str
    permission: str = strawberry.field(description="The key that allows the verb as far as the policy goes.")
    held: bool = strawberry.field(description="Whether the user holds that key, or one that covers it.")
    holds: bool | None = strawberry.field(description="Whether the record is one of its rows; null without a record.")
    hidden: list[str] = strawberry.field(description="Fields it does not show.")
    masked: list[str] = strawberry.field(description="Fields it shows in part.")
    read_only: list[str] = strawberry.field(description="Fields it does not let be written.")


@strawberry.type(description="Why a user may do something with records, or may not.")
class AccessExplanation:
    allowed: bool
    reason: str = strawberry.field(description="In a sentence.")
    permission: str = strawberry.field(description="The key that allows it for all records.")
    held: bool = strawberry.field(description="Whether the user holds that key, or one that covers it.")
    roles: list[str] = strawberry.field(description="Roles of theirs that give one of the keys at stake.")
    policies: list[PolicySaid] = strawberry.field(description="What each policy for this verb says.")
    record: Record | None = strawberry.field(description="The record as the user sees it, if they do.")


@strawberry.type
class RecordsQuery:
    @query(access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record(self, info: Info, app: App, entity: Entity, id: RecordId) -> Record:
        """One record."""
        return Record(await service.get(info.context, app, entity, id))

    @query(access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        where: Where = None,
        dialect: DialectArg = dialects.Dialect.STOA,
        order_by: Annotated[str | None, about("A field; `created_at` without one.")] = None,
        direction: Annotated[Direction, about("Which way.")] = Direction.DESC,
        first: Annotated[
            int | None, bounded("How many to return; null for all of them.", minimum=1, maximum=FIRST_MAX)
        ] = FIRST,
        after: Annotated[str | None, about("The cursor to start behind.")] = None,
        offset: Annotated[int, bounded("How many to leave out first.", minimum=0, maximum=service.OFFSET_MAX)] = 0,
        search: Annotated[
            str | None,
            about("Words to find, as the entity's declaration says; the best matches first without an order."),
        ] = None,
        linked: Annotated[
            Json | None,
            about("Add `_linked`: records of other apps with the same identity. True for all apps, or their ids."),
        ] = None,
    ) -> RecordConnection:
        """Records of one entity, newest first unless told otherwise."""
        asked = Query(where, dialect, order_by, direction is Direction.DESC, first, after, offset, search, linked)
        wanted = {WANTED[name] for name in selected(info) & WANTED.keys()}
        found = await service.find(info.context, app, entity, asked, wanted)
        return RecordConnection(found=found, after=after is not None)

    @query(
        access=Access(permission=app_key("{app}", EVERYTHING)),
        refuses=[Code.NOT_FOUND],
        graphql_type=AccessExplanation,
    )
    async def explain_access(
        self,
        info: Info,
        app: App,
        entity: Entity,
        user: Annotated[UUID, about("Whose access.")],
        verb: Annotated[RecordVerb, about("What they would do.")],
        id: Annotated[strawberry.ID | None, about("With which record; without it, with any.")] = None,
    ) -> explaining.Explained:
        """Why a user may do something with the records of an app, or may not: for who administers the app."""
        return await explaining.explain(info.context, app, entity, user, Verb(verb.value), id)

    @query()
    async def federated_records(
        self,
        info: Info,
        kind: Annotated[str, about("The identity kind, like `person`.")],
        where: Where = None,
        dialect: DialectArg = dialects.Dialect.STOA,
        order_by: Annotated[str | None, about("A key of the records; they are ordered by its text.")] = None,
        direction: Annotated[Direction, about("Which way.")] = Direction.DESC,
        first: Annotated[int, bounded("How many to return.", minimum=1, maximum=FIRST_MAX)] = FIRST,
        offset: Annotated[int, bounded("How many to leave out first.", minimum=0, maximum=service.OFFSET_MAX)] = 0,
    ) -> FederatedRecords:
        """Records of every app's entities of one identity kind, as far as the caller may read them."""
        asked = FederatedQuery(where, dialect, order_by, direction is Direction.DESC, first, offset)
        found = await identity.federated(info.context, kind, asked)
        return FederatedRecords(rows=Records(found.rows), total_count=found.total)


@strawberry.type
class RecordsMutation:
    @mutation(access=may(Verb.CREATE), refuses=[Code.NOT_FOUND, Code.CONFLICT], concludes=True)
    async def create_record(self, info: Info, app: App, entity: Entity, values: Values) -> Record:
        """Store a new record; fields left out take their default."""
        return Record(await service.create(info.context, app, entity, values))

    @mutation(access=may(Verb.CREATE), refuses=[Code.NOT_FOUND, Code.CONFLICT], concludes=True)
    async def create_records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        values: Annotated[
            list[JsonObject], bounded("The values of each record.", min_items=1, max_items=service.BULK_MAX)
        ],
    ) -> Records:
        """Store new records, all of them or none. A field that one of them has is written in each."""
        return Records(array_of(await service.create_many(info.context, app, entity, values)))

    @mutation(access=may(Verb.UPDATE), refuses=[Code.NOT_FOUND, Code.CONFLICT], concludes=True)
    async def update_record(self, info: Info, app: App, entity: Entity, id: RecordId, values: Values) -> Record:
        """Change the given fields of a record; null clears one."""
        return Record(await service.update(info.context, app, entity, id, values))

    @mutation(access=may(Verb.DELETE), refuses=[Code.NOT_FOUND, Code.CONFLICT], concludes=True)
    async def delete_record(self, info: Info, app: App, entity: Entity, id: RecordId) -> Record:
        """Delete a record. Returns what it was."""
        return Record(await service.delete(info.context, app, entity, id))

    @mutation(access=Access(permission=reveal_key("{app}", "{entity}")), refuses=[Code.NOT_FOUND])
    async def reveal_secret(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        field: Annotated[str, about("The name of a secret field.")],
    ) -> str | None:
        """A secret of a record in the clear, null where it has none. The audit log tells who looked."""
        found = await sealing.reveal(info.context, app, entity, id, field)
        return None if found is None else found.text


@strawberry.type
class RecordsSubscription:
    @subscription(access=may(Verb.READ), refuses=[Code.NOT_FOUND, Code.GONE])
    async def record_changed(
        self,
        info: Info,
        app: App,
        entity: Entity,
        where: Where = None,
        dialect: DialectArg = dialects.Dialect.STOA,
        after: Annotated[str | None, about("The cursor of the last change seen; without it, from now on.")] = None,
    ) -> AsyncGenerator[RecordChange, None]:
        """Each change of the records that `where` holds for, before or after it, as it commits."""
        watch = await live.watch(info.context, app, entity, where, dialect)
        return Watched(info.context.ports.feed, watch, after, info.path.as_list(), _shown)  # type: ignore[return-value]


def _shown(change: events.RecordChange) -> RecordChange:
    return RecordChange(change=change)
