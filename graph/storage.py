"""Files: buckets and what is in them, files of apps, and the URLs to read and send them by."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code, Reason
from domain.kernel.page import PageArgs
from domain.kernel.upload import Upload
from domain.storage import app_files, buckets, links, model, objects
from domain.storage.buckets import Rules
from domain.storage.names import ALLOWED_TYPES_MAX, MEDIA_TYPE_CHARS_MAX, NAME_CHARS_MAX
from domain.storage.objects import LISTED_MAX, Place
from domain.storage.rights import ANY, Action
from graph.connection import FIRST, After, Connection, connection
from graph.rules import PUBLIC, Access, about, bounded, mutation, query, refusal
from graph.scalars import BigInt, FileRef, JsonObject

Info = strawberry.Info[Ctx, None]

FILES = "/files/"  # where signed URLs lead

BucketArg = Annotated[str, about("The bucket's name.")]
ObjectId = Annotated[UUID, about("The id of a file or folder.")]
Parent = Annotated[UUID | None, about("The folder to put it into; the top of the bucket without one.")]
FileName = Annotated[str, bounded("Not a path, and no control characters.", min_length=1, max_length=NAME_CHARS_MAX)]
MediaType = Annotated[str | None, bounded("Like image/png.", max_length=MEDIA_TYPE_CHARS_MAX)]
AppId = Annotated[strawberry.ID, about("The app's id.")]
FileArg = Annotated[Upload, about("The file.")]
Token = Annotated[str, about("The last part of a signed URL.")]
ExpiresIn = Annotated[int, bounded("For how many seconds the URL is good.", minimum=1, maximum=links.LIFE_S_MAX)]
Inline = Annotated[
    bool, about("Shown where it is met, if it is of a kind that does no harm there; else it is always saved.")
]
AllowedTypes = Annotated[
    list[str] | None, bounded("Like image/png or image/*; none for all.", max_items=ALLOWED_TYPES_MAX)
]
MaxFileSize = Annotated[BigInt | None, bounded("Of each file, in bytes; null for no limit of its own.", minimum=1)]

NAME_TAKEN = refusal(Code.CONFLICT, Reason.NAME_TAKEN)
NOT_TAKEN = (
    refusal(Code.PAYLOAD_TOO_LARGE, Reason.FILE_TOO_LARGE),
    refusal(Code.UNSUPPORTED_MEDIA_TYPE, Reason.TYPE_NOT_ALLOWED),
)


def _may(action: Action, bucket: str = "{bucket}") -> Access:
    return Access(permission=f"storage:{bucket}:{action}")


def _reference(token: str) -> FileRef:
    return FileRef(FILES + token)


@strawberry.type(description="A named tree of files, with the rules for what goes into it.")
class StorageBucket:
    name: str
    public: bool = strawberry.field(description="Whether anybody may read its files.")
    max_file_size: BigInt | None = strawberry.field(description="In bytes.")
    allowed_types: list[str] | None = strawberry.field(description="Like `image/png` or `image/*`; none for all.")
    created_at: datetime


@strawberry.type(description="A file or a folder of a bucket.")
class StorageObject:
    id: UUID
    bucket: str
    name: str
    parent_id: UUID | None = strawberry.field(description="The folder it is in; null at the top of the bucket.")
    is_folder: bool
    media_type: str
    size_bytes: BigInt
    sha256: str | None = strawberry.field(description="Of the bytes, in hex; null for a folder.")
    uploaded_by: UUID
    created_at: datetime
    updated_at: datetime

    @strawberry.field(description="What else is noted of it.")
    def metadata(self: model.StorageObject) -> JsonObject:
        return JsonObject(self.details)

    @strawberry.field(description="Its bytes; null for a folder.")
    def content(
        self: model.StorageObject, info: Info, expires_in: ExpiresIn = links.LIFE_S_DEFAULT, inline: Inline = False
    ) -> FileRef | None:
        if self.is_folder:
            return None
        return _reference(links.reading(info.context, self, life_s=expires_in, inline=inline))


@strawberry.type(description="What became of a file that was sent.")
class StoredFile:
    id: UUID
    name: str
    media_type: str
    size_bytes: BigInt
    sha256: str | None


@strawberry.type(description="Where to send a file: its bytes, as they are, by PUT.")
class SignedUpload:
    id: UUID = strawberry.field(description="The id the file will have.")
    url: str = strawberry.field(description="Takes the bytes once. It needs no other credential.")
    expires_at: datetime


@strawberry.type(description="A change that was made.")
class StorageObjectPayload:
    object: StorageObject
    updated: bool = strawberry.field(description="True: what cannot be done is refused.")


@strawberry.type
class StorageQuery:
    @query(graphql_type=list[StorageBucket], access=_may(Action.READ, ANY))
    async def storage_buckets(self, info: Info) -> Sequence[model.Bucket]:
        """The buckets, by name."""
        return await buckets.buckets(info.context)

    @query(graphql_type=StorageBucket, access=_may(Action.READ), refuses=[Code.NOT_FOUND])
    async def storage_bucket(self, info: Info, bucket: BucketArg) -> model.Bucket:
        """One bucket."""
        return await buckets.bucket(info.context, bucket)

    @query(graphql_type=Connection[StorageObject], access=_may(Action.READ))
    async def storage_objects(
        self,
        info: Info,
        bucket: BucketArg,
        parent: Annotated[UUID | None, about("The folder; the top of the bucket without one.")] = None,
        first: Annotated[int, bounded("How many to return.", minimum=1, maximum=LISTED_MAX)] = FIRST,
        after: After = None,
    ) -> Connection[model.StorageObject]:
        """What is in a folder: folders first, then by name."""
        return connection(await objects.page(info.context, bucket, parent, PageArgs(first, after)))

    @query(graphql_type=StorageObject, access=_may(Action.READ), refuses=[Code.NOT_FOUND])
    async def storage_object(self, info: Info, bucket: BucketArg, id: ObjectId) -> model.StorageObject:
        """One file or folder."""
        return await objects.get(info.context, bucket, id)

    @query(graphql_type=list[StorageObject], access=_may(Action.READ), refuses=[Code.NOT_FOUND])
    async def storage_ancestors(self, info: Info, bucket: BucketArg, id: ObjectId) -> Sequence[model.StorageObject]:
        """The folders around a file or folder from the top of the bucket down, and last itself."""
        return await objects.ancestors(info.context, bucket, id)

    @query(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.UNAUTHENTICATED, Code.FORBIDDEN])
    async def storage_content(
        self,
        info: Info,
        bucket: BucketArg,
        id: ObjectId,
        expires_in: ExpiresIn = links.LIFE_S_DEFAULT,
        inline: Inline = False,
    ) -> FileRef:
        """The bytes of a file, for who may read the bucket; of a public one that is anybody."""
        row = await objects.readable(info.context, bucket, id)
        return _reference(links.reading(info.context, row, life_s=expires_in, inline=inline))

    @query(refuses=[Code.NOT_FOUND])
    async def app_file_content(
        self, info: Info, app: AppId, id: ObjectId, expires_in: ExpiresIn = links.LIFE_S_DEFAULT, inline: Inline = False
    ) -> FileRef:
        """The bytes of a file that was given to an app: of one's own, or of any for who administers the app."""
        row = await app_files.get(info.context, app, id)
        return _reference(links.reading(info.context, row, life_s=expires_in, inline=inline))

    @query(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.GONE])
    async def signed_file(self, info: Info, token: Token) -> FileRef:
        """The bytes that a signed URL leads to. The answer is good for as long as the URL is, and no longer."""
        return _reference(links.resealed(info.context, await links.opened(info.context, token)))


