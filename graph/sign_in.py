"""Signing in without a password: OpenID providers and magic links."""

from datetime import datetime
from typing import Annotated

import strawberry

from domain.access.permissions import EVERYTHING, Permission
from domain.identity.service import SignIn
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Code
from domain.kernel.secret import SecretText
from domain.sign_in import delivery, federated, magic_links, model, providers
from domain.sign_in.federated import Beginning, Comeback
from domain.sign_in.magic_links import Invitation
from domain.sign_in.model import Delivery as DomainDelivery
from domain.sign_in.providers import ProviderDraft
from graph.identity import SessionPayload, SignInPayload, session_payload, sign_in_payload
from graph.rules import PUBLIC, Access, about, mutation, query

Info = strawberry.Info[Ctx, None]

ADMINISTRATOR = Access(permission=EVERYTHING)

SignInDelivery = strawberry.enum(
    DomainDelivery,
    name="SignInDelivery",
    description="How a session gets to where the browser is sent: as a nonce to be exchanged, or as tokens in the URL.",
)

ProviderId = Annotated[strawberry.ID, about("The provider.")]
Token = Annotated[str, about("43 URL-safe characters, good for one use.")]


@strawberry.type(description="An OpenID provider, as its administrators see it.")
class OidcProvider:
    id: strawberry.ID
    display_name: str
    issuer_url: str
    client_id: str
    scopes: list[str]
    auto_register: bool = strawberry.field(description="Whether people without an account get one.")
    default_role: str = strawberry.field(description="The role of those who get an account.")
    role_claim: str | None = strawberry.field(description="The claim that names a role instead.")
    enabled: bool
    created_at: datetime
    updated_at: datetime


@strawberry.input(description="An OpenID provider as it is to be.")
class OidcProviderInput:
    id: strawberry.ID
    display_name: str
    issuer_url: str = strawberry.field(description="https, unless the provider is on the same machine.")
    client_id: str
    client_secret: SecretText | None = strawberry.field(
        default=None, description="Kept in the vault. Left out, the one that is there stays."
    )
    scopes: list[str] | None = strawberry.field(default=None, description="`openid email profile` by default.")
    auto_register: bool = strawberry.field(default=True, description="Whether people without an account get one.")
    default_role: str = strawberry.field(default="base", description="The role of those who get an account.")
    role_claim: str | None = strawberry.field(default=None, description="The claim that names a role instead.")
    enabled: bool = True


@strawberry.type(description="A sign-in that was begun.")
class SignInStart:
    location: str = strawberry.field(description="Where to send the browser.")
    browser_key: str | None = strawberry.field(
        description="The browser must bring it back, to be known as the one that began; null where it begins anew."
    )


@strawberry.type(description="Where the browser goes on.")
class Redirection:
    location: str


SignInOutcome = Annotated[
    SessionPayload | Redirection,
    strawberry.union("SignInOutcome", description="A session, or where the browser takes it."),
]


@strawberry.type(description="What following a magic link gives.")
class InvitedPayload(SessionPayload):
    redirect_uri: str | None = strawberry.field(description="Where whoever made the link wants people to go.")


@strawberry.input(description="Whom a magic link is for, and what it gives.")
class MagicLinkInput:
    email: str = strawberry.field(description="Of the account; without one it is made when the link is followed.")
    roles: list[str] = strawberry.field(default_factory=list, description="Added to those the account has.")
    redirect_uri: str | None = strawberry.field(default=None, description="Where the browser goes on.")
    expires_in_seconds: int = strawberry.field(default=magic_links.LIFE_S_DEFAULT, description="60 to 86400.")
    delivery: SignInDelivery = DomainDelivery.TOKENS  # type: ignore[valid-type]


@strawberry.type(description="A magic link. It is told this once.")
class MagicLink:
    url: str
    expires_at: datetime


def _outcome(came_to: SignIn | delivery.Onward) -> SessionPayload | Redirection:
    if isinstance(came_to, delivery.Onward):
        return Redirection(location=came_to.location)
    return session_payload(came_to)


@strawberry.type
class SignInQuery:
    @query(access=ADMINISTRATOR, graphql_type=list[OidcProvider])
    async def oidc_providers(self, info: Info) -> list[model.IdentityProvider]:
        """All OpenID providers, by id."""
        return list(await providers.every(info.context))


