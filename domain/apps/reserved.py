"""Ids that no app can have: those of the system's own schemas."""

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied
from domain.kernel.model import SCHEMA

RESERVED = ("rootcx_system", "information_schema", "core", SCHEMA)


def is_reserved(app_id: str) -> bool:
    """Whether the id names a schema of the system (RootCX, reserved schemas)."""
    return app_id in RESERVED or app_id.startswith("pg_")


def refuse_reserved(ctx: Ctx, app_id: str) -> None:
    """Raises Unauthenticated; Denied for an id of the system's, whatever else may be wrong with what is asked."""
    ctx.user()
    if is_reserved(app_id):
        raise Denied(f"access to schema '{app_id[:80]}' is blocked")