@strawberry.type
class StorageMutation:
    @mutation(graphql_type=StorageBucket, access=_may(Action.ADMIN, ANY), refuses=[NAME_TAKEN])
    async def create_bucket(
        self,
        info: Info,
        name: Annotated[str, bounded("1 to 63 of A-Z a-z 0-9 _ -", min_length=1, max_length=63)],
        public: Annotated[bool, about("Whether anybody may read its files.")] = False,
        max_file_size: MaxFileSize = None,
        allowed_types: AllowedTypes = None,
    ) -> model.Bucket:
        """Make a bucket."""
        return await buckets.create(info.context, name, Rules(public, max_file_size, allowed_types))

    @mutation(graphql_type=StorageBucket, access=_may(Action.ADMIN, ANY), refuses=[Code.NOT_FOUND])
    async def update_bucket(
        self,
        info: Info,
        name: BucketArg,
        public: Annotated[bool | None, about("Whether anybody may read its files; null leaves it as it is.")] = None,
        max_file_size: Annotated[strawberry.Maybe[BigInt | None], about("In bytes; null for no limit.")] = None,
        allowed_types: Annotated[strawberry.Maybe[list[str] | None], about("Null or none for all.")] = None,
    ) -> model.Bucket:
        """Give a bucket other rules. What is in it already stays."""
        given = {"max_file_size": max_file_size, "allowed_types": allowed_types}
        changes: dict[str, Any] = {rule: some.value for rule, some in given.items() if some is not None}
        changes |= {} if public is None else {"public": public}
        return await buckets.change(info.context, name, lambda rules: replace(rules, **changes))

    @mutation(graphql_type=StorageBucket, access=_may(Action.ADMIN, ANY), refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def delete_bucket(self, info: Info, name: BucketArg) -> model.Bucket:
        """Take an empty bucket away. Returns what it was."""
        return await buckets.delete(info.context, name)

    @mutation(graphql_type=StorageObject, access=_may(Action.WRITE), refuses=[Code.NOT_FOUND, NAME_TAKEN])
    async def create_folder(
        self, info: Info, bucket: BucketArg, name: FileName, parent: Parent = None
    ) -> model.StorageObject:
        """Make a folder."""
        return await objects.create_folder(info.context, bucket, name, parent)

    @mutation(
        graphql_type=StorageObject,
        access=_may(Action.WRITE),
        refuses=[Code.NOT_FOUND, NAME_TAKEN, *NOT_TAKEN],
    )
    async def upload_object(
        self,
        info: Info,
        bucket: BucketArg,
        file: FileArg,
        parent: Parent = None,
        name: Annotated[str | None, about("Its name; without one that of the file as it comes.")] = None,
    ) -> model.StorageObject:
        """Put a file into a bucket."""
        return await objects.upload(info.context, bucket, file, parent, name)

    @mutation(
        access=_may(Action.WRITE),
        refuses=[Code.NOT_FOUND, NAME_TAKEN, *NOT_TAKEN],
    )
    async def create_upload(
        self,
        info: Info,
        bucket: BucketArg,
        name: FileName,
        size_bytes: Annotated[BigInt, bounded("How large the file is: no more and no less is taken.", minimum=1)],
        media_type: MediaType = None,
        parent: Parent = None,
        expires_in: ExpiresIn = links.LIFE_S_DEFAULT,
    ) -> SignedUpload:
        """A URL to send a file to by PUT. There is no such file until all of it has come."""
        ctx = info.context
        new = objects.new_file(ctx, bucket, name, media_type, parent, size_bytes)
        await objects.announce(ctx, new)
        token = links.writing(ctx, new, life_s=expires_in)
        return SignedUpload(id=new.id, url=FILES + token, expires_at=ctx.now + timedelta(seconds=expires_in))

    @mutation(
        graphql_type=StoredFile,
        access=PUBLIC,
        refuses=[Code.NOT_FOUND, Code.GONE, Code.CONFLICT, NAME_TAKEN, *NOT_TAKEN],
    )
    async def receive_upload(self, info: Info, token: Token, file: FileArg) -> links.StoredFile:
        """Take the bytes that were announced with `createUpload`."""
        return await links.received(info.context, token, file)

    @mutation(graphql_type=StorageObjectPayload, access=_may(Action.WRITE), refuses=[Code.NOT_FOUND, NAME_TAKEN])
    async def update_object(
        self,
        info: Info,
        bucket: BucketArg,
        id: ObjectId,
        name: Annotated[str | None, about("Its new name; null leaves it as it is.")] = None,
        parent: Annotated[
            strawberry.Maybe[UUID | None], about("The folder to put it into; null for the top of the bucket.")
        ] = None,
    ) -> StorageObjectPayload:
        """Give a file or folder another name, or another place in its bucket."""
        to = None if parent is None else Place(parent.value)
        row = await objects.change(info.context, bucket, id, name, to)
        return StorageObjectPayload(object=row, updated=True)  # type: ignore[arg-type]

    @mutation(graphql_type=StorageObject, access=_may(Action.DELETE), refuses=[Code.NOT_FOUND])
    async def delete_object(self, info: Info, bucket: BucketArg, id: ObjectId) -> model.StorageObject:
        """Take a file away, or a folder with everything in it. Returns what it was."""
        return await objects.delete(info.context, bucket, id)

    @mutation(graphql_type=StoredFile, refuses=[Code.NOT_FOUND, *NOT_TAKEN])
    async def upload_app_file(self, info: Info, app: AppId, file: FileArg) -> model.AppFile:
        """Give an app a file."""
        return await app_files.upload(info.context, app, file)

    @mutation(graphql_type=StoredFile, refuses=[Code.NOT_FOUND, *NOT_TAKEN])
    async def upload_app_document(self, info: Info, app: AppId, file: FileArg) -> model.AppFile:
        """Give an app a document, a table, a picture or an archive: what it is, its extension says."""
        return await app_files.upload_document(info.context, app, file)

    @mutation(graphql_type=StoredFile, refuses=[Code.NOT_FOUND])
    async def delete_app_file(self, info: Info, app: AppId, id: ObjectId) -> model.AppFile:
        """Take a file from an app: one's own, or any for who administers the app. Returns what it was."""
        return await app_files.delete(info.context, app, id)
