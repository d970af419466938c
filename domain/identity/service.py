"""Accounts: registering, signing in and out, renewing, listing, deleting."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.access import service as access
from domain.access.events import AccessChanged
from domain.access.permissions import EVERYTHING, Permission
from domain.identity.guessing import guess
from domain.identity.model import AccountKind, LoginName, Session, User
from domain.identity.names import PASSWORD_CHARS_MAX, check_password, clean_email, clean_name, login_key
from domain.identity.ports import RefreshClaims
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Conflict, Denied, Invalid, Missing, Reason, Unauthenticated
from domain.kernel.page import Page, PageArgs, keyset_page
from domain.kernel.unit import FOREIGN_KEY_STATES, StatementRefused

REUSE_GRACE = timedelta(seconds=10)  # a client that renews twice at once keeps its session
USERS_MAX = 10_000  # RootCX lists all of them in one answer


@dataclass(frozen=True, slots=True)
class Registration:
    """What a new account is made of. One of the two names is enough."""

    password: str
    username: str | None = None
    email: str | None = None
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """What signing in, or renewing a session, gives. `refresh_token` is None where none is handed out."""

    user: User
    access_token: str
    refresh_token: str | None
    expires_in_s: int


async def register(ctx: Ctx, new: Registration) -> User:
    """Create a human account. While nobody is administrator, its owner becomes one.

    Raises Invalid on `username`, `email`, `password` or `displayName`; Conflict when a name is taken; Denied
    where signing in with a password is switched off and somebody is there already.
    """
    if not ctx.ports.password_login and await _anybody(ctx):
        raise Denied("password login is disabled")
    email = clean_email("email", new.email) if new.email is not None else None
    username = clean_name("username", new.username) if new.username is not None else email
    if username is None:
        raise Invalid("username", "username or email is required")
    check_password("password", new.password)
    display_name = clean_name("displayName", new.display_name) if new.display_name else None
    user = await ctx.add(
        User(
            username=username,
            email=email,
            display_name=display_name,
            password_hash=await ctx.ports.passwords.hash(new.password),
            kind=AccountKind.HUMAN,
        )
    )
    await _take_names(ctx, user)
    await access.make_first_admin(ctx, user.id)
    return user


async def by_name(ctx: Ctx, name: str) -> User | None:
    """The account that answers to a user name or an address, whatever its kind."""
    return await ctx.first(
        ctx.visible(User)
        .join(LoginName, LoginName.user_id == User.id)
        .where(LoginName.tenant_id == ctx.tenant_id, LoginName.name == login_key(name))
    )


async def by_id(ctx: Ctx, id: UUID) -> User | None:
    """The account of this id, whatever its kind."""
    return await ctx.first(ctx.visible(User).where(User.id == id))


async def alone_with(ctx: Ctx, name: str) -> None:
    """Whoever looks for an account by a name, to make it if it is not there, waits for the others who do."""
    key = f"account:{ctx.tenant_id}:{login_key(name)}"
    await ctx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


async def provide(ctx: Ctx, email: str, display_name: str | None) -> User:
    """Create a human account without a password, for somebody whose address another party vouches for.

    Raises Conflict when another account answers to the address.
    """
    user = User(username=email, email=email, display_name=display_name, password_hash=None, kind=AccountKind.HUMAN)
    await ctx.add(user)
    await _take_names(ctx, user)
    return user


async def rename(ctx: Ctx, user: User, email: str | None, display_name: str | None) -> None:
    """Follow what another party says of the account: its address, if nobody else answers to that, and its name."""
    taken = None if email is None else await by_name(ctx, email)
    if email is not None and user.email != email and (taken is None or taken.id == user.id):
        user.username = email if user.username == user.email else user.username
        user.email = email
        await ctx.execute(delete(LoginName).where(LoginName.tenant_id == ctx.tenant_id, LoginName.user_id == user.id))
        await ctx.flush()
        await _take_names(ctx, user)
    user.display_name = display_name or user.display_name
    await ctx.flush()


async def _take_names(ctx: Ctx, user: User) -> None:
    """Make the account's names its own. Raises Conflict when another account answers to one of them."""
    names = {login_key(name) for name in (user.username, user.email) if name}
    rows = [{"tenant_id": user.tenant_id, "name": name, "user_id": user.id} for name in sorted(names)]
    taken = await ctx.execute(insert(LoginName).values(rows).on_conflict_do_nothing().returning(LoginName.name))
    if len(taken.all()) < len(names):
        raise Conflict("username or email is already taken", field="username", reason=Reason.NAME_TAKEN)