@strawberry.type
class SignInMutation:
    @mutation(access=ADMINISTRATOR, graphql_type=OidcProvider)
    async def save_oidc_provider(self, info: Info, input: OidcProviderInput) -> model.IdentityProvider:
        """Write an OpenID provider, new or over the old one. Its discovery document is fetched first."""
        draft = ProviderDraft(
            id=input.id,
            display_name=input.display_name,
            issuer_url=input.issuer_url,
            client_id=input.client_id,
            client_secret=input.client_secret,
            scopes=input.scopes,
            auto_register=input.auto_register,
            default_role=input.default_role,
            role_claim=input.role_claim,
            enabled=input.enabled,
        )
        return await providers.save(info.context, draft)

    @mutation(access=ADMINISTRATOR, graphql_type=OidcProvider, refuses=[Code.NOT_FOUND])
    async def delete_oidc_provider(
        self,
        info: Info,
        id: ProviderId,
        force: Annotated[bool, about("Though accounts are linked to it; they stay.")] = False,
    ) -> model.IdentityProvider:
        """Delete an OpenID provider and its client secret. Returns what it was."""
        return await providers.remove(info.context, id, though_linked=force)

    @mutation(
        access=PUBLIC, graphql_type=SignInStart, refuses=[Code.NOT_FOUND, Code.UPSTREAM_FAILED, Code.RATE_LIMITED]
    )
    async def begin_sign_in(
        self,
        info: Info,
        provider: ProviderId,
        redirect_uri: Annotated[
            str | None, about("Where the browser goes in the end: this installation, or a loopback address.")
        ] = None,
        delivery: Annotated[SignInDelivery, about("How the session gets there.")] = DomainDelivery.NONCE,  # type: ignore[valid-type]
        host: Annotated[str | None, about("The host and port the browser asked, if it is to be a browser.")] = None,
        browser_key: Annotated[str | None, about("What the browser got when it began before.")] = None,
    ) -> federated.Begun:
        """Begin to sign in by an OpenID provider: authorization code, PKCE, state and nonce. Good for ten minutes."""
        asked = Beginning(redirect_uri, delivery, host, browser_key)
        return await federated.begin(info.context, provider, asked)

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED, Code.FORBIDDEN])
    async def finish_sign_in(
        self,
        info: Info,
        state: Annotated[str, about("As the provider sent it back.")],
        code: Annotated[str | None, about("As the provider sent it.")] = None,
        error: Annotated[str | None, about("The provider's word for why there is no code.")] = None,
        issuer: Annotated[str | None, about("Who the provider says it is (`iss`).")] = None,
        browser_key: Annotated[str | None, about("What the browser got when it began.")] = None,
        from_browser: Annotated[bool, about("A browser asks: then it must have the key.")] = False,
    ) -> SignInOutcome:
        """Sign in whom the provider vouches for. The state is used up, whatever comes of it."""
        back = Comeback(state, code, error, issuer, browser_key, from_browser)
        return _outcome(await federated.finish(info.context, back))

    @mutation(access=PUBLIC, refuses=[Code.NOT_FOUND, Code.UNAUTHENTICATED, Code.FORBIDDEN])
    async def exchange_id_token(
        self, info: Info, provider: ProviderId, id_token: Annotated[str, about("Issued to our client.")]
    ) -> SignInPayload:
        """An access token for whom an ID token stands for. No session is opened."""
        return sign_in_payload(await federated.exchange_id_token(info.context, provider, id_token))

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def exchange_nonce(self, info: Info, nonce: Token) -> SessionPayload:
        """The session that waits behind a nonce, for half a minute and once."""
        return session_payload(await delivery.exchange_nonce(info.context, nonce))

    @mutation(access=Access(permission=Permission.INVITE), graphql_type=MagicLink)
    async def create_magic_link(self, info: Info, input: MagicLinkInput) -> magic_links.NewLink:
        """Make a link that signs in whoever has it. Who is no administrator gives away only roles they have."""
        wanted = Invitation(
            input.email, tuple(input.roles), input.redirect_uri, input.delivery, input.expires_in_seconds
        )
        return await magic_links.create(info.context, wanted)

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def consume_magic_link(self, info: Info, token: Token) -> InvitedPayload:
        """Sign in by a magic link, which is used up."""
        followed = await magic_links.consume(info.context, token)
        session = session_payload(followed.signed_in)
        return InvitedPayload(**vars(session), redirect_uri=followed.redirect_uri)

    @mutation(access=PUBLIC, refuses=[Code.UNAUTHENTICATED])
    async def follow_magic_link(self, info: Info, token: Token) -> SignInOutcome:
        """Sign in by a magic link as a browser does, which goes on to where the link leads."""
        return _outcome(await magic_links.follow(info.context, token))
