"""Roles: writing them, giving them, and what they come to for one user."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, delete, exists, func, literal, select, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from domain.access.events import AccessChanged
from domain.access.model import PermissionKey, Role, RoleAssignment
from domain.access.permissions import EVERYTHING, Grants, is_key
from domain.access.scope import ADMIN, CORE, Scope, app_admin_role, scope_of
from domain.apps.model import App
from domain.identity.model import AccountKind, User
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Invalid, Missing, permission_denied

ROLE_NAME_CHARS_MAX = 128
ROLES_MAX = 10_000
INHERITANCE_DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role as its scope sees it."""

    name: str
    description: str | None
    inherits: list[str]
    permissions: list[str]


@dataclass(frozen=True, slots=True)
class AssignmentView:
    """A role held by a user, as its scope sees it."""

    user_id: UUID
    role: str
    assignment: RoleAssignment


@dataclass(frozen=True, slots=True)
class Effective:
    """What a user's roles come to: names and keys, both sorted, inherited ones included."""

    roles: list[str]
    permissions: list[str]


@dataclass(frozen=True, slots=True)
class RoleChanges:
    """What to write of a role; None leaves as it is, `clear_description` takes the text away."""

    description: str | None = None
    inherits: Sequence[str] | None = None
    permissions: Sequence[str] | None = None
    clear_description: bool = False

    @property
    def nothing(self) -> bool:
        """Whether no part is given."""
        return (self.description, self.inherits, self.permissions) == (None, None, None) and (
            not self.clear_description
        )


async def _scope(ctx: Ctx, app_id: str | None) -> Scope:
    """The scope, if its app is installed. Raises Unauthenticated, Missing."""
    ctx.user()
    if app_id is not None and app_id != CORE:
        installed = await ctx.first(ctx.visible(App).where(App.id == app_id))
        if installed is None:
            raise Missing(f"app '{app_id}' not found")
    return scope_of(app_id)


async def _ruled_scope(ctx: Ctx, app_id: str | None) -> Scope:
    """The scope, if the caller administers it. Raises Unauthenticated, Missing, Denied."""
    scope = await _scope(ctx, app_id)
    ctx.need(scope.admin_key)
    return scope


# Reading.


async def roles(ctx: Ctx, app_id: str | None = None) -> list[RoleView]:
    """The roles of the installation or of one app, by name. Raises Unauthenticated, Missing."""
    scope = await _scope(ctx, app_id)
    rows = await ctx.all(_within(ctx.visible(Role), scope).order_by(Role.name).limit(ROLES_MAX))
    return sorted((_view(scope, row) for row in rows), key=lambda view: view.name)


def _within(rows: Select[Role], scope: Scope) -> Select[Role]:
    if scope.app_id is None:
        return rows
    own = Role.name.startswith(f"{scope.app_id}:", autoescape=True)
    return rows.where(own | (Role.name == scope.admin_role))


def _view(scope: Scope, role: Role) -> RoleView:
    return RoleView(
        scope.own_role(role.name) or role.name,
        role.description,
        [scope.own_role(name) or name for name in role.inherits],
        [scope.own_key(key) or key for key in role.permissions],
    )


async def assignments(ctx: Ctx, app_id: str | None = None) -> list[AssignmentView]:
    """Who holds which role, newest first. Raises Denied, Missing."""
    scope = await _ruled_scope(ctx, app_id)
    newest = ctx.visible(RoleAssignment).order_by(
        RoleAssignment.assigned_at.desc(), RoleAssignment.user_id, RoleAssignment.role
    )
    rows = await ctx.all(newest.limit(ROLES_MAX))
    views = ((scope.own_role(row.role), row) for row in rows)
    return [AssignmentView(row.user_id, name, row) for name, row in views if name is not None]


async def effective(ctx: Ctx, user_id: UUID | None = None, app_id: str | None = None) -> Effective:
    """What a user (without an id, the caller) may do. One's own, or anybody's for an administrator.

    For an app: its roles, and its keys with every wildcard spelled out. Raises Denied, Missing.
    """
    scope = await _scope(ctx, app_id)
    whose = user_id or ctx.user()
    if whose != ctx.user():
        ctx.need(scope.admin_key)
    held = await _held_roles(ctx, whose)
    keys = {key for role in held for key in role.permissions}
    names = {name for role in held if (name := scope.own_role(role.name)) is not None}
    if scope.app_id is None:
        return Effective(sorted(names), sorted(keys))
    grants = Grants(keys)
    if grants.everything:
        names.add(ADMIN)
    registered = await ctx.all(_keys_of(ctx, scope.app_id))
    known = {row.key for row in registered if grants.allows(row.key)}
    spelled = {key for key in keys if not key.endswith(EVERYTHING)}
    return Effective(sorted(names), sorted(own for key in known | spelled if (own := scope.own_key(key)) is not None))


