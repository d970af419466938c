"""Accounts and signing in."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import strawberry

from domain.access.permissions import EVERYTHING
from domain.identity import service
from domain.identity.model import AccountKind as DomainAccountKind
from domain.identity.model import User as Account
from domain.identity.names import NAME_CHARS_MAX, PASSWORD_CHARS_MAX
from domain.identity.service import Registration, SignIn
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code, Reason
from domain.kernel.page import PageArgs
from domain.sign_in import providers
from graph.connection import FIRST, After, Connection, connection
from graph.rules import PUBLIC, Access, about, bounded, mutation, query, refusal

Info = strawberry.Info[Ctx, None]

AccountKind = strawberry.enum(DomainAccountKind, name="AccountKind", description="Whose account it is.")

Name = Annotated[str | None, bounded("1 to 254 printable characters.", max_length=NAME_CHARS_MAX)]
Password = Annotated[
    str, bounded("At least 10 characters with an upper, a lower and a digit.", max_length=PASSWORD_CHARS_MAX)
]
RefreshToken = Annotated[str, about("The refresh token of the session.")]


@strawberry.type(description="An account.")
class User:
    id: UUID
    username: str
    email: str | None
    display_name: str | None
    kind: AccountKind  # type: ignore[valid-type]
    created_at: datetime
    contact: str = strawberry.field(description="The e-mail address, or the user name of an account without one.")


@strawberry.type(description="What signing in gives.")
class SignInPayload:
    access_token: str
    expires_in: int = strawberry.field(description="Seconds until the access token expires.")
    user: User


@strawberry.type(description="What signing in gives, with the token that renews it.")
class SessionPayload(SignInPayload):
    refresh_token: str = strawberry.field(description="Renews the session; each use of it gives the next one.")


@strawberry.type(description="How one may sign in here.")
class SignInMode:
    auth_required: bool
    setup_required: bool = strawberry.field(description="Nobody has an account yet: the first one will rule.")
    password_login_enabled: bool
    magic_link_enabled: bool
    providers: list["IdentityProvider"]


@strawberry.type(description="An OpenID provider to sign in with.")
class IdentityProvider:
    id: str
    display_name: str


def sign_in_payload(signed_in: SignIn) -> SignInPayload:
    """An access token, as the graph tells it."""
    return SignInPayload(
        access_token=signed_in.access_token,
        expires_in=signed_in.expires_in_s,
        user=signed_in.user,  # type: ignore[arg-type]
    )


def session_payload(signed_in: SignIn) -> SessionPayload:
    """A session, as the graph tells it."""
    assert signed_in.refresh_token is not None
    return SessionPayload(
        access_token=signed_in.access_token,
        expires_in=signed_in.expires_in_s,
        user=signed_in.user,  # type: ignore[arg-type]
        refresh_token=signed_in.refresh_token,
    )


@strawberry.type
class IdentityQuery:
    @query(graphql_type=User)
    async def me(self, info: Info) -> Account:
        """The caller's own account."""
        return await service.me(info.context)

    @query(access=PUBLIC)
    async def sign_in_mode(self, info: Info) -> SignInMode:
        """How one may sign in here."""
        mode = await service.mode(info.context)
        return SignInMode(
            auth_required=True,
            setup_required=mode.setup_required,
            password_login_enabled=mode.password_login_enabled,
            magic_link_enabled=mode.magic_link_enabled,
            providers=list(await providers.enabled(info.context)),  # type: ignore[arg-type]
        )

    @query(graphql_type=Connection[User])
    async def users(
        self,
        info: Info,
        first: Annotated[int, bounded("How many to return.", minimum=1, maximum=service.USERS_MAX)] = FIRST,
        after: After = None,
    ) -> Connection[Account]:
        """All accounts but the system's own, by address."""
        return connection(await service.users(info.context, PageArgs(first, after)))

    @query(graphql_type=User, refuses=[Code.NOT_FOUND])
    async def user(self, info: Info, id: UUID) -> Account:
        """One account."""
        return await service.user(info.context, id)


@strawberry.type
class IdentityMutation:
    @mutation(graphql_type=User, access=PUBLIC, refuses=[refusal(Code.CONFLICT, Reason.NAME_TAKEN), Code.FORBIDDEN])
    async def register(
        self,
        info: Info,
        password: Password,
        username: Name = None,
        email: Name = None,
        display_name: Name = None,
    ) -> Account:
        """Create an account. One of username and email is enough. The first one becomes administrator."""
        return await service.register(info.context, Registration(password, username, email, display_name))

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.RATE_LIMITED])
    async def login(
        self, info: Info, name: Annotated[str, about("The user name or the e-mail address.")], password: str
    ) -> SessionPayload:
        """Open a session."""
        return session_payload(await service.login(info.context, name, password))

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def renew_session(self, info: Info, refresh_token: RefreshToken) -> SessionPayload:
        """A new access token, and the next refresh token: the one given is spent.

        A spent one that is used again after ten seconds ends the session: somebody has a copy.
        """
        return session_payload(await service.renew_session(info.context, refresh_token))

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def renew_access(self, info: Info, refresh_token: RefreshToken) -> SignInPayload:
        """A new access token. The refresh token stays as it is until the session ends."""
        return sign_in_payload(await service.renew_access(info.context, refresh_token))

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def logout(self, info: Info, refresh_token: RefreshToken) -> bool:
        """End the session. Access tokens that are out stay good until they expire."""
        await service.logout(info.context, refresh_token)
        return True

    @mutation(graphql_type=User, access=Access(permission=EVERYTHING), refuses=[Code.NOT_FOUND, Code.CONFLICT])
    async def delete_user(self, info: Info, id: UUID) -> Account:
        """Delete an account, with its sessions and roles. Returns what it was."""
        return await service.delete_user(info.context, id)
