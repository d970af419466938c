"""OpenID Connect as its client: discovery, the authorization code, and ID tokens.

Sources: OpenID Connect Core 1.0 (section 3.1.3.7 lists what is checked of an ID token), Discovery 1.0, RFC 9700 (the
best practice of OAuth security). What a provider says of itself and its keys are kept for an hour.
"""

import asyncio
import base64
import hmac
import re
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from domain.kernel.outbound import Incoming, Outbound, Outgoing, Unreached, is_loopback_name
from domain.sign_in.ports import Client, Discovery, Person, ProofRefused, ProviderFailed
from infra.sign_in.id_tokens import Key, TokenRefused, claims_of, key_id_of, keys_of

KEPT_S = 3600.0
STALE_S = 24 * 3600.0  # how old it may get while the provider cannot be asked
FAILED_S = 5.0  # how long a provider that failed is not asked again
KEYS_AGAIN_S = 30.0  # how often an unknown key makes us look for new ones
ISSUERS_MAX = 100
ANSWER_BYTES_MAX = 512 * 1024
TIMEOUT_S = 4.0  # of one request: there are up to three in one operation
DISCOVERY = "/.well-known/openid-configuration"
JSON = {"accept": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded", **JSON}

_WORD = re.compile(r"[\w .:-]{1,80}")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a provider says of itself, as far as it concerns us."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    algorithms: frozenset[str] | None  # of its ID tokens; None where it does not say
    takes_basic: bool  # how it wants the client secret
    names_itself: bool


@dataclass(slots=True)
class _Provider:
    """What is known of one provider, and when it was learnt."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    configuration: Configuration | None = None
    learnt_at: float = 0.0
    failure: ProviderFailed | None = None
    failed_at: float = 0.0
    keys: Sequence[Key] = ()
    keys_at: float | None = None
    keys_again_at: float | None = None


class OpenIdClient:
    """See `domain.sign_in.ports.OpenId`."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._providers: OrderedDict[str, _Provider] = OrderedDict()

    async def discovered(self, issuer_url: str, *, fresh: bool = False) -> Discovery:
        """What the provider says of itself."""
        found = await self._configuration(issuer_url, fresh=fresh)
        return Discovery(found.issuer, found.authorization_endpoint, found.names_itself)

    async def redeemed(self, client: Client, code: str, code_verifier: str, redirect_uri: str, nonce: str) -> Person:
        """Whom the code stands for, by the ID token that it is exchanged for."""
        provider = await self._configuration(client.issuer_url)
        answer = await self._exchanged(provider, client, code, code_verifier, redirect_uri)
        id_token = answer.get("id_token")
        if not isinstance(id_token, str):
            raise ProofRefused("the provider sent no ID token")
        claims = await self._claims(client, id_token)
        said = claims.get("nonce")
        if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
            raise ProofRefused("the ID token was made for another sign-in")
        if "email" not in claims:
            claims = {**await self._told_beside(provider, client, answer.get("access_token"), claims["sub"]), **claims}
        return Person(claims["sub"], claims)

    async def verified(self, client: Client, id_token: str) -> Person:
        """Whom the ID token stands for."""
        claims = await self._claims(client, id_token)
        return Person(claims["sub"], claims)

    # What a provider says of itself.

    async def _configuration(self, issuer_url: str, *, fresh: bool = False) -> Configuration:
        known = self._provider(issuer_url)
        async with known.lock:
            now = time.monotonic()
            if known.configuration is not None and not fresh and now - known.learnt_at < KEPT_S:
                return known.configuration
            if known.failure is not None and not fresh and now - known.failed_at < FAILED_S:
                raise known.failure
            try:
                known.configuration = _configuration(
                    await self._asked(issuer_url, _discovery_url(issuer_url)), issuer_url
                )
            except ProviderFailed as failed:
                if known.configuration is not None and not fresh and now - known.learnt_at < STALE_S:
                    return known.configuration
                known.failure, known.failed_at = failed, time.monotonic()
                raise
            known.learnt_at, known.failure = now, None
            return known.configuration

    def _provider(self, issuer_url: str) -> _Provider:
        known = self._providers.pop(issuer_url, None) or _Provider()
        self._providers[issuer_url] = known
        while len(self._providers) > ISSUERS_MAX:
            self._providers.popitem(last=False)
        return known

    async def _asked(self, issuer_url: str, url: str) -> dict[str, Any]:
        """A JSON object of the provider's. Raises ProviderFailed."""
        answer = await self._sent(issuer_url, Outgoing("GET", url, JSON))
        if answer.status != 200:
            raise ProviderFailed(f"{url} answers with status {answer.status}")
        return _object(answer, url)

    async def _sent(self, issuer_url: str, request: Outgoing) -> Incoming:
        local = is_loopback_name(urlsplit(issuer_url).hostname or "")
        bounded = Outgoing(
            request.method, request.url, request.headers, request.body, TIMEOUT_S, ANSWER_BYTES_MAX, local
        )
        try:
            return await self._outbound.send(bounded)
        except Unreached as problem:
            raise ProviderFailed(str(problem)) from problem

    # The code.

    async def _exchanged(
        self, provider: Configuration, client: Client, code: str, code_verifier: str, redirect_uri: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": code_verifier,
        }
        headers = dict(FORM)
        if client.secret is not None and provider.takes_basic:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret.text)}"  # RFC 6749, section 2.3.1
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_id"] = client.client_id
            form |= {} if client.secret is None else {"client_secret": client.secret.text}
        request = Outgoing("POST", provider.token_endpoint, headers, urlencode(form).encode())
        answer = await self._sent(client.issuer_url, request)
        told = _object(answer, provider.token_endpoint)
        if answer.status != 200:
            word = told.get("error")
            said = word if isinstance(word, str) and _WORD.fullmatch(word) else f"status {answer.status}"
            raise ProofRefused(f"the provider does not take the code: {said}")
        return told

    async def _told_beside(
        self, provider: Configuration, client: Client, access_token: Any, subject: str
    ) -> Mapping[str, Any]:
        """Claims that the provider tells beside the ID token: of the same person, or none."""
        if provider.userinfo_endpoint is None or not isinstance(access_token, str) or not access_token.isascii():
            return {}
        headers = {**JSON, "authorization": f"Bearer {access_token}"}
        try:
            answer = await self._sent(client.issuer_url, Outgoing("GET", provider.userinfo_endpoint, headers))
            told = _object(answer, provider.userinfo_endpoint) if answer.status == 200 else {}
        except ProviderFailed:
            return {}
        return told if told.get("sub") == subject else {}

    # ID tokens.

    async def _claims(self, client: Client, id_token: str) -> dict[str, Any]:
        provider = await self._configuration(client.issuer_url)
        try:
            key_id = key_id_of(id_token, provider.algorithms)
            keys = await self._keys(client.issuer_url, provider, key_id)
            return claims_of(id_token, keys, issuer=provider.issuer, client_id=client.client_id, now=time.time())
        except TokenRefused as refused:
            raise ProofRefused(str(refused)) from refused

    async def _keys(self, issuer_url: str, provider: Configuration, key_id: str | None) -> Sequence[Key]:
        """The provider's keys, looked at again when they are old or one is asked for that is not among them."""
        known = self._provider(issuer_url)
        async with known.lock:
            now = time.monotonic()
            new = known.keys_at is None or now - known.keys_at > KEPT_S
            missing = key_id is not None and all(key.id != key_id for key in known.keys)
            again = known.keys_again_at is None or now - known.keys_again_at > KEYS_AGAIN_S
            if new or (missing and again):
                known.keys_again_at = known.keys_again_at if new else now
                known.keys = keys_of(await self._asked(issuer_url, provider.jwks_uri))
                known.keys_at = now
            return known.keys


