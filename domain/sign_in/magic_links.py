"""Magic links: whoever has one is signed in, once, as the account of its address. Nothing is sent by mail here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update

from domain.access import service as access
from domain.access.permissions import Grants, Permission
from domain.audit import service as audit
from domain.identity import service as identity
from domain.identity.model import AccountKind, User
from domain.identity.names import clean_email
from domain.identity.service import SignIn
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Invalid, Unauthenticated
from domain.sign_in.delivery import Onward, deliver, web_address
from domain.sign_in.model import Delivery, MagicLink
from domain.sign_in.tokens import is_token, new_token, token_hash

LIFE_S_DEFAULT = 900
LIFE_S_MIN = 60
LIFE_S_MAX = 86_400
ROLES_MAX = 32


@dataclass(frozen=True, slots=True)
class Invitation:
    """Whom a link is for, and what it gives."""

    email: str
    roles: Sequence[str] = ()
    redirect_uri: str | None = None
    delivery: Delivery = Delivery.TOKENS
    life_s: int = LIFE_S_DEFAULT


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link that was made. Its URL is told this once."""

    url: str
    expires_at: datetime


async def create(ctx: Ctx, wanted: Invitation) -> NewLink:
    """Make a link that signs in whoever has it as the account of the address, which is made if there is none.

    Who is no administrator gives away only roles they have, and makes links only for accounts that may do no more
    than they: they could follow the link themselves. Raises Denied; Invalid on a part of the invitation.
    """
    ctx.need(Permission.INVITE)
    ctx.keep_nothing()
    email = clean_email("email", wanted.email).lower()
    if wanted.redirect_uri is not None:
        web_address("redirectUri", wanted.redirect_uri)
    if not LIFE_S_MIN <= wanted.life_s <= LIFE_S_MAX:
        raise Invalid("expiresInSeconds", f"expiresInSeconds must be {LIFE_S_MIN} to {LIFE_S_MAX}")
    roles = await _grantable(ctx, wanted.roles)
    known = await identity.by_name(ctx, email)
    if known is not None and not await _may_become(ctx, ctx.actor.grants, known):
        raise Denied("the account of this e-mail address may do more than you: only an administrator invites it")
    token = new_token()
    link = MagicLink(
        token_hash=token_hash(token),
        email=email,
        roles=roles,
        redirect_uri=wanted.redirect_uri,
        delivery=wanted.delivery,
        created_by=ctx.user(),
        expires_at=ctx.now + timedelta(seconds=wanted.life_s),
    )
    await ctx.add(link)
    await audit.note(ctx, audit.Note("magic_links", email, "INSERT", after={"roles": roles}))
    return NewLink(ctx.ports.sign_in_urls.magic_link(token), link.expires_at)


async def _grantable(ctx: Ctx, roles: Sequence[str]) -> list[str]:
    """The roles, each once, if the caller may give them. Raises Invalid, Denied."""
    if len(roles) > ROLES_MAX:
        raise Invalid("roles", f"roles must be at most {ROLES_MAX}")
    mine = await access.held(ctx, ctx.user())
    for role in roles:
        if not role.strip():
            raise Invalid("roles", "a role must not be blank")
        if not await access.is_role(ctx, role):
            raise Invalid("roles", f"role '{role[:200]}' is not defined")
        if not mine.may_give(role):
            raise Denied(f"only who has role '{role}' can give it")
    return list(dict.fromkeys(roles))


async def _may_become(ctx: Ctx, inviter: Grants, user: User) -> bool:
    """Whether the inviter may do all the account may: the rule for acting as somebody else (RootCX RBAC, "Act-as")."""
    theirs = await access.held(ctx, user.id)
    return user.kind == AccountKind.HUMAN and all(inviter.allows(key) for key in theirs.grants.keys)


@dataclass(frozen=True, slots=True)
class Followed:
    """What a link came to, and where its maker wants people to go from there."""

    signed_in: SignIn
    redirect_uri: str | None


async def consume(ctx: Ctx, token: str) -> Followed:
    """Sign in by a link, which is used up. Of many at the same moment one succeeds. Raises Unauthenticated."""
    link, user = await _used(ctx, token)
    return Followed(await identity.open_session(ctx, user), link.redirect_uri)


async def follow(ctx: Ctx, token: str) -> SignIn | Onward:
    """Sign in by a link, as a browser does: it goes on to where the link leads, if it leads anywhere."""
    link, user = await _used(ctx, token)
    return await deliver(ctx, user, link.redirect_uri, link.delivery)


async def _used(ctx: Ctx, token: str) -> tuple[MagicLink, User]:
    """The link of this token, used up, and its account with the link's roles. Raises Unauthenticated."""
    if not is_token(token):
        raise Unauthenticated("malformed token")
    good = (
        update(MagicLink)
        .where(
            MagicLink.tenant_id == ctx.tenant_id,
            MagicLink.token_hash == token_hash(token),
            MagicLink.used_at.is_(None),
            MagicLink.expires_at > ctx.now,
        )
        .values(used_at=ctx.now)
    )
    link = (await ctx.execute(good.returning(MagicLink))).scalars().first()
    if link is None:
        raise _no_good()
    user = await _account(ctx, link)
    for role in link.roles:
        if await access.is_role(ctx, role):
            await access.give_role(ctx, user.id, role)
    await audit.note(ctx, audit.Note("magic_links", link.email, "UPDATE", after={"user_id": str(user.id)}))
    return link, user


async def _account(ctx: Ctx, link: MagicLink) -> User:
    """The account of the link's address, made if there is none.

    What its maker could not do any more, the link can't either. Raises Unauthenticated.
    """
    inviter = await identity.by_id(ctx, link.created_by)
    theirs = await access.held(ctx, link.created_by)
    if inviter is None or inviter.disabled_at is not None or not theirs.grants.allows(Permission.INVITE):
        raise _no_good()
    if not all(theirs.may_give(role) for role in link.roles):
        raise _no_good()
    await identity.alone_with(ctx, link.email)
    known = await identity.by_name(ctx, link.email)
    if known is not None and not await _may_become(ctx, theirs.grants, known):
        raise _no_good()
    return known or await identity.provide(ctx, link.email, None)


def _no_good() -> Unauthenticated:
    return Unauthenticated("invalid token: the link is unknown, was used, or has expired")