async def given(ctx: Ctx, user_id: UUID) -> Mapping[str, Sequence[str]]:
    """The keys that each role of a user gives, by the role's stored name. For who may know of them."""
    return {role.name: role.permissions for role in await _held_roles(ctx, user_id)}


async def _held_roles(ctx: Ctx, user_id: UUID) -> Sequence[Role]:
    assigned = select(RoleAssignment.role.label("name"), literal(0).label("depth")).where(
        RoleAssignment.tenant_id == ctx.tenant_id, RoleAssignment.user_id == user_id
    )
    return await ctx.all(ctx.visible(Role).where(Role.name.in_(_with_parents(ctx, assigned))))


def _with_parents(ctx: Ctx, start: Select[str, int]) -> Select[str]:
    """The names in `start` and of all their ancestors, up to 64 steps away."""
    held = start.cte("held", recursive=True)
    child = aliased(Role)
    parents = select(func.unnest(child.inherits), held.c.depth + 1).where(
        child.tenant_id == ctx.tenant_id,
        child.name == held.c.name,
        held.c.depth < INHERITANCE_DEPTH_MAX,
    )
    held = held.union(parents)
    return select(held.c.name)


async def available(ctx: Ctx, app_id: str | None = None) -> list[PermissionKey]:
    """The registered keys by name: those the caller holds, or all of one app. Raises Unauthenticated, Missing."""
    scope = await _scope(ctx, app_id)
    if scope.app_id is not None:
        return [_in_scope(scope, row) for row in await ctx.all(_keys_of(ctx, scope.app_id))]
    rows = await ctx.all(ctx.visible(PermissionKey).order_by(PermissionKey.key).limit(ROLES_MAX))
    return [row for row in rows if ctx.may(row.key)]


def _in_scope(scope: Scope, row: PermissionKey) -> PermissionKey:
    return PermissionKey(key=scope.own_key(row.key) or row.key, description=row.description)


def _keys_of(ctx: Ctx, app_id: str) -> Select[PermissionKey]:
    own = (PermissionKey.app_id == app_id) | PermissionKey.key.startswith("tool:")
    return ctx.visible(PermissionKey).where(own).order_by(PermissionKey.key).limit(ROLES_MAX)


def registered_key(ctx: Ctx, key: str) -> Select[PermissionKey]:
    """The registry's row of `key`."""
    return ctx.visible(PermissionKey).where(PermissionKey.key == key)


# Writing. Whoever writes roles waits for the others of the tenant: inheritance and "the last administrator" are
# rules over many rows.


async def _alone(ctx: Ctx) -> None:
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"roles:{ctx.tenant_id}", 0))))


async def create_role(ctx: Ctx, name: str, changes: RoleChanges, app_id: str | None = None) -> RoleView:
    """Write a new role. Raises Denied, Missing; Invalid on `name`, `inherits` or `permissions`."""
    scope = await _ruled_scope(ctx, app_id)
    name = name.strip()
    if not name or len(name) > ROLE_NAME_CHARS_MAX or not name.isprintable():
        raise Invalid("name", f"role name must be 1 to {ROLE_NAME_CHARS_MAX} printable characters")
    if name == ADMIN:
        raise Invalid("name", "role name 'admin' is reserved")
    await _alone(ctx)
    stored = scope.stored_role(name)
    if await ctx.first(ctx.visible(Role).where(Role.name == stored)) is not None:
        raise Invalid("name", f"role '{name}' already exists")
    role = Role(name=stored, description=changes.description, inherits=[], permissions=[])
    await _rewrite(ctx, scope, role, changes)
    await ctx.add(role)
    return _view(scope, role)


async def update_role(ctx: Ctx, name: str, changes: RoleChanges, app_id: str | None = None) -> RoleView:
    """Write parts of a role anew; lists are replaced whole. Raises Denied, Missing, Invalid."""
    scope = await _ruled_scope(ctx, app_id)
    if changes.nothing:
        raise Invalid(None, "nothing to update: give description, inherits or permissions")
    if name == ADMIN and (changes.inherits is not None or changes.permissions is not None):
        raise Invalid("name", "the permissions of role 'admin' cannot be changed")
    await _alone(ctx)
    role = await _role(ctx, scope, name)
    if changes.description is not None or changes.clear_description:
        role.description = changes.description
    await _rewrite(ctx, scope, role, changes)
    await ctx.flush()
    ctx.emit(AccessChanged())
    return _view(scope, role)


