"""Slack's Web and Events API (docs.slack.dev): auth.test, chat.postMessage, signed events."""

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from typing import Any

from domain.channels.ports import (
    Account,
    Heard,
    Letter,
    ProviderAway,
    ProviderRefused,
    Received,
    Signature,
    SignatureRefused,
    Unreadable,
)
from domain.kernel.outbound import Outbound
from infra.channels.calling import again_s, called, checked_url, object_in

API = "https://slack.com/api"
WINDOW_S = 300.0
CHALLENGE_CHARS_MAX = 1_000
# What Slack says when it is busy, or is to be asked later; any other error will not go away by itself.
LATER = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable",
                   "request_timeout", "team_added_to_org"})  # fmt: skip

_MENTION = re.compile(r"<@[A-Z0-9]+(\|[^>]*)?>")


class Slack:
    """See `domain.channels.ports.Messenger`. Where events go is written into the app's settings at Slack, by people."""

    secret_fields = frozenset({"bot_token", "signing_secret", "webhook_secret"})
    text_chars_max = 4_000

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    def problem(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """What cannot be in the configuration."""
        wrong = checked_url(config, "api_url", API)
        return None if wrong is None else ("api_url", wrong)

    async def activated(self, account: Account, webhook_url: str) -> Mapping[str, Any]:
        """See that token and secret are there, and whose they are."""
        account.secret("signing_secret")
        told = await self._do(account, "auth.test", {})
        return {name: told[name] for name in ("team", "team_id", "user_id") if isinstance(told.get(name), str)}

    async def deactivated(self, account: Account) -> None:
        """There is nothing to take back: the address stays in the app's settings."""

    def received(self, account: Account, signature: Signature, body: bytes, now_s: float) -> Received:
        """An event. Before there is a secret only the challenge is echoed that Slack checks the address with."""
        event = object_in(body)
        challenge = event.get("challenge") if event and event.get("type") == "url_verification" else None
        if "signing_secret" in account.secrets or challenge is None:
            _check(account, signature, body, now_s)
        if isinstance(challenge, str):
            return Received(challenge=challenge[:CHALLENGE_CHARS_MAX])
        if event is None:
            raise Unreadable("this is no event of Slack's")
        return Received(_heard(event) if event.get("type") == "event_callback" else None)

    async def send(self, account: Account, letter: Letter) -> None:
        """Say it in the channel, in the thread it is about."""
        message = {"channel": letter.about.get("channel", letter.chat), "text": _escaped(letter.text)}
        thread = letter.about.get("thread_ts")
        await self._do(account, "chat.postMessage", {**message, **({"thread_ts": thread} if thread else {})})

    def link_url(self, account: Account, token: str) -> str | None:
        """Slack has no link that sends something."""
        return None

    async def _do(self, account: Account, method: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ProviderRefused, ProviderAway."""
        url = f"{account.config.get('api_url', API).rstrip('/')}/{method}"
        bearer = {"authorization": f"Bearer {account.secret('bot_token')}"}
        answer, told = await called(self._outbound, url, payload, bearer)
        if told.get("ok") is True:
            return told
        said = str(told.get("error", answer.status))[:200]
        if answer.status == 429 or said in LATER:
            raise ProviderAway(f"{method}: {said}", again_s(answer))
        raise ProviderRefused(f"{method}: {said}")


def _check(account: Account, signature: Signature, body: bytes, now_s: float) -> None:
    """Raises SignatureRefused ("Verifying requests from Slack", version v0)."""
    if "signing_secret" not in account.secrets:
        raise SignatureRefused("bad signature: there is no signing secret to check it with")
    timestamp = signature.timestamp or ""
    if not timestamp.isdecimal() or len(timestamp) > 12 or abs(now_s - int(timestamp)) > WINDOW_S:
        raise SignatureRefused(f"bad signature: the timestamp is missing, or more than {WINDOW_S:g} s away")
    signed = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(account.secret("signing_secret").encode(), signed, hashlib.sha256).hexdigest()
    if not hmac.compare_digest((signature.signature or "").encode(), expected.encode()):
        raise SignatureRefused("bad signature")


def _heard(envelope: Mapping[str, Any]) -> Heard | None:
    """What a person wrote to the bot: in a conversation of the two, or with its name in a channel."""
    event = envelope.get("event")
    if not isinstance(event, dict) or event.get("bot_id") or event.get("subtype"):
        return None
    direct = event.get("type") == "message" and event.get("channel_type") == "im"
    parts = [event.get(name) for name in ("channel", "user", "text", "ts")]
    if not (direct or event.get("type") == "app_mention") or not all(isinstance(part, str) for part in parts):
        return None
    channel, user, text, ts = (str(part) for part in parts)
    thread = event.get("thread_ts") if isinstance(event.get("thread_ts"), str) else None if direct else ts
    about = {"channel": channel, **({"thread_ts": thread} if thread else {})}
    chat = f"{channel} {thread}" if thread else channel
    external = envelope.get("event_id") if isinstance(envelope.get("event_id"), str) else f"{channel} {ts}"
    sender = f"{envelope.get('team_id', '')}/{user}"
    return Heard(str(external), chat, sender, html.unescape(_MENTION.sub("", text)).strip(), about)


def _escaped(text: str) -> str:
    """Slack takes these three as markup: an answer is to mention nobody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
