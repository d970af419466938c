"""Files that are given to an app: by people, for its code and agents to work on, or by its code itself."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import delete as delete_rows

from domain.access.scope import Scope
from domain.apps.model import App
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Missing
from domain.kernel.ids import uuid7
from domain.kernel.unit import StatementRefused
from domain.kernel.upload import Upload
from domain.storage import blobs
from domain.storage.events import AppFileCreated
from domain.storage.model import AppFile
from domain.storage.names import clean_media_type, clean_name
from domain.storage.rights import Action, general_key

# RootCX, "POST /api/v1/apps/{appId}/upload".
DOCUMENT_EXTENSIONS = frozenset(
    "csv json xml txt pdf png jpg jpeg gif webp svg xlsx xls doc docx zip gz parquet".split()
)


@dataclass(frozen=True, slots=True)
class NewAppFile:
    """A file that an app is to be given. `uploaded_by` None is its own code that acts for nobody."""

    app_id: str
    name: str
    media_type: str
    uploaded_by: UUID | None
    size_bytes: int | None = None
    id: UUID = field(default_factory=uuid7)


def new_app_file(
    app_id: str, name: str, media_type: str | None, uploaded_by: UUID | None, size_bytes: int | None = None
) -> NewAppFile:
    """Raises Invalid on `name` or `mediaType`."""
    return NewAppFile(app_id, clean_name(name), clean_media_type(media_type, "mediaType"), uploaded_by, size_bytes)


async def upload(ctx: Ctx, app_id: str, file: Upload) -> AppFile:
    """Give the app a file. Raises Unauthenticated, Missing; TooLarge; Invalid on `name`, `mediaType` or `file`."""
    user_id = ctx.user()
    return await receive(ctx, new_app_file(app_id, file.filename, file.content_type, user_id), file)


async def upload_document(ctx: Ctx, app_id: str, file: Upload) -> AppFile:
    """As `upload`, for documents, tables and pictures only. Raises Invalid on `file` for any other extension."""
    ctx.user()
    extension = file.filename.strip().rpartition(".")[2].lower() if "." in file.filename else ""
    if extension not in DOCUMENT_EXTENSIONS:
        known = " ".join(sorted(DOCUMENT_EXTENSIONS))
        raise Invalid("file", f"files with the extension '{extension[:20]}' are not allowed; allowed are {known}")
    return await upload(ctx, app_id, file)


async def receive(ctx: Ctx, new: NewAppFile, file: Upload) -> AppFile:
    """The file with its bytes; whether it may be was decided when `new` was made. Raises as `upload` does."""

    async def admit(apart: Ctx) -> int:
        await _stay(apart, new)
        return ctx.ports.upload_bytes_max

    content = await blobs.receive(ctx, file, admit, new.size_bytes)
    await _stay(ctx, new)
    row = AppFile(
        id=new.id,
        app_id=new.app_id,
        name=new.name,
        media_type=new.media_type,
        uploaded_by=new.uploaded_by,
        blob_id=content.id,
        size_bytes=content.size_bytes,
        sha256=content.sha256,
    )
    try:
        await ctx.add(row)
    except StatementRefused as refused:
        if refused.constraint == "pk_app_files":
            raise Conflict("this was uploaded already") from refused
        raise
    ctx.emit(AppFileCreated(new.app_id, row.id))
    return row


async def _stay(ctx: Ctx, new: NewAppFile) -> None:
    """Raises Missing for people's files for no app; one that is there stays until this ends.

    Deployed code may run for an app that is not installed, and what it sends itself is taken.
    """
    there = ctx.visible(App).where(App.id == new.app_id).with_for_update(read=True, key_share=True)
    if new.uploaded_by is not None and await ctx.first(there) is None:
        raise Missing(f"app '{new.app_id}' not found", field="app")


async def forget(ctx: Ctx, app_id: str) -> None:
    """Let go of all files of an app that is no more."""
    await ctx.execute(delete_rows(AppFile).where(AppFile.tenant_id == ctx.tenant_id, AppFile.app_id == app_id))


async def get(ctx: Ctx, app_id: str, id: UUID) -> AppFile:
    """A file of the app: one's own, or anybody's for who administers the app or may read all storage.

    Raises Unauthenticated, Missing.
    """
    return await _for(ctx, app_id, id, Action.READ)


async def delete(ctx: Ctx, app_id: str, id: UUID) -> AppFile:
    """Take a file of the app away, as `get` finds it. Returns what it was. Raises Unauthenticated, Missing."""
    row = await _for(ctx, app_id, id, Action.DELETE)
    await ctx.remove(row)
    return row


async def _for(ctx: Ctx, app_id: str, id: UUID, action: Action) -> AppFile:
    user_id = ctx.user()
    row = await ctx.first(ctx.visible(AppFile).where(AppFile.app_id == app_id, AppFile.id == id))
    everyones = ctx.may(Scope(app_id).admin_key) or ctx.may(general_key(action))
    if row is None or not (everyones or row.uploaded_by == user_id):
        raise Missing("file not found")
    return row
