"""The files and folders of a bucket: one tree, in which a name is taken once a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import CTE, Select, func, literal, select
from sqlalchemy.orm import aliased

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, DomainError, Invalid, Missing, Reason
from domain.kernel.ids import uuid7
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.unit import StatementRefused
from domain.kernel.upload import Upload
from domain.storage import blobs, buckets
from domain.storage.events import ObjectCreated, ObjectDeleted, ObjectMoved
from domain.storage.model import FOLDER_TYPE, ROOT, StorageObject
from domain.storage.names import clean_media_type, clean_name
from domain.storage.rights import Action, need

LISTED_MAX = 10_000  # RootCX lists a whole folder in one answer
DEPTH_MAX = 100

_NAME_TAKEN = "uq_storage_objects_name"
_NO_BUCKET = "fk_storage_objects_bucket"
_NO_PARENT = "fk_storage_objects_parent_id"


# Reading.


async def page(ctx: Ctx, bucket: str, parent_id: UUID | None, args: PageArgs) -> Page[StorageObject]:
    """What is in a folder (None: at the top of the bucket): folders first, then by name. Raises Denied, Invalid."""
    need(ctx, bucket, Action.READ)
    inside = _of(ctx, bucket).where(StorageObject.place == (parent_id or ROOT))
    by = (StorageObject.is_file, StorageObject.name)
    scope = f"storage:{bucket}:{parent_id or ROOT}"
    return await keyset_page(ctx, inside, args, scope=scope, by=by, first_max=LISTED_MAX)


async def get(ctx: Ctx, bucket: str, id: UUID) -> StorageObject:
    """One file or folder. Raises Denied, Missing."""
    need(ctx, bucket, Action.READ)
    return await _there(ctx, bucket, id)


async def readable(ctx: Ctx, bucket: str, id: UUID) -> StorageObject:
    """A file whose bytes the caller may read: in a public bucket that is anybody.

    Raises Denied, Missing; Invalid for a folder.
    """
    there = await buckets.find(ctx, bucket)
    if there is None or not there.public:
        need(ctx, bucket, Action.READ)
    row = await _there(ctx, bucket, id)
    if row.is_folder:
        raise Invalid("id", "a folder has no content")
    return row


async def ancestors(ctx: Ctx, bucket: str, id: UUID) -> Sequence[StorageObject]:
    """The folders around an object from the top of the bucket down, and last itself. Raises Denied, Missing."""
    need(ctx, bucket, Action.READ)
    await _there(ctx, bucket, id)
    chain = _chain(ctx, bucket, id)
    return await ctx.all(_of(ctx, bucket).join(chain, chain.c.id == StorageObject.id).order_by(chain.c.steps.desc()))


def _of(ctx: Ctx, bucket: str) -> Select[StorageObject]:
    return ctx.visible(StorageObject).where(StorageObject.bucket == bucket)


async def _there(ctx: Ctx, bucket: str, id: UUID, field: str | None = None) -> StorageObject:
    row = await ctx.first(_of(ctx, bucket).where(StorageObject.id == id))
    if row is None:
        raise Missing(f"{field or 'object'} not found", field=field)
    return row


def _chain(ctx: Ctx, bucket: str, id: UUID) -> CTE:
    """An object's id and those of the folders around it, each with how many steps away it is."""
    start = select(StorageObject.id, StorageObject.parent_id, literal(0).label("steps")).where(
        StorageObject.tenant_id == ctx.tenant_id, StorageObject.bucket == bucket, StorageObject.id == id
    )
    chain = start.cte("chain", recursive=True)
    above = aliased(StorageObject)
    return chain.union_all(
        select(above.id, above.parent_id, chain.c.steps + 1).where(
            above.id == chain.c.parent_id, chain.c.steps < DEPTH_MAX
        )
    )


