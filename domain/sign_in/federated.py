"""Signing in by an OpenID provider: the authorization code flow with PKCE, and ID tokens that a client brings.

What is asked of the provider is asked while no transaction is open: a provider that does not answer keeps only those
waiting who sign in by it.
"""

import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import delete

from domain.access import service as access
from domain.identity import service as identity
from domain.identity.model import AccountKind, User
from domain.identity.names import NAME_CHARS_MAX, clean_email
from domain.identity.service import SignIn
from domain.kernel.ctx import Ctx
from domain.kernel.errors import Denied, Failed, Invalid, Missing, Unauthenticated
from domain.kernel.limits import Allowance
from domain.kernel.oauth import asking, challenge
from domain.kernel.outbound import is_loopback_name
from domain.sign_in import providers
from domain.sign_in.delivery import Onward, deliver, own_address
from domain.sign_in.model import Delivery, ExternalIdentity, IdentityProvider, SignInAttempt
from domain.sign_in.ports import Client, Discovery, Person, ProofRefused, ProviderFailed
from domain.sign_in.tokens import is_token, new_token, token_hash

ATTEMPT_LIFE = timedelta(minutes=10)
BEGUN = Allowance("sign-ins begun", 1_000, ATTEMPT_LIFE.total_seconds())  # of one address


# There.


