"""What people add to records: comments, associations, shares, and views of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.access.permissions import Verb
from domain.collaboration import associations, comments, model, shares, views
from domain.collaboration.associations import TYPE, End, Wanted
from domain.collaboration.shares import Recipient, Terms
from domain.collaboration.views import ViewTerms
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.page import PageArgs
from domain.records.spelling.dialects import Dialect as Spelling
from graph.connection import FIRST, After, Connection, First, connection
from graph.records import WANTED, App, Dialect, Direction, Entity, RecordConnection, RecordId, may
from graph.rules import Access, about, bounded, mutation, query
from graph.scalars import Json, JsonObject
from graph.selection import selected

Info = strawberry.Info[Ctx, None]

USER = Access()

CommentId = Annotated[UUID, about("The comment's id.")]
Body = Annotated[str, bounded("Plain text.", min_length=1, max_length=comments.BODY_CHARS_MAX)]
AssociationType = Annotated[str, bounded("What the association means, like `belongs_to`.", pattern=TYPE.pattern)]
ToApp = Annotated[strawberry.ID | None, about("The app of the other record; the same one without it.")]
ToEntity = Annotated[str, about("The object type of the other record.")]
ToId = Annotated[strawberry.ID, about("The id of the other record.")]
ViewId = Annotated[UUID, about("The view's id.")]

ShareLevel = strawberry.enum(
    model.ShareLevel,
    name="ShareLevel",
    description="How much a share allows, beyond what a row policy does; each more than the ones before.",
)
RecipientType = strawberry.enum(model.RecipientType, name="RecipientType", description="Whom a record is shared with.")
AssociationDirection = strawberry.enum(
    associations.Direction, name="AssociationDirection", description="Which way an edge runs, seen from a record."
)


# Comments.


@strawberry.type(description="What somebody said of a record.")
class Comment:
    id: UUID
    author_id: UUID
    body: str = strawberry.field(description="Plain text, as typed.")
    created_at: datetime
    edited_at: datetime | None = strawberry.field(description="When its author last said something else.")
    record_id: strawberry.ID


# Associations.


@strawberry.type(description="A record at the other end of an association.")
class AssociatedRecord:
    app_id: strawberry.ID
    entity: str
    record_id: strawberry.ID


@strawberry.type(description="A directed edge between two records, seen from one of them.")
class Association:
    type: str
    direction: AssociationDirection  # type: ignore[valid-type]
    other: AssociatedRecord
    meta: Json = strawberry.field(description="What is noted of it.")
    created_at: datetime
    updated_at: datetime


# Shares.


@strawberry.input(description="Whom to share with.")
class RecipientInput:
    type: RecipientType = model.RecipientType.USER  # type: ignore[valid-type]
    id: strawberry.ID = strawberry.field(description="The id of a user, or the name of a role.")


@strawberry.type(description="A record that somebody may use although its row policy alone would not let them.")
class RecordShare:
    id: UUID
    recipient_type: RecipientType  # type: ignore[valid-type]
    recipient_id: strawberry.ID
    level: ShareLevel  # type: ignore[valid-type]
    source: str = strawberry.field(description="`manual`, or what made it.")
    source_id: str | None
    granted_by: UUID
    reason: str | None
    created_at: datetime
    updated_at: datetime


# Views.


@strawberry.type(description="A query over an entity's records with a name.")
class SavedView:
    id: UUID
    app_id: strawberry.ID
    entity: str
    name: str
    created_by: UUID
    order_by: str | None
    columns: list[str] = strawberry.field(description="The fields to show, in order; none for all.")
    created_at: datetime
    updated_at: datetime

    @strawberry.field(description="Whether it is everybody's who may read the records.")
    def shared(self: model.SavedView) -> bool:
        return self.owner_id is None

    @strawberry.field(description="Which records, spelled as `dialect` says; null for all.")
    def where(self: model.SavedView) -> Json | None:
        return None if self.where is None else Json(self.where)

    @strawberry.field(description="Whose rules `where` follows.")
    def dialect(self: model.SavedView) -> Dialect:  # type: ignore[valid-type]
        return Spelling(self.dialect)

    @strawberry.field(description="Which way it runs.")
    def direction(self: model.SavedView) -> Direction:
        return Direction.DESC if self.descending else Direction.ASC

    @strawberry.field(description="What whoever shows it wants to know besides: its kind, widths, groups.")
    def layout(self: model.SavedView) -> JsonObject:
        return JsonObject(self.layout)

    @strawberry.field(description="What it speaks of that is not declared any more; null while it works.")
    async def problem(self: model.SavedView, info: Info) -> str | None:
        return await views.problem(info.context, self)


@strawberry.input(description="What a view says.")
class SavedViewInput:
    name: str
    where: JsonObject | None = strawberry.field(default=None, description="Which records, spelled as `dialect` says.")
    dialect: Dialect = Spelling.STOA  # type: ignore[valid-type]
    order_by: str | None = strawberry.field(default=None, description="A field; `created_at` without one.")
    direction: Direction = Direction.DESC
    columns: list[str] = strawberry.field(default_factory=list, description="The fields to show; none for all.")
    layout: JsonObject | None = strawberry.field(
        default=None, description="What whoever shows it wants to know besides."
    )
    shared: bool = strawberry.field(
        default=False, description="Whether it is everybody's: that takes the right to change records."
    )


@strawberry.input(description="What is to be another in a view; what is left out stays.")
class SavedViewChanges:
    name: strawberry.Maybe[str]
    where: strawberry.Maybe[JsonObject | None]
    dialect: strawberry.Maybe[Dialect]  # type: ignore[valid-type]
    order_by: strawberry.Maybe[str | None]
    direction: strawberry.Maybe[Direction]
    columns: strawberry.Maybe[list[str]]
    layout: strawberry.Maybe[JsonObject]
    shared: strawberry.Maybe[bool]


@strawberry.type
class CollaborationQuery:
    @query(graphql_type=Connection[Comment], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_comments(
        self, info: Info, app: App, entity: Entity, id: RecordId, first: First = FIRST, after: After = None
    ) -> Connection[model.Comment]:
        """What was said of a record, newest first."""
        return connection(await comments.page(info.context, app, entity, id, PageArgs(first, after)))

    @query(graphql_type=Connection[Association], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_associations(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        direction: Annotated[AssociationDirection | None, about("Those that run this way only.")] = None,  # type: ignore[valid-type]
        type: Annotated[str | None, about("Of this type only.")] = None,
        first: First = FIRST,
        after: After = None,
    ) -> Connection[associations.Edge]:
        """The associations of a record with records the caller may read, newest first."""
        wanted, args = Wanted(direction, type), PageArgs(first, after)
        return connection(await associations.page(info.context, End(app, entity, id), wanted, args))

    @query(graphql_type=list[RecordShare], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def record_shares(self, info: Info, app: App, entity: Entity, id: RecordId) -> Sequence[model.RecordShare]:
        """Whom a record is shared with, newest first, up to 500."""
        return await shares.shares(info.context, app, entity, id)

    @query(graphql_type=list[SavedView], access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def saved_views(self, info: Info, app: App, entity: Entity) -> Sequence[model.SavedView]:
        """The caller's own views of an entity and everybody's, by name."""
        return await views.views(info.context, app, entity)

    @query(graphql_type=SavedView, access=USER, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def saved_view(self, info: Info, id: ViewId) -> model.SavedView:
        """One view."""
        return await views.view(info.context, id)

    @query(access=USER, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def view_records(self, info: Info, id: ViewId, first: First = FIRST, after: After = None) -> RecordConnection:
        """The records that a view shows, in its order."""
        wanted = {WANTED[name] for name in selected(info) & WANTED.keys()}
        found = await views.records(info.context, id, PageArgs(first, after), wanted)
        return RecordConnection(found=found, after=after is not None)


@strawberry.type
class CollaborationMutation:
    @mutation(graphql_type=Comment, access=may(Verb.READ), refuses=[Code.NOT_FOUND])
    async def add_comment(self, info: Info, app: App, entity: Entity, id: RecordId, body: Body) -> model.Comment:
        """Say something of a record: whoever may read it may."""
        return await comments.add(info.context, app, entity, id, body)

    @mutation(graphql_type=Comment, access=USER, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def edit_comment(self, info: Info, id: CommentId, body: Body) -> model.Comment:
        """Say something else than one did; nobody changes what others said."""
        return await comments.edit(info.context, id, body)

    @mutation(graphql_type=Comment, access=USER, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def delete_comment(self, info: Info, id: CommentId) -> model.Comment:
        """Take back what one said. Returns what it was."""
        return await comments.delete(info.context, id)

    @mutation(
        graphql_type=Association,
        access=may(Verb.UPDATE),
        refuses=[Code.NOT_FOUND, Code.FORBIDDEN, Code.PAYLOAD_TOO_LARGE],
    )
    async def associate_records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        type: AssociationType,
        to_entity: ToEntity,
        to_id: ToId,
        to_app: ToApp = None,
        meta: Annotated[JsonObject | None, about("What to note of it, up to 10 KB of JSON.")] = None,
    ) -> associations.Edge:
        """Associate a record with another one the caller may read; once more gives the association another `meta`."""
        to = End(to_app or app, to_entity, to_id)
        return await associations.put(info.context, End(app, entity, id), type, to, meta)

    @mutation(graphql_type=Association, access=may(Verb.UPDATE), refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def dissociate_records(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        type: AssociationType,
        to_entity: ToEntity,
        to_id: ToId,
        to_app: ToApp = None,
    ) -> associations.Edge:
        """Take an association away. Returns what it was."""
        to = End(to_app or app, to_entity, to_id)
        return await associations.remove(info.context, End(app, entity, id), type, to)

    @mutation(graphql_type=RecordShare, access=may(Verb.UPDATE), refuses=[Code.NOT_FOUND])
    async def share_record(
        self,
        info: Info,
        app: App,
        entity: Entity,
        id: RecordId,
        recipient: Annotated[RecipientInput, about("Whom to share it with.")],
        level: Annotated[ShareLevel, about("How much they may.")] = model.ShareLevel.READ,  # type: ignore[valid-type]
        reason: Annotated[str | None, bounded("Why.", max_length=shares.REASON_CHARS_MAX)] = None,
        source: Annotated[
            str,
            bounded("What makes the share, if nobody by hand does.", min_length=1, max_length=shares.SOURCE_CHARS_MAX),
        ] = "manual",
        source_id: Annotated[str | None, bounded("Which of them.", max_length=shares.SOURCE_CHARS_MAX)] = None,
    ) -> model.RecordShare:
        """Share a record with somebody, or change on what terms. It gives them no permission they lack."""
        whom = Recipient(recipient.type, recipient.id)
        return await shares.share(info.context, app, entity, id, whom, Terms(level, reason, source, source_id))

    @mutation(graphql_type=RecordShare, access=may(Verb.UPDATE), refuses=[Code.NOT_FOUND])
    async def unshare_record(
        self, info: Info, app: App, entity: Entity, id: RecordId, share: Annotated[UUID, about("The share's id.")]
    ) -> model.RecordShare:
        """Take a share of a record back. Returns what it was."""
        return await shares.unshare(info.context, app, entity, id, share)

    @mutation(graphql_type=SavedView, access=may(Verb.READ), refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.FORBIDDEN])
    async def create_saved_view(
        self, info: Info, app: App, entity: Entity, view: Annotated[SavedViewInput, about("What it says.")]
    ) -> model.SavedView:
        """Keep a query under a name."""
        terms = ViewTerms(
            name=view.name,
            where=view.where,
            dialect=view.dialect,
            order_by=view.order_by,
            descending=view.direction is Direction.DESC,
            columns=view.columns,
            layout=view.layout or {},
            shared=view.shared,
        )
        return await views.create(info.context, app, entity, terms)

    @mutation(graphql_type=SavedView, access=USER, refuses=[Code.NOT_FOUND, Code.CONFLICT, Code.FORBIDDEN])
    async def update_saved_view(
        self, info: Info, id: ViewId, changes: Annotated[SavedViewChanges, about("What is to be another.")]
    ) -> model.SavedView:
        """Change a view: one's own, or any of an app one administers."""
        given: dict[str, Any] = {name: some.value for name, some in vars(changes).items() if some is not None}
        if "direction" in given:
            given["descending"] = given.pop("direction") is Direction.DESC
        return await views.update(info.context, id, given)

    @mutation(graphql_type=SavedView, access=USER, refuses=[Code.NOT_FOUND, Code.FORBIDDEN])
    async def delete_saved_view(self, info: Info, id: ViewId) -> model.SavedView:
        """Let go of a view: one's own, or any of an app one administers. Returns what it was."""
        return await views.delete(info.context, id)