async def _role(ctx: Ctx, scope: Scope, name: str) -> Role:
    role = await ctx.first(ctx.visible(Role).where(Role.name == scope.stored_role(name)))
    if role is None:
        raise Missing(f"role '{name}' not found")
    return role


async def _rewrite(ctx: Ctx, scope: Scope, role: Role, changes: RoleChanges) -> None:
    """Put the lists of `changes` into `role`. Raises Invalid, Denied."""
    if changes.permissions is not None:
        role.permissions = [_given_key(ctx, scope, key) for key in dict.fromkeys(changes.permissions)]
    if changes.inherits is not None:
        role.inherits = [scope.stored_role(parent) for parent in dict.fromkeys(changes.inherits)]
        if await _descends(ctx, role):
            raise Invalid("inherits", "inheritance cycle: the role would inherit from itself")


def _given_key(ctx: Ctx, scope: Scope, key: str) -> str:
    """The stored form of `key`, which the caller may give away. Raises Invalid, Denied."""
    if not is_key(key):
        raise Invalid("permissions", f"invalid permission key '{key}': use a-z 0-9 _ : . *")
    stored = scope.stored_key(key)
    if not ctx.may(stored):
        raise permission_denied(stored)
    return stored


async def _descends(ctx: Ctx, role: Role) -> bool:
    """Whether `role`, with the parents it has in memory, is its own ancestor."""
    if role.name in role.inherits:
        return True
    if not role.inherits:
        return False
    parents = union(*(select(literal(name).label("name"), literal(0).label("depth")) for name in role.inherits))
    named = parents.subquery()
    ancestors = _with_parents(ctx, select(named.c.name, named.c.depth)).subquery()
    return bool((await ctx.execute(select(exists().where(ancestors.c.name == role.name)))).scalar())


async def delete_role(ctx: Ctx, name: str, app_id: str | None = None) -> None:
    """Delete a role and take it from everybody. Raises Denied, Missing; Invalid for `admin`."""
    scope = await _ruled_scope(ctx, app_id)
    if name == ADMIN:
        raise Invalid("name", "role 'admin' cannot be deleted")
    await _alone(ctx)
    role = await _role(ctx, scope, name)
    held = delete(RoleAssignment).where(RoleAssignment.tenant_id == ctx.tenant_id, RoleAssignment.role == role.name)
    await ctx.execute(held)
    await ctx.remove(role)
    ctx.emit(AccessChanged())


async def assign_role(ctx: Ctx, user_id: UUID, name: str, app_id: str | None = None) -> None:
    """Give a role to a user, who may have it already. Raises Denied, Missing; Invalid for an unknown role.

    The system's own account takes none: it could not use one, and would count among the administrators.
    """
    scope = await _ruled_scope(ctx, app_id)
    await _alone(ctx)
    stored = scope.stored_role(name)
    if await ctx.first(ctx.visible(Role).where(Role.name == stored)) is None:
        raise Invalid("role", f"role '{name}' is not defined")
    user = await ctx.one(User, user_id)
    if user.kind == AccountKind.SYSTEM:
        raise Missing("user not found")
    await give_role(ctx, user_id, stored)


async def give_role(ctx: Ctx, user_id: UUID, stored: str) -> None:
    """Write the assignment; whether it may be is decided by now."""
    row = {"tenant_id": ctx.tenant_id, "user_id": user_id, "role": stored, "assigned_at": ctx.now}
    await ctx.execute(insert(RoleAssignment).values(row).on_conflict_do_nothing())
    ctx.emit(AccessChanged(user_id))


async def revoke_role(ctx: Ctx, user_id: UUID, name: str, app_id: str | None = None) -> None:
    """Take a role from a user. Raises Denied; Missing for one not held; Invalid for the last administrator's."""
    scope = await _ruled_scope(ctx, app_id)
    await _alone(ctx)
    stored = scope.stored_role(name)
    holders = await ctx.all(_holders(ctx, stored))
    mine = next((row for row in holders if row.user_id == user_id), None)
    if mine is None:
        raise Missing(f"the user does not hold role '{name}'")
    if stored == scope.admin_role and len(holders) == 1:
        raise Invalid("userId", "cannot revoke the last admin")
    await ctx.remove(mine)
    ctx.emit(AccessChanged(user_id))


