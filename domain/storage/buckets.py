"""Buckets: what there is, who may put what into it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, exists, select
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Invalid, Missing, Reason, Unsupported
from domain.storage.model import Bucket, StorageObject
from domain.storage.names import check_bucket_name, clean_allowed_types, is_allowed, key_of
from domain.storage.rights import ANY, Action, bucket_key, need

DEFAULT = "default"  # every tenant has it, from its first moment on
BUCKETS_MAX = 10_000
FILE_SIZE_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Rules:
    """What a bucket takes, and who may read what is in it. `max_file_size` is in bytes; None is no limit of its own."""

    public: bool = False
    max_file_size: int | None = None
    allowed_types: Sequence[str] | None = None


async def buckets(ctx: Ctx) -> Sequence[Bucket]:
    """All buckets by name. Raises Denied."""
    need(ctx, ANY, Action.READ)
    return await ctx.all(ctx.visible(Bucket).order_by(Bucket.name).limit(BUCKETS_MAX))


async def bucket(ctx: Ctx, name: str) -> Bucket:
    """One bucket. Raises Denied, Missing."""
    need(ctx, name, Action.READ)
    return await there(ctx, name)


async def find(ctx: Ctx, name: str) -> Bucket | None:
    """The bucket, if there is one; whether it may be used is decided elsewhere."""
    return await ctx.first(_named(ctx, name))


async def there(ctx: Ctx, name: str) -> Bucket:
    """As `find`. Raises Missing."""
    return _found(await find(ctx, name), name)


async def _locked(ctx: Ctx, name: str) -> Bucket:
    return _found(await ctx.first(_named(ctx, name).with_for_update()), name)


def _named(ctx: Ctx, name: str) -> Select[Bucket]:
    return ctx.visible(Bucket).where(Bucket.name == name)


def _found(row: Bucket | None, name: str) -> Bucket:
    if row is None:
        raise Missing(f"bucket '{name}' not found", field="bucket")
    return row


async def create(ctx: Ctx, name: str, rules: Rules) -> Bucket:
    """Make a bucket. Raises Denied; Conflict when the name is taken; Invalid on `name` or a rule."""
    need(ctx, ANY, Action.ADMIN)
    check_bucket_name(name)
    made = {"tenant_id": ctx.tenant_id, "name": name, "key": key_of(name), "created_at": ctx.now, **_columns(rules)}
    statement = insert(Bucket).values(made).on_conflict_do_nothing().returning(Bucket)
    row: Bucket | None = (await ctx.execute(statement)).scalars().first()
    if row is None:
        raise Conflict(f"bucket '{name}' already exists", field="name", reason=Reason.NAME_TAKEN)
    await access.offer_keys(ctx, {bucket_key(name, action): f"{action} in bucket {name}" for action in Action})
    return row


def _columns(rules: Rules) -> dict[str, object]:
    most = rules.max_file_size
    if most is not None and not 0 < most <= FILE_SIZE_MAX:
        raise Invalid("maxFileSize", "maxFileSize must be a number of bytes above 0")
    types = clean_allowed_types(rules.allowed_types)
    return {"public": rules.public, "max_file_size": most, "allowed_types": types}


async def change(ctx: Ctx, name: str, to: Callable[[Rules], Rules]) -> Bucket:
    """Give a bucket other rules; what is in it already stays. Raises Denied, Missing; Invalid on a rule."""
    need(ctx, ANY, Action.ADMIN)
    row = await _locked(ctx, name)
    rules = to(Rules(row.public, row.max_file_size, row.allowed_types))
    for column, value in _columns(rules).items():
        setattr(row, column, value)
    await ctx.flush()
    return row


async def delete(ctx: Ctx, name: str) -> Bucket:
    """Take an empty bucket away. Raises Denied, Missing; Invalid for `default`; Conflict while it holds anything."""
    need(ctx, ANY, Action.ADMIN)
    if name == DEFAULT:
        raise Invalid("name", "bucket 'default' cannot be deleted")
    row = await _locked(ctx, name)  # nothing is put into it from here on
    inside = exists().where(StorageObject.tenant_id == ctx.tenant_id, StorageObject.bucket == name)
    if (await ctx.execute(select(inside))).scalar():
        raise Conflict(f"bucket '{name}' still has objects")
    await access.withdraw_keys(ctx, [bucket_key(name, action) for action in Action])
    await ctx.remove(row)
    return row


def check_type(bucket: Bucket, media_type: str) -> None:
    """Raises Unsupported for a type that the bucket does not take."""
    if not is_allowed(media_type, bucket.allowed_types):
        allowed = ", ".join(bucket.allowed_types or ())
        text = f"bucket '{bucket.name}' does not take {media_type}: allowed are {allowed}"
        raise Unsupported(text, field="file", reason=Reason.TYPE_NOT_ALLOWED)


def bytes_max(ctx: Ctx, bucket: Bucket) -> int:
    """The largest file that the bucket takes."""
    return min(bucket.max_file_size or FILE_SIZE_MAX, ctx.ports.upload_bytes_max)
