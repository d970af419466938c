"""What every verb on records begins with.

In this order: may this app be spoken of at all, is the id one, may the caller, is there such an entity; only then is
the input looked at (RootCX Data API, "Order of checks").
"""

from dataclasses import dataclass

from domain.access.permissions import Verb, record_key
from domain.apps.reserved import refuse_reserved
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.ids import parse_uuid
from domain.records.declared import AppSchema, ObjectType


@dataclass(frozen=True, slots=True)
class Opened:
    """An entity the caller may use."""

    schema: AppSchema
    entity: ObjectType


async def opened(ctx: Ctx, app_id: str, entity: str, verb: Verb) -> Opened:
    """The entity, for `verb`. Raises Unauthenticated, Denied, Missing."""
    refuse_reserved(ctx, app_id)
    ctx.need(record_key(app_id, entity, verb))
    schema = await ctx.ports.catalog.find(ctx, app_id)
    if schema is None:
        raise Missing(f"app '{app_id[:80]}' not found")
    if entity not in schema.types:
        raise Missing(f"entity '{entity[:80]}' not found in app '{app_id[:80]}'")
    return Opened(schema, schema.types[entity])


def record_id(ctx: Ctx, app_id: str, id: str) -> str:
    """The id, if it is one: records are addressed by UUID. Raises Invalid, and Denied before that."""
    refuse_reserved(ctx, app_id)
    parsed = parse_uuid(id)
    if parsed is None:
        raise Invalid("id", f"invalid UUID: '{id[:80]}'")
    return str(parsed)
