"""Authorization servers, as a client asks them for tokens (RFC 6749, sections 4.1.3 and 6)."""

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson

from domain.integrations.ports import GrantRefused, OAuthClient, ServerFailed
from domain.kernel.outbound import Outbound, Outgoing, Unreached, is_loopback_name

ANSWER_BYTES_MAX = 64 * 1024
TIMEOUT_S = 10.0
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}

_WORD = re.compile(r"[\w .:,'-]{1,200}")


class OAuthTokenClient:
    """See `domain.integrations.ports.OAuthTokens`."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def redeemed(
        self, client: OAuthClient, code: str, code_verifier: str, redirect_uri: str
    ) -> Mapping[str, Any]:
        """What an authorization code is exchanged for."""
        return await self._asked(
            client,
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": code_verifier,
            },
        )

    async def refreshed(self, client: OAuthClient, refresh_token: str) -> Mapping[str, Any]:
        """New tokens."""
        return await self._asked(client, {"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def _asked(self, client: OAuthClient, form: dict[str, str]) -> Mapping[str, Any]:
        """The tokens."""
        host = urlsplit(client.token_url).hostname or ""
        if not client.token_url.startswith("https://") and not is_loopback_name(host):
            raise ServerFailed("the token URL does not begin with https://")
        headers = dict(FORM)
        form = {**form, "client_id": client.client_id}
        if client.secret is not None and client.in_form:
            form["client_secret"] = client.secret.text
        elif client.secret is not None:
            pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret.text)}"  # section 2.3.1
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        request = Outgoing("POST", client.token_url, headers, urlencode(form).encode(), TIMEOUT_S, ANSWER_BYTES_MAX)
        try:
            answer = await self._outbound.send(request)
        except Unreached as problem:
            raise ServerFailed(str(problem)) from problem
        told = _object(answer.body) if answer.whole else None
        if answer.status >= 500 or told is None:
            raise ServerFailed(f"{host} does not answer with tokens (status {answer.status})")
        if answer.status != 200 or not isinstance(told.get("access_token"), str):
            word = told.get("error")
            said = word if isinstance(word, str) and _WORD.fullmatch(word) else f"status {answer.status}"
            raise GrantRefused(f"{host} gives no token: {said}")
        return told


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
