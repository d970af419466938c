"""Who may do what with which bucket (RootCX storage, "Permission rule")."""

from enum import StrEnum

from domain.kernel.ctx import Ctx
from domain.storage.names import key_of

ANY = "*"  # the pseudo-bucket whose rights are those over buckets themselves


class Action(StrEnum):
    """What may be done with a bucket's objects; `admin` is about the buckets."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


def general_key(action: Action) -> str:
    """The key that allows `action` in every bucket."""
    return f"storage:{action}"


def bucket_key(bucket: str, action: Action) -> str:
    """The key that allows `action` in one bucket."""
    return f"storage:{bucket if bucket == ANY else key_of(bucket)}:{action}"


def need(ctx: Ctx, bucket: str, action: Action) -> None:
    """Raises Unauthenticated, Denied: either key will do."""
    general = general_key(action)
    ctx.need(general if ctx.may(general) else bucket_key(bucket, action))
