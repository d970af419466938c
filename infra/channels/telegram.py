"""Telegram's Bot API (core.telegram.org/bots/api): setWebhook, sendMessage, and updates."""

import hmac
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
from infra.channels.calling import called, checked_url, object_in

API = "https://api.telegram.org"


class Telegram:
    """See `domain.channels.ports.Messenger`. `api_url` of the configuration is for Bot API servers of one's own."""

    secret_fields = frozenset({"bot_token", "webhook_secret"})
    text_chars_max = 4_000  # 4096 with the entities that the API counts

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    def problem(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """What cannot be in the configuration."""
        wrong = checked_url(config, "api_url", API)
        return None if wrong is None else ("api_url", wrong)

    async def activated(self, account: Account, webhook_url: str) -> Mapping[str, Any]:
        """Register the webhook; the bot's name is what links lead to."""
        bot = await self._do(account, "getMe", {})
        wanted = {
            "url": webhook_url,
            "secret_token": account.secret("webhook_secret"),
            "allowed_updates": ["message"],
        }
        await self._do(account, "setWebhook", wanted)
        name = bot.get("username") if isinstance(bot, dict) else None
        return {"username": name} if isinstance(name, str) else {}

    async def deactivated(self, account: Account) -> None:
        """Take the webhook away."""
        await self._do(account, "deleteWebhook", {})

    def received(self, account: Account, signature: Signature, body: bytes, now_s: float) -> Received:
        """An update. Of all there are, a text that a person wrote is what we hear."""
        expected = account.secret("webhook_secret")
        if not hmac.compare_digest((signature.secret_token or "").encode(), expected.encode()):
            raise SignatureRefused("bad signature: the secret token is missing or another one")
        update = object_in(body)
        if update is None or not isinstance(update.get("update_id"), int):
            raise Unreadable("this is no update of Telegram's")
        return Received(_heard(update["update_id"], update.get("message")))

    async def send(self, account: Account, letter: Letter) -> None:
        """Say it in the chat, and in the topic of it if there is one."""
        thread = {key: letter.about[key] for key in ("message_thread_id",) if key in letter.about}
        await self._do(account, "sendMessage", {"chat_id": letter.chat, "text": letter.text, **thread})

    def link_url(self, account: Account, token: str) -> str | None:
        """A click there opens the chat, and sends `/start` with the token."""
        name = (account.config.get("account") or {}).get("username")
        return None if name is None else f"https://t.me/{name}?start={token}"

    async def _do(self, account: Account, method: str, payload: Mapping[str, Any]) -> Any:
        """Raises ProviderRefused, ProviderAway. The token is a part of the URL, which no message shows."""
        url = f"{account.config.get('api_url', API).rstrip('/')}/bot{account.secret('bot_token')}/{method}"
        answer, told = await called(self._outbound, url, payload)
        if told.get("ok") is True:
            return told.get("result")
        said = f"{method}: {str(told.get('description', answer.status))[:200]}"
        wait = (told.get("parameters") or {}).get("retry_after") if isinstance(told.get("parameters"), dict) else None
        if answer.status == 429:
            raise ProviderAway(said, float(wait) if isinstance(wait, int) else None)
        raise ProviderRefused(said)


def _heard(update_id: int, message: Any) -> Heard | None:
    if not isinstance(message, dict) or not isinstance(message.get("text"), str):
        return None
    chat, sender = message.get("chat"), message.get("from")
    if not isinstance(chat, dict) or not isinstance(sender, dict) or sender.get("is_bot") is True:
        return None
    if not isinstance(chat.get("id"), int) or not isinstance(sender.get("id"), int):
        return None
    topic = message.get("message_thread_id")
    about = {"message_thread_id": topic} if isinstance(topic, int) else {}
    return Heard(str(update_id), str(chat["id"]), str(sender["id"]), message["text"], about)
