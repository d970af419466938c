"""Whose messages are taken: those that are signed as their provider signs, at the time they are sent."""

import json
import time
from typing import Any

import pytest

from tests.channels.people import Bot, new_bot, new_channel
from tests.channels.providers import (
    SIGNING_SECRET,
    Api,
    Hook,
    event,
    signed_by_gateway,
    signed_by_slack,
    update,
)
from tests.harness import Person, Stoa


@pytest.fixture(scope="module")
def slack(stoa: Stoa, admin: Person, api: Api) -> Bot:
    return new_bot(stoa, admin, api, "slack")


@pytest.fixture(scope="module")
def mail(stoa: Stoa, admin: Person) -> Hook:
    """A mail channel that is active, though no server was asked."""
    id, secret = new_channel(admin, "email", {"smtp_host": "localhost", "from": "bot@stoa.example"})
    stoa.sql("UPDATE stoa.channels SET status = 'active' WHERE id = $1::uuid", id)
    return Hook(stoa.client(), "email", id, secret)


def stored(stoa: Stoa, hook: Hook) -> int:
    (row,) = stoa.sql("SELECT count(*) AS n FROM stoa.channel_messages WHERE channel_id = $1::uuid", hook.id)
    count: int = row["n"]
    return count


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-telegram-bot-api-secret-token": ""},
        {"x-telegram-bot-api-secret-token": "0" * 32},
        {"x-telegram-bot-api-secret-token": b"\xc3\xa4"},
    ],
)
def test_telegram_shows_the_secret(stoa: Stoa, bot: Bot, headers: dict[str, Any]) -> None:
    answer = bot.send(update("hello"), headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert "bad signature" in answer.json()["error"]
    assert stored(stoa, bot) == 0
    assert bot.send(update("hello")).json() == {"ok": True}
    assert stored(stoa, bot) == 1


def test_slack_signs_the_bytes_and_the_time(stoa: Stoa, slack: Bot) -> None:
    message = event("hello")
    body = json.dumps(message).encode()
    now = time.time()
    refused: list[dict[str, str]] = [
        {},
        signed_by_slack(body, secret="another secret"),
        signed_by_slack(b" " + body),
        signed_by_slack(body, now - 301),
        signed_by_slack(body, now + 302),
        {**signed_by_slack(body), "x-slack-request-timestamp": "now"},
        {**signed_by_slack(body), "x-slack-signature": ""},
    ]
    before = stored(stoa, slack)
    for headers in refused:
        answer = slack.send(message, headers)
        assert (answer.status_code, "bad signature" in answer.json()["error"]) == (400, True), headers
    assert stored(stoa, slack) == before
    assert slack.send(message, signed_by_slack(body, now - 290)).json() == {"ok": True}
    assert stored(stoa, slack) == before + 1


def test_slacks_challenge_is_echoed_to_slack(stoa: Stoa, admin: Person, api: Api, slack: Bot) -> None:
    asked = {"type": "url_verification", "token": "x", "challenge": "3eZbrw1aB"}
    assert slack.send(asked).json() == {"ok": True, "challenge": "3eZbrw1aB"}
    assert slack.send(asked, {}).status_code == 400
    id, secret = new_channel(admin, "slack", {"api_url": api.url})
    new = Hook(stoa.client(), "slack", id, secret)
    assert new.send(asked, {}).json() == {"ok": True, "challenge": "3eZbrw1aB"}
    assert new.send(event("hello"), signed_by_slack(b"")).status_code == 400
    id, secret = new_channel(admin, "slack", {"api_url": api.url, "signing_secret": SIGNING_SECRET})
    inactive = Hook(stoa.client(), "slack", id, secret)
    assert inactive.send(asked).json() == {"ok": True, "challenge": "3eZbrw1aB"}


def letter(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"message_id": f"<{time.time_ns()}@example.com>", "from": "Ada <Ada@Example.com>", "to": "bot@stoa.example",
            "subject": "Hi", "text": text, "verified": True, **more}  # fmt: skip


def test_a_mail_gateway_signs_as_standard_webhooks_do(stoa: Stoa, mail: Hook) -> None:
    message = letter()
    body = json.dumps(message).encode()
    now = time.time()
    good = signed_by_gateway(body, mail.secret)
    refused: list[dict[str, str]] = [
        {},
        signed_by_gateway(body, "00" * 16),
        signed_by_gateway(body + b" ", mail.secret),
        signed_by_gateway(body, mail.secret, now - 301),
        signed_by_gateway(body, mail.secret, now + 302),
        {**good, "webhook-id": "msg_other"},
        {**good, "webhook-id": ""},
    ]
    for headers in refused:
        assert mail.send(message, headers).status_code == 400, headers
    assert stored(stoa, mail) == 0
    two = {**good, "webhook-signature": f"v1,AAAA {good['webhook-signature']}"}
    assert mail.send(message, two).json() == {"ok": True}
    wanted = "SELECT chat, sender, about::text FROM stoa.channel_messages WHERE channel_id = $1::uuid"
    (row,) = stoa.sql(wanted, mail.id)
    assert (row["chat"], row["sender"]) == ("ada@example.com", "ada@example.com")
    assert json.loads(row["about"])["in_reply_to"] == message["message_id"]


@pytest.mark.parametrize(
    "more",
    [{"verified": False}, {"verified": "yes"}, {"verified": None}, {"auto_submitted": "auto-replied"}],
)
def test_mail_of_those_who_are_not_known_to_have_sent_it_is_not_heard(
    stoa: Stoa, mail: Hook, more: dict[str, Any]
) -> None:
    before = stored(stoa, mail)
    assert mail.send(letter(**more)).json() == {"ok": True}
    assert stored(stoa, mail) == before


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("telegram", {"update_id": "x"}),
        ("telegram", {}),
        ("email", {"text": "x"}),
        ("email", {"from": "a@b.example\r\nBcc: x@y.example", "text": 5}),
        ("email", {"from": "nobody", "text": "x"}),
    ],
)
def test_what_is_no_message_is_refused(bot: Bot, mail: Hook, provider: str, message: dict[str, Any]) -> None:
    answer = (bot if provider == "telegram" else mail).send(message)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    "message",
    [
        {"update_id": 1, "edited_message": {"text": "x"}},
        {"update_id": 2, "message": {"chat": {"id": 1}, "from": {"id": 2}}},
        update("x", **{"from": {"id": 3, "is_bot": True}}),
        {"update_id": 3, "message": "x"},
    ],
)
def test_what_no_person_wrote_is_taken_and_not_heard(stoa: Stoa, bot: Bot, message: dict[str, Any]) -> None:
    assert bot.send(message).json() == {"ok": True}
    assert stored(stoa, bot) == 0