def _holders(ctx: Ctx, stored: str) -> Select[RoleAssignment]:
    return ctx.visible(RoleAssignment).where(RoleAssignment.role == stored).limit(ROLES_MAX)


# What other areas ask for.


async def is_role(ctx: Ctx, name: str) -> bool:
    """Whether there is a stored role of this name."""
    return await ctx.first(ctx.visible(Role).where(Role.name == name)) is not None


@dataclass(frozen=True, slots=True)
class Held:
    """The roles an account holds, inherited ones included, and what they come to."""

    roles: frozenset[str]
    grants: Grants

    def may_give(self, role: str) -> bool:
        """Whether the account may hand the role on: an administrator any, others their own."""
        return self.grants.everything or role in self.roles


async def held(ctx: Ctx, user_id: UUID) -> Held:
    """What an account holds at this moment."""
    roles = await _held_roles(ctx, user_id)
    return Held(frozenset(role.name for role in roles), Grants(key for role in roles for key in role.permissions))


async def make_first_admin(ctx: Ctx, user_id: UUID) -> bool:
    """Give the role `admin` to this user if nobody holds it. Of many at the same moment exactly one gets it."""
    await _alone(ctx)
    if await ctx.first(_holders(ctx, ADMIN)) is not None:
        return False
    await give_role(ctx, user_id, ADMIN)
    return True


async def refuse_to_orphan(ctx: Ctx, user_id: UUID) -> None:
    """Raises Invalid when `user_id` is the only administrator left."""
    await _alone(ctx)
    holders = await ctx.all(_holders(ctx, ADMIN))
    if [row.user_id for row in holders] == [user_id]:
        raise Invalid("id", "cannot delete the last admin")


async def make_app_admin(ctx: Ctx, app_id: str, user_id: UUID) -> None:
    """Write the app's administrator role and give it to this user."""
    name = app_admin_role(app_id)
    row = {
        "tenant_id": ctx.tenant_id,
        "name": name,
        "description": f"Administrators of {app_id}",
        "inherits": [],
        "permissions": [Scope(app_id).admin_key],
        "created_at": ctx.now,
    }
    written = insert(Role).values(row)
    await ctx.execute(
        written.on_conflict_do_update(
            index_elements=[Role.tenant_id, Role.name],
            set_={"permissions": written.excluded.permissions, "inherits": written.excluded.inherits},
        )
    )
    await give_role(ctx, user_id, name)


async def provide_role(ctx: Ctx, name: str, description: str, keys: Sequence[str]) -> None:
    """Write a role of the platform's own making, if it is not there: what people made of it stays."""
    row = {"tenant_id": ctx.tenant_id, "name": name, "description": description, "inherits": []}
    await ctx.execute(
        insert(Role).values({**row, "permissions": list(keys), "created_at": ctx.now}).on_conflict_do_nothing()
    )


async def take_roles(ctx: Ctx, user_id: UUID) -> None:
    """Take every role from an account that is none of people's."""
    held = RoleAssignment.user_id == user_id
    await ctx.execute(delete(RoleAssignment).where(RoleAssignment.tenant_id == ctx.tenant_id, held))


async def register_keys(ctx: Ctx, app_id: str, keys: Mapping[str, str]) -> None:
    """Make `keys` (stored form -> description) the registered keys of this app, and only them."""
    await ctx.execute(
        delete(PermissionKey).where(PermissionKey.tenant_id == ctx.tenant_id, PermissionKey.app_id == app_id)
    )
    rows = [
        {"tenant_id": ctx.tenant_id, "key": key, "description": text, "app_id": app_id}
        for key, text in sorted(keys.items())
    ]
    if rows:
        await ctx.execute(insert(PermissionKey).values(rows).on_conflict_do_nothing())


async def offer_keys(ctx: Ctx, keys: Mapping[str, str]) -> None:
    """Register these keys (key -> description) beside those of apps, when roles are written."""
    rows = [{"tenant_id": ctx.tenant_id, "key": key, "description": text} for key, text in keys.items()]
    await ctx.execute(insert(PermissionKey).values(rows).on_conflict_do_nothing())


async def withdraw_keys(ctx: Ctx, keys: Collection[str]) -> None:
    """Offer these keys no longer. Roles that have them keep them."""
    await ctx.execute(
        delete(PermissionKey).where(PermissionKey.tenant_id == ctx.tenant_id, PermissionKey.key.in_(keys))
    )
