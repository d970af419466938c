"""What records were: their versions, and the trash."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import Verb
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from domain.records import past, trash, versions
from graph.connection import FIRST, After, Connection, First, connection
from graph.records import App, Change, Entity, RecordId, may
from graph.rules import bounded, mutation, query
from graph.scalars import Json, Record

Info = strawberry.Info[Ctx, None]

Number = Annotated[int, bounded("The version's number.", minimum=1)]


@strawberry.type(description="A field with another value than before.")
class FieldChange:
    field: str
    before: Json | None
    after: Json | None


@strawberry.type(description="One state of a record.")
class RecordVersion:
    number: int = strawberry.field(description="Counted from 1; a change that changed nothing makes no version.")
    changes: list[FieldChange] = strawberry.field(description="What was other before; fields declared today only.")

    @strawberry.field(description="What made it. A restored record is created again.")
    def operation(self: versions.Version) -> Change:
        return Change(self.entry.operation)

    @strawberry.field(description="The record as it was then; of a deletion, as it was last.")
    def record(self: versions.Version) -> Record:
        return Record(self.entry.record)

    @strawberry.field(description="When it came to be.")
    def changed_at(self: versions.Version) -> datetime:
        return self.entry.changed_at

    @strawberry.field(description="The id of the user who did it, if it was one.")
    def changed_by(self: versions.Version) -> UUID | None:
        return self.entry.actor_id

    @strawberry.field(description="The id of the user for whom an agent did it.")
    def on_behalf_of(self: versions.Version) -> UUID | None:
        return self.entry.delegator_id

    @strawberry.field(description="The way it came by, like `api`; null for a change by hand.")
    def door(self: versions.Version) -> str | None:
        return self.entry.door


@strawberry.type(description="A record in the trash.")
class TrashedRecord:
    @strawberry.field(description="Its id, which it will have again.")
    def id(self: past.Entry) -> strawberry.ID:
        return strawberry.ID(self.record_id)

    @strawberry.field(description="The record as it was last.")
    def record(self: past.Entry) -> Record:
        return Record(self.record)

    @strawberry.field(description="When it was deleted.")
    def deleted_at(self: past.Entry) -> datetime:
        return self.changed_at

    @strawberry.field(description="The id of the user who deleted it, if it was one.")
    def deleted_by(self: past.Entry) -> UUID | None:
        return self.actor_id

    @strawberry.field(description="When it will be gone for good.")
    def purged_at(self: past.Entry) -> datetime:
        return self.changed_at + past.TRASH_KEPT


@strawberry.type
class HistoryQuery:
    @query(graphql_type=Connection[RecordVersion], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_versions(
        self, info: Info, app: App, entity: Entity, id: RecordId, first: First = FIRST, after: After = None
    ) -> Connection[versions.Version]:
        """The versions of a record, newest first: the first one is how it is. Of one in the trash, too."""
        return connection(await versions.page(info.context, app, entity, id, PageArgs(first, after)))

    @query(graphql_type=RecordVersion, access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_version(
        self, info: Info, app: App, entity: Entity, id: RecordId, number: Number
    ) -> versions.Version:
        """One version of a record."""
        return await versions.version(info.context, app, entity, id, number)

    @query(graphql_type=list[FieldChange], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_differences(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        older: Annotated[int, bounded("The version to compare with.", minimum=1)],
        newer: Annotated[int, bounded("The version that is compared.", minimum=1)],
    ) -> list[past.FieldChange]:
        """The fields that differ between two versions of a record."""
        return await versions.differences(info.context, app, entity, id, older, newer)

    @query(graphql_type=Connection[TrashedRecord], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def trashed_records(
        self, info: Info, app: App, entity: Entity, first: First = FIRST, after: After = None
    ) -> Connection[past.Entry]:
        """The records in the trash, the last deleted first; of an entity that declares `trash`."""
        return connection(await trash.page(info.context, app, entity, PageArgs(first, after)))


@strawberry.type
class HistoryMutation:
    @mutation(access=may(Verb.UPDATE), refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def restore_record_version(
        self, info: Info, app: App, entity: Entity, id: RecordId, number: Number
    ) -> Record:
        """Give a record the values of an earlier version. Fields that were declared since then stay as they are."""
        return Record(await versions.restore(info.context, app, entity, id, number))

    @mutation(access=may(Verb.CREATE), refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def restore_record(self, info: Info, app: App, entity: Entity, id: RecordId) -> Record:
        """Take a record out of the trash: as it was, with its id. What links to it is not brought back with it."""
        return Record(await trash.restore(info.context, app, entity, id))

    @mutation(graphql_type=TrashedRecord, access=may(Verb.DELETE), refuses=[Code.NOT_FOUND])
    async def purge_record(self, info: Info, app: App, entity: Entity, id: RecordId) -> past.Entry:
        """Let a record in the trash be gone for good, with what belongs to it. Returns what it was."""
        return await trash.purge(info.context, app, entity, id)

    @mutation(access=may(Verb.DELETE), refuses=[Code.NOT_FOUND])
    async def empty_trash(self, info: Info, app: App, entity: Entity) -> int:
        """Purge what is in the trash, up to 1000 records at once. Returns how many."""
        return await trash.empty(info.context, app, entity)