async def _anybody(ctx: Ctx) -> bool:
    humans = exists().where(User.tenant_id == ctx.tenant_id, User.kind == AccountKind.HUMAN)
    return bool((await ctx.execute(select(humans))).scalar())


async def login(ctx: Ctx, name: str, password: str) -> SignIn:
    """Open a session for the human account that answers to `name`.

    Raises Unauthenticated with one text for every cause; Limited after too many failures, whether there is such an
    account or not; Denied where passwords are switched off.
    """
    if not ctx.ports.password_login:
        raise Denied("password login is disabled")
    async with guess(ctx, name):
        return await open_session(ctx, await _proven(ctx, name, password))


async def _proven(ctx: Ctx, name: str, password: str) -> User:
    """The account that answers to `name`, if this is its password. Raises Unauthenticated."""
    user = await by_name(ctx, name)
    human = user is not None and user.kind == AccountKind.HUMAN and user.disabled_at is None
    known = user.password_hash if user is not None and human else None
    matches = len(password) <= PASSWORD_CHARS_MAX and await ctx.ports.passwords.matches(known, password)
    if user is None or known is None or not matches:
        raise Unauthenticated("invalid credentials")
    if ctx.ports.passwords.outdated(known):
        user.password_hash = await ctx.ports.passwords.hash(password)
    return user


async def open_session(ctx: Ctx, user: User) -> SignIn:
    """A new session of `user`, who has proven who they are. Raises Unauthenticated for one who is disabled."""
    return tokens_of(ctx, user, await begin_session(ctx, user))


async def begin_session(ctx: Ctx, user: User) -> Session:
    """A new session whose tokens nobody has yet. Raises Unauthenticated for a user who is disabled."""
    if user.disabled_at is not None:
        raise Unauthenticated("principal disabled")
    life = timedelta(seconds=ctx.ports.tokens.refresh_life_s)
    return await ctx.add(Session(user_id=user.id, generation=0, expires_at=ctx.now + life))


def tokens_of(ctx: Ctx, user: User, session: Session | None) -> SignIn:
    """Tokens of a session; without one an access token that nothing renews."""
    tokens = ctx.ports.tokens
    refresh = None
    if session is not None:
        whose = {"user_id": user.id, "tenant_id": user.tenant_id, "session_id": session.id}
        refresh = tokens.refresh(**whose, generation=session.generation, now=ctx.now)
    token = tokens.access(user_id=user.id, tenant_id=user.tenant_id, name=user.contact, now=ctx.now)
    return SignIn(user, token, refresh, tokens.access_life_s)


async def tokens_of_session(ctx: Ctx, id: UUID) -> SignIn:
    """The first tokens of a session that was begun. Raises Unauthenticated."""
    session = await ctx.first(ctx.visible(Session).where(Session.id == id))
    user = None if session is None else await by_id(ctx, session.user_id)
    if session is None or user is None or user.disabled_at is not None:
        raise Unauthenticated("invalid token: the session has ended")
    return tokens_of(ctx, user, session)


async def renew_access(ctx: Ctx, refresh_token: str) -> SignIn:
    """A new access token for the session of `refresh_token`, which stays as it is. Raises Unauthenticated."""
    _, user = await _renewable(ctx, ctx.ports.tokens.read_refresh(refresh_token))
    return tokens_of(ctx, user, None)


