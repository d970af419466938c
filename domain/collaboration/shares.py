"""Sharing single records. What a share lets somebody do is for the policies of the entity to say (`SHARED`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from domain.access.model import Role
from domain.access.permissions import Verb
from domain.collaboration import attached
from domain.collaboration.events import RecordShared, RecordUnshared
from domain.collaboration.model import RecipientType, RecordShare, ShareLevel
from domain.identity.model import User
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.ids import parse_uuid, uuid7
from domain.records.subject import held, subject

SHARES_MAX = 500
REASON_CHARS_MAX = 1000
SOURCE_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom to share with: a user by id, or all who hold a role, by its stored name."""

    type: RecipientType
    id: str


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms. `source` tells shares that people made from those a rule made."""

    level: ShareLevel = ShareLevel.READ
    reason: str | None = None
    source: str = "manual"
    source_id: str | None = None


async def shares(ctx: Ctx, app_id: str, entity: str, id: str) -> Sequence[RecordShare]:
    """Whom a record is shared with, newest first, up to 500. Raises Denied, Missing; Invalid on `id`."""
    rows = attached.of(ctx, RecordShare, await subject(ctx, app_id, entity, id))
    newest = rows.order_by(RecordShare.created_at.desc(), RecordShare.id.desc())
    return await ctx.all(newest.limit(SHARES_MAX))


async def share(ctx: Ctx, app_id: str, entity: str, id: str, recipient: Recipient, terms: Terms) -> RecordShare:
    """Share a record, or change the terms it is shared on with them. Raises Denied, Missing; Invalid."""
    about = await held(ctx, app_id, entity, id, Verb.UPDATE)
    await _refuse_unknown(ctx, recipient)
    if terms.reason is not None and len(terms.reason) > REASON_CHARS_MAX:
        raise Invalid("reason", f"reason must be at most {REASON_CHARS_MAX} characters")
    for name, text in (("source", terms.source), ("sourceId", terms.source_id)):
        if text is not None and not 1 <= len(text) <= SOURCE_CHARS_MAX:
            raise Invalid(name, f"{name} must be 1 to {SOURCE_CHARS_MAX} characters")
    given = {
        "record_created_at": about.created_at,
        "level": terms.level,
        "source": terms.source,
        "source_id": terms.source_id,
        "reason": terms.reason,
        "granted_by": ctx.user(),
        "updated_at": ctx.now,
    }
    whom = {"recipient_type": recipient.type, "recipient_id": recipient.id}
    row = {**attached.place(about), **whom, **given, "id": uuid7(), "tenant_id": ctx.tenant_id, "created_at": ctx.now}
    keys = ("tenant_id", "app_id", "entity", "record_id", "recipient_type", "recipient_id")
    upsert = insert(RecordShare).values(row).on_conflict_do_update(index_elements=keys, set_=given)
    stored: RecordShare = (await ctx.execute(upsert.returning(RecordShare))).scalar_one()
    ctx.emit(RecordShared(app_id, entity, about.id, stored.id))
    return stored


async def unshare(ctx: Ctx, app_id: str, entity: str, id: str, share_id: UUID) -> RecordShare:
    """Take a share of this record back. Returns what it was. Raises Denied, Missing; Invalid on `id`."""
    about = await held(ctx, app_id, entity, id, Verb.UPDATE)
    row = await ctx.first(attached.of(ctx, RecordShare, about).where(RecordShare.id == share_id))
    if row is None:
        raise Missing("record share not found")
    await ctx.remove(row)
    ctx.emit(RecordUnshared(app_id, entity, about.id, share_id))
    return row


async def _refuse_unknown(ctx: Ctx, recipient: Recipient) -> None:
    if recipient.type is RecipientType.ROLE:
        known: Any = await ctx.first(ctx.visible(Role).where(Role.name == recipient.id))
    else:
        user_id = parse_uuid(recipient.id)
        known = None if user_id is None else await ctx.first(ctx.visible(User).where(User.id == user_id))
    if known is None:
        raise Invalid("recipient", f"there is no {recipient.type} '{recipient.id[:80]}'")