@dataclass(frozen=True, slots=True)
class Begun:
    """Where to send the browser, and what it is to bring back to be known again."""

    location: str
    browser_key: str | None


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a browser says when it begins.

    `host` is the one it asked, `localhost:9100`. `browser_key` is what it was given before: it may begin twice, in
    two windows, and is the same browser.
    """

    redirect_uri: str | None = None
    delivery: Delivery = Delivery.NONCE
    host: str | None = None
    browser_key: str | None = None


async def begin(ctx: Ctx, provider_id: str, asked: Beginning) -> Begun:
    """Begin to sign in by a provider.

    A browser that knows the machine we are public as by another name begins anew under the public one: what it is
    given to be known again by would not come back. Raises Missing, Limited, Failed; Invalid on `redirectUri`.
    """
    urls, redirect_uri = ctx.ports.sign_in_urls, asked.redirect_uri
    if redirect_uri is not None:
        own_address("redirectUri", redirect_uri, urls.public)
    if asked.host is not None and _is_alias(asked.host, urlsplit(urls.public)):
        again = {"token_delivery": asked.delivery.value, **({"redirect_uri": redirect_uri} if redirect_uri else {})}
        return Begun(asking(urls.authorize(provider_id), again), None)
    provider = await ctx.apart(lambda apart: providers.usable(apart, provider_id))
    await ctx.ports.limits.take(BEGUN, f"{ctx.tenant_id} {ctx.request.client_ip}")
    try:
        discovery = await ctx.ports.open_id.discovered(provider.issuer_url)
    except ProviderFailed as failed:
        raise Failed(f"provider '{provider_id}': {failed}") from failed
    state, nonce, verifier = new_token(), new_token(), new_token()
    browser_key = asked.browser_key or ""
    if not is_token(browser_key):
        browser_key = new_token()
    await ctx.add(
        SignInAttempt(
            state_hash=token_hash(state),
            provider_id=provider.id,
            browser_hash=token_hash(browser_key),
            nonce=nonce,
            code_verifier=verifier,
            redirect_uri=redirect_uri,
            delivery=asked.delivery,
            expires_at=ctx.now + ATTEMPT_LIFE,
        )
    )
    wanted = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": urls.callback,
        "scope": " ".join(provider.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return Begun(asking(discovery.authorization_endpoint, wanted), browser_key)


def _is_alias(host: str, public: SplitResult) -> bool:
    """Whether a browser asked this machine by a name that the public one is not."""
    try:
        asked = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # whatever stands in the header
        return False
    public_name = public.hostname or ""
    return asked != public_name and is_loopback_name(asked) and is_loopback_name(public_name)


# And back.


@dataclass(frozen=True, slots=True)
class Comeback:
    """What a browser brings back from a provider."""

    state: str
    code: str | None = None
    error: str | None = None  # the provider's word for why there is no code
    issuer: str | None = None
    browser_key: str | None = None
    from_browser: bool = False  # a browser says so of itself, whoever sent it


async def finish(ctx: Ctx, back: Comeback) -> SignIn | Onward:
    """Sign in whom the provider vouches for. The attempt is used up, whatever comes of it.

    Raises Unauthenticated; Denied for somebody who is to have no account; Failed.
    """
    used = await ctx.apart(lambda apart: _used(apart, back.state))
    if used is None:
        raise Unauthenticated("invalid state: it is unknown, was used, or is older than ten minutes")
    attempt, provider, client = used
    # A browser may have been sent here with somebody else's code and state, to be signed in as them.
    key_hash = token_hash(back.browser_key or "")
    if back.from_browser and not hmac.compare_digest(key_hash, attempt.browser_hash):
        raise Unauthenticated("invalid state: another browser began this sign-in")
    if back.error is not None:
        raise Unauthenticated(f"the provider refused: {back.error[:200]}")
    person = await _vouched_for(ctx, attempt, client, back)
    user = await _user(ctx, provider, person)
    return await deliver(ctx, user, attempt.redirect_uri, attempt.delivery)


async def _used(ctx: Ctx, state: str) -> tuple[SignInAttempt, IdentityProvider, Client] | None:
    """The attempt of this state, its provider and who we are there; after this nobody gets it any more."""
    if not is_token(state):
        return None
    taken = delete(SignInAttempt).where(
        SignInAttempt.tenant_id == ctx.tenant_id, SignInAttempt.state_hash == token_hash(state)
    )
    attempt = (await ctx.execute(taken.returning(SignInAttempt))).scalars().first()
    if attempt is None or attempt.expires_at <= ctx.now:
        return None
    try:
        provider = await providers.usable(ctx, attempt.provider_id)
    except Missing:
        return None
    return attempt, provider, await providers.client_of(ctx, provider)


async def _vouched_for(ctx: Ctx, attempt: SignInAttempt, client: Client, back: Comeback) -> Person:
    """Whom the provider vouches for that this attempt was sent to, and no other. Raises Unauthenticated."""
    open_id, callback = ctx.ports.open_id, ctx.ports.sign_in_urls.callback
    try:
        discovery = await open_id.discovered(client.issuer_url)
        _refuse_mix_up(discovery, back.issuer)
        if not back.code:
            raise ProofRefused("there is no code")
        return await open_id.redeemed(client, back.code, attempt.code_verifier, callback, attempt.nonce)
    except (ProofRefused, ProviderFailed) as refused:
        raise Unauthenticated(f"sign-in failed: {refused}") from refused


def _refuse_mix_up(discovery: Discovery, issuer: str | None) -> None:
    """Raises ProofRefused when another provider answers than was asked (RFC 9207, section 2.4)."""
    if issuer is None and discovery.names_itself:
        raise ProofRefused("the provider did not say who it is")
    if issuer is not None and issuer != discovery.issuer:
        raise ProofRefused("another provider answered")


async def exchange_id_token(ctx: Ctx, provider_id: str, id_token: str) -> SignIn:
    """An access token for whom the ID token stands for; no session. Raises Missing, Unauthenticated, Denied."""

    async def known(apart: Ctx) -> tuple[IdentityProvider, Client]:
        provider = await providers.usable(apart, provider_id)
        return provider, await providers.client_of(apart, provider)

    provider, client = await ctx.apart(known)
    try:
        person = await ctx.ports.open_id.verified(client, id_token)
    except (ProofRefused, ProviderFailed) as refused:
        raise Unauthenticated(f"sign-in failed: {refused}") from refused
    user = await _user(ctx, provider, person)
    if user.disabled_at is not None:
        raise Unauthenticated("principal disabled")
    return identity.tokens_of(ctx, user, None)


# Whose account it is.


async def _user(ctx: Ctx, provider: IdentityProvider, person: Person) -> User:
    """The account the provider's person has here: linked before, linked now by its address, or made now.

    Raises Unauthenticated without an address; Denied.
    """
    email = _email(person)
    await identity.alone_with(ctx, email)
    linked = await ctx.first(
        ctx.visible(User)
        .join(ExternalIdentity, ExternalIdentity.user_id == User.id)
        .where(ExternalIdentity.provider_id == provider.id, ExternalIdentity.subject == person.subject)
    )
    if linked is not None:
        await identity.rename(ctx, linked, email if _verified(person) else None, _display_name(person))
        return linked
    user = await identity.by_name(ctx, email)
    if user is None:
        user = await _registered(ctx, provider, person, email)
    else:
        await _refuse_takeover(ctx, user, person)
    await ctx.add(ExternalIdentity(provider_id=provider.id, subject=person.subject, user_id=user.id))
    return user


async def _refuse_takeover(ctx: Ctx, user: User, person: Person) -> None:
    """Raises Denied where an address is no reason to hand an account over."""
    linked = await ctx.first(ctx.visible(ExternalIdentity).where(ExternalIdentity.user_id == user.id))
    if linked is not None or user.kind != AccountKind.HUMAN:
        raise Denied("another identity has the account of this e-mail address")
    # A provider where anybody can enter any address must not open the accounts of those who own them.
    if not _verified(person):
        raise Denied("the provider has not verified the e-mail address, and it has an account here")


async def _registered(ctx: Ctx, provider: IdentityProvider, person: Person, email: str) -> User:
    if not provider.auto_register:
        raise Denied(f"there is no account for this e-mail address, and provider '{provider.id}' makes none")
    user = await identity.provide(ctx, email, _display_name(person))
    if not await access.make_first_admin(ctx, user.id):
        claimed = person.claims.get(provider.role_claim) if provider.role_claim else None
        for role in (claimed, provider.default_role):
            if isinstance(role, str) and await access.is_role(ctx, role):
                await access.give_role(ctx, user.id, role)
                break
    return user


def _verified(person: Person) -> bool:
    """Whether the provider does not say that it has not verified the address; many say nothing of it."""
    return person.claims.get("email_verified") not in (False, "false")


def _email(person: Person) -> str:
    """The person's address. Raises Unauthenticated."""
    claimed: Any = person.claims.get("email")
    try:
        return clean_email("email", claimed if isinstance(claimed, str) else "")
    except Invalid:
        raise Unauthenticated("sign-in failed: the provider tells no e-mail address") from None


def _display_name(person: Person) -> str | None:
    for name in ("preferred_username", "name"):
        claimed = person.claims.get(name)
        if isinstance(claimed, str) and (cleaned := "".join(filter(str.isprintable, claimed)).strip()):
            return cleaned[:NAME_CHARS_MAX]
    return None
