"""Comments on records: whoever may read a record may say something of it, and change what they said."""

from uuid import UUID

from domain.collaboration import attached
from domain.collaboration.events import CommentAdded, CommentDeleted, CommentEdited
from domain.collaboration.model import Comment
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Missing
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.records.subject import held, subject

BODY_CHARS_MAX = 10_000


async def page(ctx: Ctx, app_id: str, entity: str, id: str, args: PageArgs) -> Page[Comment]:
    """What was said of a record, newest first. Raises Denied, Missing; Invalid."""
    about = await subject(ctx, app_id, entity, id)
    rows = attached.of(ctx, Comment, about)
    scope = f"comments:{app_id}:{entity}:{about.id}"
    return await keyset_page(ctx, rows, args, scope=scope, by=(Comment.created_at, Comment.id), descending=True)


async def add(ctx: Ctx, app_id: str, entity: str, id: str, body: str) -> Comment:
    """Say something of a record. Raises Denied, Missing; Invalid on `id` or `body`."""
    about = await held(ctx, app_id, entity, id)
    author_id = ctx.user()
    row = await ctx.add(Comment(**attached.place(about), author_id=author_id, body=_checked(body), edited_at=None))
    ctx.emit(CommentAdded(app_id, entity, about.id, row.id, author_id))
    return row


async def edit(ctx: Ctx, id: UUID, body: str) -> Comment:
    """Say something else. Raises Missing; Denied for somebody else's; Invalid on `body`."""
    row = await _own(ctx, id)
    row.body, row.edited_at = _checked(body), ctx.now
    await ctx.flush()
    ctx.emit(CommentEdited(row.app_id, row.entity, row.record_id, row.id))
    return row


async def delete(ctx: Ctx, id: UUID) -> Comment:
    """Take it back. Returns what it was. Raises Missing; Denied for somebody else's."""
    row = await _own(ctx, id)
    await ctx.remove(row)
    ctx.emit(CommentDeleted(row.app_id, row.entity, row.record_id, row.id))
    return row


async def _own(ctx: Ctx, id: UUID) -> Comment:
    author_id = ctx.user()
    row = await ctx.lock(Comment, id)
    about = await subject(ctx, row.app_id, row.entity, row.record_id)
    if about.created_at != row.record_created_at:
        raise Missing("comment not found")  # it was said of a record before this one
    if row.author_id != author_id:
        raise Denied("a comment is changed by who wrote it, and by nobody else")
    return row


def _checked(body: str) -> str:
    if not 1 <= len(body.strip()) <= len(body) <= BODY_CHARS_MAX:
        raise Invalid("body", f"body must be 1 to {BODY_CHARS_MAX} characters, and not only blanks")
    if "\x00" in body:
        raise Invalid("body", "body must not hold the character U+0000")
    return body