@pytest.mark.parametrize(
    "more", [{"bot_id": "B1"}, {"subtype": "message_changed"}, {"channel_type": "channel"}, {"ts": None}]
)
def test_what_slack_tells_of_others_is_not_heard(stoa: Stoa, slack: Bot, more: dict[str, Any]) -> None:
    before = stored(stoa, slack)
    assert slack.send(event("x", **more)).json() == {"ok": True}
    assert stored(stoa, slack) == before


def test_a_webhook_is_of_one_provider_and_one_channel(bot: Bot, slack: Bot) -> None:
    for path in (
        bot.path.replace("telegram", "slack"),
        bot.path.replace("telegram", "fax"),
        bot.path.replace(bot.id, slack.id),
        bot.path.replace(bot.id, "00000000-0000-0000-0000-000000000000"),
    ):
        headers = {"x-telegram-bot-api-secret-token": bot.secret}
        assert bot.client.post(path, json=update("x"), headers=headers).status_code == 404, path
    wrong = bot.client.post(bot.path.replace(bot.id, "no-uuid"), json=update("x"))
    assert wrong.status_code == 400
    large = bot.client.post(bot.path, content=b"x" * (2**20 + 1), headers={"content-type": "application/json"})
    assert large.status_code == 413


def test_a_message_that_is_told_again_is_one_message(stoa: Stoa, bot: Bot) -> None:
    message = update("hello")
    for _ in range(3):
        assert bot.send(message).json() == {"ok": True}
    assert stored(stoa, bot) == 1


def test_who_writes_more_than_anybody_reads_is_not_heard_for_a_while(stoa: Stoa, bot: Bot) -> None:
    for _ in range(65):
        assert bot.send(update("again", sender=77)).json() == {"ok": True}
    assert stored(stoa, bot) == 60
    assert bot.send(update("hello", sender=78)).json() == {"ok": True}
    assert stored(stoa, bot) == 61