def _discovery_url(issuer_url: str) -> str:
    return issuer_url.rstrip("/") + DISCOVERY


def _configuration(document: Mapping[str, Any], issuer_url: str) -> Configuration:
    """Raises ProviderFailed for a document that is another issuer's, or not usable."""
    issuer = document.get("issuer")
    if not isinstance(issuer, str) or issuer.rstrip("/") != issuer_url.rstrip("/"):
        raise ProviderFailed(f"the discovery document is of another issuer: {str(issuer)[:200]}")
    if "code" not in _words(document, "response_types_supported", ["code"]):
        raise ProviderFailed("the provider has no authorization code flow")
    if "S256" not in _words(document, "code_challenge_methods_supported", ["S256"]):
        raise ProviderFailed("the provider does not know PKCE with S256")
    methods = _words(document, "token_endpoint_auth_methods_supported", ["client_secret_basic"])
    algorithms = document.get("id_token_signing_alg_values_supported")
    return Configuration(
        issuer=issuer,
        authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer_url),
        token_endpoint=_endpoint(document, "token_endpoint", issuer_url),
        jwks_uri=_endpoint(document, "jwks_uri", issuer_url),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint", issuer_url)
        if "userinfo_endpoint" in document
        else None,
        algorithms=None
        if algorithms is None
        else frozenset(_words(document, "id_token_signing_alg_values_supported", [])),
        takes_basic="client_secret_basic" in methods,
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def _words(document: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    found = document.get(name, default)
    if not isinstance(found, list):
        raise ProviderFailed(f"{name} in the discovery document is no list")
    return [word for word in found if isinstance(word, str)]


def _endpoint(document: Mapping[str, Any], name: str, issuer_url: str) -> str:
    """A URL of the provider's: https, unless the issuer itself is on this machine and the endpoint is, too."""
    url = document.get(name)
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None or not parts.hostname or parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise ProviderFailed(f"{name} in the discovery document is no usable URL")
    local = is_loopback_name(urlsplit(issuer_url).hostname or "") and is_loopback_name(parts.hostname)
    if parts.scheme != "https" and not local:
        raise ProviderFailed(f"{name} in the discovery document does not begin with https://")
    assert isinstance(url, str)
    return url


def _object(answer: Incoming, url: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises ProviderFailed."""
    if not answer.whole:
        raise ProviderFailed(f"{url} answers with more than {ANSWER_BYTES_MAX} bytes")
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ProviderFailed(f"{url} does not answer with a JSON object (status {answer.status})")
    return found
