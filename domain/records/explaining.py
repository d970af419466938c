"""Why somebody may do something with records, or may not: for who administers the app."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.access import service as access
from domain.access.permissions import Grants, Verb, policy_key, record_key
from domain.access.scope import Scope
from domain.identity.model import User
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Missing
from domain.kernel.rawjson import RawJson
from domain.kernel.unit import OfCaller, Statement
from domain.records import sql
from domain.records.declared import AppSchema, ObjectType
from domain.records.opening import id_operand, record_id
from domain.records.policies import bound_by, compiled, seen_by
from domain.records.sql import ROW, Params, condition, relation


@dataclass(frozen=True, slots=True)
class PolicySaid:
    """What one policy says of a verb. `holds` tells whether the record is one of its rows; None without a record."""

    name: str
    description: str
    permission: str
    held: bool
    holds: bool | None
    hidden: Sequence[str]
    masked: Sequence[str]
    read_only: Sequence[str]


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a verb is allowed to a user, or not: for one record, or (without one) for any.

    `permission` is the key that goes all the way, `roles` are those that give the user one of the keys at stake, and
    `record` is what the user sees of the record; None where it is not there for them.
    """

    allowed: bool
    reason: str
    permission: str
    held: bool
    roles: Sequence[str]
    policies: Sequence[PolicySaid]
    record: RawJson | None


async def explain(ctx: Ctx, app_id: str, entity: str, user_id: UUID, verb: Verb, id: str | None = None) -> Explained:
    """Why. Raises Denied to who does not administer the app; Missing; Invalid on `id`."""
    ctx.need(Scope(app_id).admin_key)
    schema = await ctx.ports.catalog.find(ctx, app_id)
    if schema is None or entity not in schema.types:
        raise Missing(f"entity '{entity[:80]}' not found in app '{app_id[:80]}'")
    await ctx.one(User, user_id)
    given = await access.given(ctx, user_id)
    grants = Grants(key for keys in given.values() for key in keys)
    declared = schema.types[entity]
    operand = None if id is None else id_operand(declared, record_id(ctx, app_id, id))
    holds = {} if id is None else await _holds(ctx, schema, declared, user_id, operand)
    key = record_key(app_id, entity, verb)
    said = [
        PolicySaid(
            policy.name,
            policy.description,
            policy_key(app_id, entity, verb, policy.name),
            grants.allows(policy_key(app_id, entity, verb, policy.name)),
            holds.get(policy.name),
            sorted(policy.hidden),
            sorted(policy.masked),
            sorted(policy.read_only),
        )
        for policy in declared.policies
        if verb in policy.verbs
    ]
    asked = [key, *(one.permission for one in said)]
    roles = sorted(name for name, keys in given.items() if any(Grants(keys).allows(one) for one in asked))
    record = None if id is None else await _seen(ctx, schema, entity, grants, user_id, operand)
    allowed, reason = _verdict(verb, grants.allows(key), said, id is not None, record is not None)
    return Explained(allowed, reason, key, grants.allows(key), roles, said, record)


def _verdict(verb: Verb, whole: bool, said: Sequence[PolicySaid], one: bool, seen: bool) -> tuple[bool, str]:
    bound = [policy.name for policy in said if policy.held]
    meant = [policy.name for policy in said if policy.held and policy.holds]
    if not whole and not bound:
        return False, f"no role of theirs gives the permission to {verb}, not even as far as a policy goes"
    if one and verb is not Verb.CREATE and not seen:
        return False, "the record is not there, or none of their policies lets them see it"
    if whole:
        return True, "a role of theirs gives the permission, which goes all the way"
    if one and not meant:
        return False, f"the record is not one of the rows of {', '.join(bound)}"
    return True, f"they may as far as {', '.join(meant if one else bound)} goes"


async def _holds(ctx: Ctx, schema: AppSchema, entity: ObjectType, user_id: UUID, id: object) -> dict[str, bool]:
    """Which policies the record is a row of, by name; none, where there is no such record."""
    params, type = Params(), entity.columns["id"].type
    made = [(policy.name, compiled(schema, entity, policy).rows) for policy in entity.policies]
    columns = [f"coalesce({condition(schema, rows, params)}, false) AS p{n}" for n, (_, rows) in enumerate(made)]
    where = f"{ROW}.id = {params.add(id, type.bound)}"
    text = f"SELECT {', '.join(columns) or 'true'} FROM {relation(schema, entity)} {ROW} WHERE {where}"
    rows = await ctx.fetch(_as(user_id, Statement(text, tuple(params.values))))
    return {name: rows[0][f"p{n}"] for n, (name, _) in enumerate(made)} if rows else {}


async def _seen(ctx: Ctx, schema: AppSchema, entity: str, grants: Grants, user_id: UUID, id: object) -> RawJson | None:
    """The record as the user sees it."""
    bound = bound_by(schema, schema.types[entity], Verb.READ, grants)
    if bound is not None and not bound:
        return None
    shown = seen_by(schema, grants)
    rows = await ctx.fetch(_as(user_id, sql.by_id(shown, shown.types[entity], id)))
    return RawJson(rows[0]["doc"]) if rows else None


def _as(user_id: UUID, statement: Statement) -> Statement:
    """The statement as it would be that user's."""
    return Statement(statement.sql, tuple(str(user_id) if value is OfCaller.ID else value for value in statement.args))