# Writing.


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is to be: where, by what name, of what type, whose. `size_bytes`, if given, is what it must have."""

    bucket: str
    name: str
    media_type: str
    uploaded_by: UUID
    parent_id: UUID | None = None
    size_bytes: int | None = None
    id: UUID = field(default_factory=uuid7)


def new_file(
    ctx: Ctx, bucket: str, name: str, media_type: str | None, parent_id: UUID | None, size_bytes: int | None = None
) -> NewFile:
    """A file the caller may put there. Raises Denied; Invalid on `name` or `mediaType`."""
    need(ctx, bucket, Action.WRITE)
    type = clean_media_type(media_type, "mediaType")
    return NewFile(bucket, clean_name(name), type, ctx.user(), parent_id, size_bytes)


async def check(ctx: Ctx, new: NewFile) -> int:
    """How many bytes the file may have. Raises Missing, Conflict, Unsupported when it may not be there at all."""
    bucket = await buckets.there(ctx, new.bucket)
    buckets.check_type(bucket, new.media_type)
    await _depth(ctx, new.bucket, new.parent_id)
    taken = _of(ctx, new.bucket).where(StorageObject.place == (new.parent_id or ROOT), StorageObject.name == new.name)
    if await ctx.first(taken) is not None:
        raise _name_taken(new.name)
    return buckets.bytes_max(ctx, bucket)


async def announce(ctx: Ctx, new: NewFile) -> None:
    """Refuse now what would be refused when the bytes come. Raises as `check` does; TooLarge."""
    blobs.check_size(new.size_bytes, await check(ctx, new))


async def upload(ctx: Ctx, bucket: str, file: Upload, parent_id: UUID | None, name: str | None = None) -> StorageObject:
    """Put a file into a folder of the bucket.

    Raises Denied, Missing; Conflict when the name is taken; Unsupported, TooLarge when the bucket does not take it;
    Invalid on `name`, `mediaType` or `file`.
    """
    new = new_file(ctx, bucket, file.filename if name is None else name, file.content_type, parent_id)
    return await receive(ctx, new, file)


async def receive(ctx: Ctx, new: NewFile, file: Upload) -> StorageObject:
    """The file with its bytes; whether it may be was decided when `new` was made. Raises as `upload` does."""

    content = await blobs.receive(ctx, file, lambda apart: check(apart, new), new.size_bytes)
    row = _row(ctx, new.bucket, new.name, new.parent_id, new.uploaded_by)
    row.id, row.is_file, row.media_type = new.id, True, new.media_type
    row.blob_id, row.size_bytes, row.sha256 = content.id, content.size_bytes, content.sha256
    return await _added(ctx, row)


async def create_folder(ctx: Ctx, bucket: str, name: str, parent_id: UUID | None) -> StorageObject:
    """Make a folder. Raises Denied, Missing; Conflict when the name is taken; Invalid on `name` or `parent`."""
    need(ctx, bucket, Action.WRITE)
    name = clean_name(name)
    await buckets.there(ctx, bucket)
    if await _depth(ctx, bucket, parent_id) >= DEPTH_MAX:
        raise _too_deep()
    row = _row(ctx, bucket, name, parent_id, ctx.user())
    row.id, row.is_file, row.media_type, row.size_bytes = uuid7(), False, FOLDER_TYPE, 0
    return await _added(ctx, row)


def _row(ctx: Ctx, bucket: str, name: str, parent_id: UUID | None, uploaded_by: UUID) -> StorageObject:
    return StorageObject(
        bucket=bucket, name=name, parent_id=parent_id, uploaded_by=uploaded_by, details={}, updated_at=ctx.now
    )


async def _added(ctx: Ctx, row: StorageObject) -> StorageObject:
    bucket, name = row.bucket, row.name  # a row that was refused says nothing any more
    try:
        await ctx.add(row)
    except StatementRefused as refused:
        raise _explained(refused, bucket, name) from refused
    ctx.emit(ObjectCreated(row.bucket, row.id))
    return row


async def _depth(ctx: Ctx, bucket: str, parent_id: UUID | None) -> int:
    """How many folders are around what is put into this one, itself included. Raises Missing; Invalid for a file."""
    if parent_id is None:
        return 0
    if (await _there(ctx, bucket, parent_id, "parent")).is_file:
        raise Invalid("parent", "parent must be a folder")
    chain = _chain(ctx, bucket, parent_id)
    return int((await ctx.execute(select(func.count()).select_from(chain))).scalar_one())


@dataclass(frozen=True, slots=True)
class Place:
    """A folder; the top of the bucket without an id."""

    parent_id: UUID | None = None


async def change(ctx: Ctx, bucket: str, id: UUID, name: str | None, to: Place | None) -> StorageObject:
    """Give an object another name, another folder, or both; None leaves as it is.

    Raises Denied, Missing; Conflict when the name is taken there; Invalid on `name` or `parent`: a folder cannot be
    put into itself, nor into what is inside it.
    """
    need(ctx, bucket, Action.WRITE)
    if to is not None:
        await _alone(ctx, bucket)
    row = await ctx.lock(StorageObject, (await _there(ctx, bucket, id)).id)
    if to is not None and to.parent_id != row.parent_id:
        await _check_move(ctx, row, to.parent_id)
        row.parent_id = to.parent_id
    row.name = name = row.name if name is None else clean_name(name)
    row.updated_at = ctx.now
    try:
        await ctx.flush()
    except StatementRefused as refused:
        raise _explained(refused, bucket, name) from refused
    ctx.emit(ObjectMoved(bucket, id))
    return row


async def _alone(ctx: Ctx, bucket: str) -> None:
    """Two moves at once, each fine by itself, could put two folders into each other."""
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"moves:{ctx.tenant_id}:{bucket}", 0))))


async def _check_move(ctx: Ctx, row: StorageObject, parent_id: UUID | None) -> None:
    depth = await _depth(ctx, row.bucket, parent_id)
    if row.is_file or parent_id is None:
        return
    around = _chain(ctx, row.bucket, parent_id)
    if (await ctx.execute(select(around.c.id).where(around.c.id == row.id))).first() is not None:
        raise Invalid("parent", "a folder cannot be moved into itself or into a folder inside it")
    if depth + await _height(ctx, row) > DEPTH_MAX:
        raise _too_deep()


async def _height(ctx: Ctx, row: StorageObject) -> int:
    """How many folders are in a row, from this one down."""
    start = select(StorageObject.id, literal(1).label("level")).where(StorageObject.id == row.id)
    tree = start.cte("tree", recursive=True)
    below = aliased(StorageObject)
    folders = select(below.id, tree.c.level + 1).where(
        below.parent_id == tree.c.id, below.is_file.is_(False), tree.c.level <= DEPTH_MAX
    )
    tree = tree.union_all(folders)
    return int((await ctx.execute(select(func.max(tree.c.level)))).scalar_one())


async def delete(ctx: Ctx, bucket: str, id: UUID) -> StorageObject:
    """Take an object away, a folder with everything in it. Returns what it was. Raises Denied, Missing."""
    need(ctx, bucket, Action.DELETE)
    row = await ctx.lock(StorageObject, (await _there(ctx, bucket, id)).id)
    await ctx.remove(row)
    ctx.emit(ObjectDeleted(bucket, id))
    return row


def _explained(refused: StatementRefused, bucket: str, name: str) -> Exception:
    """What the database said no to, where another operation was quicker."""
    known: dict[str | None, DomainError] = {
        _NAME_TAKEN: _name_taken(name),
        _NO_BUCKET: Missing(f"bucket '{bucket}' not found", field="bucket"),
        _NO_PARENT: Missing("parent not found", field="parent"),
        "pk_storage_objects": Conflict("this was uploaded already"),
    }
    return known.get(refused.constraint, refused)


def _name_taken(name: str) -> Conflict:
    return Conflict(f"'{name}' is taken in this folder", field="name", reason=Reason.NAME_TAKEN)


def _too_deep() -> Invalid:
    return Invalid("parent", f"folders must be at most {DEPTH_MAX} deep")
