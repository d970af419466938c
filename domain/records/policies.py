"""Row and field policies: how much of an entity's records somebody may see and change.

An entity declares policies by name. Whoever holds the key of a verb (`app:crm:deals.read`) is bound by none; whoever
holds it with a policy's name behind it (`app:crm:deals.read:own`) goes as far as that policy, and with several as far
as any of them. What that comes to is a copy of the declaration, with a guard on each entity that is not seen whole:
`domain.records.sql` reads such an entity through the guard, so that conditions, orders, sums, relations, exports and
what is told of changes know no more than their caller may.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.access.permissions import Grants, Verb, policy_key, record_key
from domain.kernel.errors import Denied, Invalid
from domain.kernel.unit import OfCaller
from domain.records.declared import SYSTEM_FIELDS, AppSchema, Field, ObjectType, Policy, Search
from domain.records.query import ALWAYS, All, AnyOf, Condition, Linked, Linking, SharedWith
from domain.records.spelling.native import NativeReader
from domain.records.types import TextType

SEEN_MAX = 256  # declarations as somebody sees them, of one app
POLICY = "the policy"  # what a written row may break, beside its links, which have names that are no two words
SHARE_LEVELS = ("read", "edit", "full")
NEVER = AnyOf([])
CALLER_BOUNDS = ("text", "uuid")


# What a policy says of rows.


class PolicyReader(NativeReader):
    """Reads the condition of a policy: Stoa's own spelling, and three things more.

    `{"actor": "id"}` as an operand is the user who asks. A path of link fields (`company_id.owner_id`) leads to other
    records. `EXISTS` is a list of `{entity, by, where}`: for each, a record of that entity whose link field `by` leads
    here meets `where`. `SHARED` is the level on which the record must have been shared with the user.

    Such a condition looks at records as they are: no policy binds it.
    """

    def __init__(self, schema: AppSchema, type: ObjectType, path: str) -> None:
        super().__init__(type, path)
        self._schema = schema

    def _entry(self, key: str, value: Any, path: str, depth: int) -> Condition:
        if key == "EXISTS":
            if not isinstance(value, list):
                raise Invalid(path, f"{path} must be a list")
            return All([self._exists(part, f"{path}.{index}", depth) for index, part in enumerate(value)])
        if key == "SHARED":
            return self._shared(value, path)
        link, dot, rest = key.partition(".")
        if not dot:
            return super()._entry(key, value, path, depth)
        self.refuse_deep(path, depth)
        field = self.type.columns.get(link)
        if field is None or field.link is None or field.link.target not in self._schema.types:
            raise Invalid(path, f"'{link[:80]}' of '{self.type.name}' is not a link to an entity of the app")
        return Linked(
            field, field.link.target, self._over(field.link.target, path)._entry(rest, value, path, depth + 1)
        )

    def _over(self, entity: str, path: str) -> "PolicyReader":
        return PolicyReader(self._schema, self._schema.types[entity], path)

    def _exists(self, value: Any, path: str, depth: int) -> Condition:
        if not isinstance(value, dict) or set(value) - {"entity", "by", "where"}:
            raise Invalid(path, f"{path} must be an object of entity, by and where")
        entity = self._schema.types.get(str(value.get("entity")))
        if entity is None:
            raise Invalid(f"{path}.entity", f"{path}.entity must be an entity of the app")
        link = entity.columns.get(str(value.get("by")))
        if link is None or link.link is None or link.link.target != self.type.name:
            raise Invalid(
                f"{path}.by", f"{path}.by must be a link field of '{entity.name}' that leads to '{self.type.name}'"
            )
        met = self._over(entity.name, f"{path}.where")._object(value.get("where", {}), f"{path}.where", depth + 1)
        return Linking(link, entity.name, met)

    def _shared(self, value: Any, path: str) -> Condition:
        if value not in SHARE_LEVELS:
            raise Invalid(path, f"{path} must be one of {', '.join(SHARE_LEVELS)}")
        enough = SHARE_LEVELS[SHARE_LEVELS.index(value) :]
        return SharedWith(self._schema.app_id, self.type.name, self._schema.tenant_id, OfCaller.ID, enough)

    def field(self, field: Field, value: Any, path: str) -> Condition:
        """As everywhere; the caller as a plain value is one to be equal to."""
        return super().field(field, {"eq": value} if _is_caller(value) else value, path)

    def operand(self, value: Any, path: str, read: Any) -> Any:
        """As everywhere, or the caller."""
        return OfCaller.ID if _is_caller(value) else super().operand(value, path, read)

    def test(self, field: Field, op: Any, value: Any, path: str) -> Condition:
        """As everywhere; only what holds ids can be compared with the caller."""
        if _is_caller(value) and field.type.bound not in CALLER_BOUNDS:
            raise Invalid(path, f"{path}: a {field.type.name} field cannot be compared with the caller's id")
        return super().test(field, op, value, path)


def _is_caller(value: Any) -> bool:
    return bool(value == {"actor": "id"})


def check_policies(schema: AppSchema) -> None:
    """Raises Invalid with the path of what is wrong in the conditions of the declared policies."""
    for entity in schema.types.values():
        for policy in entity.policies:
            compiled(schema, entity, policy)


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """A policy, its conditions read: `rows` it is about, and what `check` says of a row that was written."""

    policy: Policy
    rows: Condition
    check: Condition


def compiled(schema: AppSchema, entity: ObjectType, policy: Policy) -> CompiledPolicy:
    """The policy of an entity, its conditions read. Raises Invalid."""
    rows = PolicyReader(schema, entity, f"{policy.path}.where").read(policy.where)
    if policy.check is None:
        return CompiledPolicy(policy, rows, rows)
    return CompiledPolicy(policy, rows, PolicyReader(schema, entity, f"{policy.path}.check").read(policy.check))


# What they come to for somebody.


@dataclass(frozen=True, slots=True)
class Shown:
    """A field that is not shown alike in all rows: as it is in those that `clear` holds for, masked in the others
    that `masked` holds for, and in the rest not at all.
    """

    clear: Condition
    masked: Condition


@dataclass(frozen=True)
class Guard:
    """How far somebody may go with an entity, who may not do everything with it.

    `raw` is the declaration without guards, which the conditions speak of. `held` has the policies that bind a verb:
    None where none does, no policy where it is not allowed at all.
    """

    raw: AppSchema
    entity: ObjectType
    rows: Condition  # those that may be seen
    fields: Mapping[str, Shown]
    held: Mapping[Verb, Sequence[CompiledPolicy] | None]
    partial: bool  # whether some field is not shown as it is in each row

    def blurs(self, name: str) -> bool:
        """Whether a field is masked in some row: then values that differ may look the same."""
        shown = self.fields.get(name)
        return shown is not None and shown.masked != NEVER

    def changeable(self, verb: Verb, names: Iterable[str]) -> Condition:
        """Which rows `verb` may be done to, where it writes these fields. Raises Denied."""
        met = [one.rows for one in self._writing(verb, names)]
        return self.rows if self.held[verb] is None else All([self.rows, AnyOf(met)])

    def check(self, verb: Verb, names: Iterable[str]) -> Condition:
        """What must hold of a row that `verb` has written. Raises Denied."""
        met = [one.check for one in self._writing(verb, names)]
        return ALWAYS if self.held[verb] is None else AnyOf(met)

    def closed(self, verb: Verb) -> frozenset[str]:
        """The fields that `verb` can write in no row."""
        held = self.held[verb]
        return frozenset.intersection(*(one.policy.closed for one in held)) if held else frozenset()

    def refuse_closed(self, names: Iterable[str]) -> None:
        """Raises Denied where a policy that binds some verb closes one of these fields."""
        closed = {name for held in self.held.values() for one in held or () for name in one.policy.closed}
        for name in names:
            if name in closed:
                raise Denied(f"field '{name}' is read-only for you", field=name)

    def _writing(self, verb: Verb, names: Iterable[str]) -> list[CompiledPolicy]:
        """The policies under which all of these fields may be written."""
        held, written = self.held[verb], set(names) - set(SYSTEM_FIELDS)
        if held is None:
            return []
        found = [one for one in held if not written & one.policy.closed]
        if not found:
            closed = sorted(written & frozenset.union(*(one.policy.closed for one in held)) if held else written)
            name = closed[0] if closed else None
            raise Denied(f"field '{name}' is read-only for you", field=name)
        return found


def bound_by(schema: AppSchema, entity: ObjectType, verb: Verb, grants: Grants) -> Sequence[Policy] | None:
    """The policies as far as which `verb` is allowed: None where it is without any, none where it is not at all."""
    if grants.allows(record_key(schema.app_id, entity.name, verb)):
        return None
    return [
        policy
        for policy in entity.policies
        if verb in policy.verbs and grants.allows(policy_key(schema.app_id, entity.name, verb, policy.name))
    ]


def seen_by(schema: AppSchema, grants: Grants) -> AppSchema:
    """The declaration as these grants let somebody see it; the same one, where no policy binds them."""
    if not schema.has_policies or grants.everything:
        return schema
    found = schema.seen.get(grants.keys)
    if found is None:
        types = {name: _seen(schema, entity, grants) for name, entity in schema.types.items()}
        bound = any(type is not schema.types[name] for name, type in types.items())
        found = schema.seen[grants.keys] = replace(schema, types=types, seen={}) if bound else schema
        while len(schema.seen) > SEEN_MAX:
            schema.seen.pop(next(iter(schema.seen)))
    return found


def _seen(schema: AppSchema, entity: ObjectType, grants: Grants) -> ObjectType:
    if not entity.policies:
        return entity
    policies = {verb: bound_by(schema, entity, verb, grants) for verb in Verb}
    if all(bound is None for bound in policies.values()):
        return entity
    held = {
        verb: None if bound is None else [compiled(schema, entity, policy) for policy in bound]
        for verb, bound in policies.items()
    }
    reading = held[Verb.READ]
    if reading is not None and not reading:  # who may only write is shown what was written
        others = [bound for verb, bound in held.items() if verb is not Verb.READ and bound != []]
        reading = None if None in others else [one for bound in others for one in bound or ()]
        rows: Condition = ALWAYS
    else:
        rows = ALWAYS if reading is None else AnyOf([one.rows for one in reading])
    hidden, fields = _fields(entity, reading)
    left = tuple(_loosened(field, fields) for field in entity.fields if field.name not in hidden)
    guard = Guard(schema, entity, rows, fields, held, bool(hidden or fields))
    return replace(entity, fields=left, guard=guard, search=_searched(entity.search, hidden))


def _searched(search: Search | None, hidden: frozenset[str]) -> Search | None:
    """What is searched of fields that are shown. No index is of that, where there are others."""
    fields = tuple(field for field in search.fields if field.name not in hidden) if search is not None else ()
    return replace(search, fields=fields) if search is not None and fields else None


def _fields(entity: ObjectType, reading: Sequence[CompiledPolicy] | None) -> tuple[frozenset[str], dict[str, Shown]]:
    """The fields that are never shown, and those that are not in each row."""
    hidden, fields = set(), {}
    for field in entity.fields if reading else ():
        clear = [one.rows for one in reading or () if field.name not in one.policy.hidden | one.policy.masked]
        masked = [one.rows for one in reading or () if field.name in one.policy.masked]
        if not clear and not masked:
            hidden.add(field.name)
        elif len(clear) < len(reading or ()):
            fields[field.name] = Shown(AnyOf(clear), AnyOf(masked))
    return frozenset(hidden), fields


def _loosened(field: Field, guarded: Mapping[str, Shown]) -> Field:
    """A field that isn't shown in each row may be empty, whatever is declared."""
    return replace(field, required=False) if field.name in guarded else field


def of_any_row(entity: ObjectType) -> ObjectType:
    """The entity as somebody sees those of its records that they have just written."""
    return entity if entity.guard is None else replace(entity, guard=replace(entity.guard, rows=ALWAYS))


def maskable(field: Field) -> bool:
    """Whether a value of the field can be shown in part."""
    return isinstance(field.type, TextType) and field.options is None and field.computed is None
