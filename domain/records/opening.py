"""What every verb on records begins with.

In this order: may this app be spoken of at all, is the id one, may the caller, is there such an entity; only then is
the input looked at (RootCX Data API, "Order of checks").
"""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.access.permissions import Verb, policy_key, record_key
from domain.apps.reserved import refuse_reserved
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing
from domain.kernel.ids import parse_uuid
from domain.records.declared import AppSchema, ObjectType, Policy
from domain.records.policies import bound_by, seen_by
from domain.records.types import ListType, NotOfType


@dataclass(frozen=True, slots=True)
class Opened:
    """An entity the caller may use, as they may see it."""

    schema: AppSchema
    entity: ObjectType


async def opened(ctx: Ctx, app_id: str, entity: str, verb: Verb) -> Opened:
    """The entity, for `verb`. Raises Unauthenticated, Denied, Missing."""
    refuse_reserved(ctx, app_id)
    ctx.user()
    schema = await ctx.ports.catalog.find(ctx, app_id)
    if schema is None:
        ctx.need(record_key(app_id, entity, verb))
        raise Missing(f"app '{app_id[:80]}' not found")
    shown = seen_by(schema, ctx.actor.grants)
    found = shown.types.get(entity)
    held = None if found is None or found.guard is None else found.guard.held[verb]
    _need(ctx, schema, entity, verb, [one.policy for one in held or ()])
    if found is None:
        raise Missing(f"entity '{entity[:80]}' not found in app '{app_id[:80]}'")
    return Opened(shown, found)


def need_verb(ctx: Ctx, schema: AppSchema, entity: str, verb: Verb) -> None:
    """Raises Denied where the caller may do that to none of the entity's records, as their grants are now."""
    declared = schema.types.get(entity)
    bound = None if declared is None else bound_by(schema, declared, verb, ctx.actor.grants)
    _need(ctx, schema, entity, verb, bound or ())


def _need(ctx: Ctx, schema: AppSchema, entity: str, verb: Verb, policies: Sequence[Policy]) -> None:
    """Raises Denied without the permission to go as far as these policies, or all the way where there are none."""
    for policy in policies:
        ctx.need(policy_key(schema.app_id, entity, verb, policy.name))
    if not policies:
        ctx.need(record_key(schema.app_id, entity, verb))


def may_verb(ctx: Ctx, schema: AppSchema, entity: ObjectType, verb: Verb) -> bool:
    """Whether the caller may do that to any of the entity's records."""
    bound = bound_by(schema, entity, verb, ctx.actor.grants)
    return bound is None or bool(bound)


def seen(ctx: Ctx, schema: AppSchema, entity: str) -> Opened:
    """A declared entity as the caller may see it."""
    shown = seen_by(schema, ctx.actor.grants)
    return Opened(shown, shown.types[entity])


def record_id(ctx: Ctx, app_id: str, id: str) -> str:
    """The id, if it is one: records are addressed by UUID. Raises Invalid, and Denied before that."""
    refuse_reserved(ctx, app_id)
    parsed = parse_uuid(id)
    if parsed is None:
        raise Invalid("id", f"invalid UUID: '{id[:80]}'")
    return str(parsed)


def id_operand(entity: ObjectType, id: str) -> object:
    """The id as the entity's ids are. Raises Missing where they are of a kind that is never a UUID."""
    type = entity.columns["id"].type
    if isinstance(type, ListType):  # which no list of ids could hold
        raise missing(id)
    try:
        return type.operand(id)
    except NotOfType:
        raise missing(id) from None


def missing(id: str) -> Missing:
    """The one wording for a record that is not there."""
    return Missing(f"record '{id}' not found")