async def renew_session(ctx: Ctx, refresh_token: str) -> SignIn:
    """A new access token and the session's next refresh token; the one given is spent.

    Raises Unauthenticated; a token spent more than ten seconds ago was copied, so its session ends for everyone.
    """
    claims = ctx.ports.tokens.read_refresh(refresh_token)
    session, user = await _renewable(ctx, claims)
    if claims.generation == session.generation:
        session.generation += 1
        session.rotated_at = ctx.now
        await ctx.flush()
    return tokens_of(ctx, user, session)


async def _renewable(ctx: Ctx, claims: RefreshClaims) -> tuple[Session, User]:
    session = await ctx.first(
        ctx.visible(Session).where(Session.id == claims.session_id, Session.user_id == claims.user_id).with_for_update()
    )
    user = await ctx.first(ctx.visible(User).where(User.id == claims.user_id))
    if session is None or user is None or session.expires_at <= ctx.now:
        raise Unauthenticated("invalid token: the session has ended")
    if user.disabled_at is not None:
        raise Unauthenticated("principal disabled")
    if claims.generation < session.generation and not _within_grace(ctx, session, claims.generation):
        ctx.if_refused(lambda later: _end_session(later, claims.session_id))
        raise Unauthenticated("invalid token: this refresh token was used before, its session has ended")
    return session, user


def _within_grace(ctx: Ctx, session: Session, generation: int) -> bool:
    spent_at = session.rotated_at if generation == session.generation - 1 else None
    return spent_at is not None and ctx.now - spent_at <= REUSE_GRACE


async def _end_session(ctx: Ctx, id: UUID) -> None:
    await ctx.execute(delete(Session).where(Session.tenant_id == ctx.tenant_id, Session.id == id))


async def logout(ctx: Ctx, refresh_token: str) -> None:
    """End the session of `refresh_token`; once ended, it stays so. Raises Unauthenticated for a bad token."""
    await _end_session(ctx, ctx.ports.tokens.read_refresh(refresh_token).session_id)


async def me(ctx: Ctx) -> User:
    """The caller's own account. Raises Unauthenticated."""
    return await ctx.one(User, ctx.user())


@dataclass(frozen=True, slots=True)
class SignInMode:
    """How one may sign in here."""

    setup_required: bool  # nobody has an account yet
    password_login_enabled: bool
    magic_link_enabled: bool


async def mode(ctx: Ctx) -> SignInMode:
    """How one may sign in; asked before anybody has."""
    setup_required = not await _anybody(ctx)
    invites = await ctx.first(access.registered_key(ctx, Permission.INVITE))
    return SignInMode(setup_required, ctx.ports.password_login or setup_required, invites is not None)


async def users(ctx: Ctx, args: PageArgs) -> Page[User]:
    """All accounts but the system's own, by address (user name where there is none). Raises Unauthenticated."""
    ctx.user()
    contact = func.coalesce(User.email, User.username)
    people = ctx.visible(User).where(User.kind != AccountKind.SYSTEM)
    return await keyset_page(ctx, people, args, scope="users", by=(contact, User.id), first_max=USERS_MAX)


async def user(ctx: Ctx, id: UUID) -> User:
    """One account. Raises Unauthenticated, Missing."""
    ctx.user()
    return await _person(ctx, id)


async def _person(ctx: Ctx, id: UUID) -> User:
    row = await ctx.one(User, id)
    if row.kind == AccountKind.SYSTEM:
        raise Missing("user not found")
    return row


async def delete_user(ctx: Ctx, id: UUID) -> User:
    """Delete an account with its sessions and roles. Returns what it was.

    Raises Denied, Missing; Invalid for the last administrator; Conflict while records insist on it.
    """
    ctx.need(EVERYTHING)
    row = await _person(ctx, id)
    await access.refuse_to_orphan(ctx, id)
    try:
        await ctx.remove(row)
    except StatementRefused as refused:
        if refused.sqlstate in FOREIGN_KEY_STATES:
            raise Conflict("foreign key constraint violated: records still link to this user") from refused
        raise
    ctx.emit(AccessChanged(id))
    return row
