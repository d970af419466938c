"""Talking with agents: being known, commands, answers, and sessions that go on."""

import time

import httpx
import orjson
import pytest

from tests.agents.asking import agent
from tests.channels.conftest import CODE
from tests.channels.people import PUBLIC, Bot, new_bot, new_channel, talker
from tests.channels.providers import Api, Hook, event, mail_server, update
from tests.harness import Person, Stoa
from tests.workers.hosting import eventually

pytestmark = pytest.mark.usefixtures("assistant")


def linked(bot: Bot, person: Person, sender: int) -> None:
    """Let the bot know somebody."""
    before = len(bot.api.said())
    bot.send(update(f"/link {bot.link(person)['token']}", chat=sender, sender=sender))
    eventually(lambda: len(bot.api.said()) > before)
    assert "You are linked as" in bot.api.said()[-1]


def answers(bot: Bot, count: int) -> list[str]:
    """What the bot said, once it has said so much."""
    eventually(lambda: len(bot.api.said()) >= count)
    return bot.api.said()


@pytest.fixture
def ada(stoa: Stoa, admin: Person, bot: Bot) -> Person:
    """Somebody the bot knows, as sender 42 in chat 42; what was said till now is forgotten."""
    person = talker(stoa, admin, "assistant")
    linked(bot, person, 42)
    bot.api.calls.clear()
    return person


def test_a_token_makes_a_sender_known_once(stoa: Stoa, admin: Person, bot: Bot, api: Api) -> None:
    person = talker(stoa, admin, "assistant")
    link = bot.link(person)
    assert link["provider"] == "telegram"
    assert link["token"].startswith("link_")
    assert len(bytes.fromhex(link["token"].removeprefix("link_"))) == 16
    assert link["linkUrl"] == f"https://t.me/stoa_bot?start={link['token']}"
    assert link["token"] not in str(stoa.sql("SELECT * FROM stoa.channel_links"))
    assert person.client.get(f"/api/v1/channels/{bot.id}/identity").json() == {"linked": False}
    bot.send(update(f"/start {link['token']}", chat=5, sender=5))
    assert f"You are linked as {person.name}" in answers(bot, 1)[0]
    assert person.client.get(f"/api/v1/channels/{bot.id}/identity").json() == {"linked": True}
    bot.send(update(f"/start {link['token']}", chat=6, sender=6))
    assert "not good" in answers(bot, 2)[1]
    (given,) = stoa.sql("SELECT app_id FROM stoa.agent_delegations WHERE owner_id = $1::uuid", person.id)
    assert given["app_id"] == "assistant"
    gone = person.client.delete(f"/api/v1/channels/{bot.id}/identity")
    assert (gone.status_code, gone.json()) == (200, {"status": "unlinked"})
    assert stoa.sql("SELECT 1 FROM stoa.agent_delegations WHERE owner_id = $1::uuid", person.id) == []
    assert person.client.delete(f"/api/v1/channels/{bot.id}/identity").status_code == 404


def test_who_waits_to_be_known_is_told(stoa: Stoa, admin: Person, bot: Bot) -> None:
    person, other = (talker(stoa, admin, "assistant") for _ in range(2))
    query = "subscription ($id: UUID!) { channelLinked(channel: $id) }"
    body = {"query": query, "variables": {"id": bot.id}}
    headers = {"authorization": f"Bearer {person.token}", "accept": "text/event-stream"}
    with (
        httpx.Client(base_url=person.client.base_url, timeout=15) as client,
        client.stream("POST", "/graphql", json=body, headers=headers) as response,
    ):
        lines = (line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: "))
        told = (orjson.loads(line)["data"]["channelLinked"] for line in lines)
        assert next(told) is False
        linked(bot, other, 71)
        linked(bot, person, 72)
        assert next(told) is True
        assert person.client.delete(f"/api/v1/channels/{bot.id}/identity").status_code == 200
        assert next(told) is False
    body["variables"] = {"id": "00000000-0000-4000-8000-000000000000"}
    nowhere = person.client.post("/graphql", json=body, headers={"accept": "text/event-stream"})
    assert '"code":"NOT_FOUND"' in nowhere.text


def test_a_token_is_good_for_five_minutes_and_in_its_channel(stoa: Stoa, admin: Person, api: Api, bot: Bot) -> None:
    person = talker(stoa, admin, "assistant")
    first, second = bot.link(person)["token"], bot.link(person)["token"]
    bot.send(update(f"/link {first}", chat=1, sender=1))
    assert "not good" in answers(bot, 1)[0]
    other = new_bot(stoa, admin, api, "telegram")
    other.send(update(f"/link {second}", chat=2, sender=2))
    assert "not good" in answers(bot, 2)[1]
    stoa.sql(
        "UPDATE stoa.channel_links SET expires_at = expires_at - interval '5 minutes' WHERE user_id = $1::uuid",
        person.id,
    )
    bot.send(update(f"/link {second}", chat=3, sender=3))
    assert "not good" in answers(bot, 3)[2]
    assert person.client.get(f"/api/v1/channels/{bot.id}/identity").json() == {"linked": False}


def test_somebody_unknown_is_told_how_to_become_known_and_not_again(bot: Bot, api: Api) -> None:
    for text in ("hello", "are you there?", "/agent"):
        bot.send(update(text, chat=9, sender=9))
    eventually(lambda: bot.states() == ["DONE"] * 3)
    assert len(answers(bot, 1)) == 1
    assert "I don't know you yet" in api.said()[0]


def test_what_is_said_goes_to_the_agent_in_the_name_of_who_said_it(bot: Bot, ada: Person) -> None:
    bot.send(update("hello", chat=42, sender=42))
    assert answers(bot, 1) == [f"hello (0 before, for {ada.id})"]
    assert bot.api.called("sendMessage")[0]["chat_id"] == "42"
    bot.send(update("and now?", chat=42, sender=42))
    assert answers(bot, 2)[1] == f"and now? (2 before, for {ada.id})"
    bot.send(update("/newsession", chat=42, sender=42))
    assert answers(bot, 3)[2] == "We begin anew."
    bot.send(update("once more", chat=42, sender=42))
    assert answers(bot, 4)[3] == f"once more (0 before, for {ada.id})"
    eventually(lambda: bot.states("OUT")[-1] == "DONE")  # noted once the provider's answer has come


def test_messages_of_one_chat_are_answered_in_order_and_chats_do_not_wait_for_each_other(
    stoa: Stoa, admin: Person, bot: Bot, ada: Person
) -> None:
    bob = talker(stoa, admin, "assistant")
    linked(bot, bob, 43)
    bot.api.calls.clear()
    bot.send(update("slow", chat=42, sender=42))
    bot.send(update("after it", chat=42, sender=42))
    bot.send(update("meanwhile", chat=43, sender=43))
    said = answers(bot, 3)
    assert [text.split(" (")[0] for text in said] == ["meanwhile", "slow", "after it"]
    assert said[2].startswith("after it (2 before")


def test_agents_are_shown_and_chosen(stoa: Stoa, admin: Person, bot: Bot) -> None:
    agent(admin, "courier", code=CODE, name="Courier")
    agent(admin, "secretive", code=CODE, name="Secretive")
    person = talker(stoa, admin, "assistant", "courier")
    linked(bot, person, 44)
    bot.api.calls.clear()
    for text in ("/agent", "/agent secretive", "/agent@stoa_bot courier", "/agent", "hi"):
        bot.send(update(text, chat=44, sender=44))
    said = answers(bot, 5)
    assert said[0] == "courier: Courier\n* assistant: Dispatcher"
    assert said[1].startswith("There is no agent 'secretive' for you.")
    assert said[2] == "You talk with Courier."
    assert said[3] == "* courier: Courier\nassistant: Dispatcher"
    assert said[4] == f"hi (0 before, for {person.id})"
    given = stoa.sql("SELECT app_id FROM stoa.agent_delegations WHERE owner_id = $1::uuid ORDER BY 1", person.id)
    assert [row["app_id"] for row in given] == ["assistant", "courier"]


def test_without_the_right_to_talk_the_channel_is_silent(stoa: Stoa, admin: Person, bot: Bot) -> None:
    person = stoa.person()
    linked(bot, person, 45)
    bot.api.calls.clear()
    bot.send(update("hello", chat=45, sender=45))
    eventually(lambda: bot.states()[-1] == "FAILED")
    assert bot.messages()[0]["error"] == "permission denied: the owner does not hold app:assistant:invoke"
    stoa.sql("UPDATE stoa.users SET disabled_at = now() WHERE id = $1::uuid", person.id)
    bot.send(update("hello?", chat=45, sender=45))
    eventually(lambda: bot.states()[-2:] == ["FAILED", "FAILED"])
    assert bot.api.said() == []


def test_an_agent_that_fails_is_apologized_for(bot: Bot, ada: Person) -> None:
    bot.send(update("fail", chat=42, sender=42))
    assert answers(bot, 1)[0].startswith("Something went wrong")
    assert "no tour today" not in bot.api.said()[0]
    (row,) = [row for row in bot.messages() if row["body"] == "fail"]
    assert (row["state"], "no tour today" in row["error"]) == ("FAILED", True)


def test_a_long_answer_comes_in_parts(bot: Bot, ada: Person) -> None:
    bot.send(update("long", chat=42, sender=42))
    said = answers(bot, 2)
    assert [len(part) <= 4000 for part in said] == [True, True]
    assert " ".join(said).split() == ["word"] * 1500


def test_a_provider_that_is_away_gets_it_later_and_one_that_refuses_never(bot: Bot, ada: Person, api: Api) -> None:
    busy = (429, {"ok": False, "description": "Too Many Requests", "parameters": {"retry_after": 1}})
    api.answers["sendMessage"] = [busy]
    began = time.monotonic()
    bot.send(update("one", chat=42, sender=42))
    eventually(lambda: len(api.called("sendMessage")) == 2)
    eventually(lambda: bot.states("OUT")[-1] == "DONE")
    assert time.monotonic() - began > 1
    assert bot.messages()[0]["attempts"] == 2
    api.answers["sendMessage"] = [(403, {"ok": False, "description": "bot was blocked by the user"})]
    bot.send(update("two", chat=42, sender=42))
    eventually(lambda: bot.states("OUT")[-1] == "FAILED")
    assert bot.messages()[0]["error"] == "sendMessage: bot was blocked by the user"
    assert len(api.called("sendMessage")) == 3


def test_a_message_whose_worker_was_lost_is_answered_by_the_next(stoa: Stoa, bot: Bot, ada: Person) -> None:
    stoa.sql(
        """INSERT INTO stoa.channel_messages (id, tenant_id, channel_id, direction, chat, sender, external_id, body,
           about, state, attempts, due_at, lease, created_at)
           SELECT gen_random_uuid(), tenant_id, id, 'in', '42', '42', 'lost', 'lost', '{}', 'waiting', 1,
           now() + interval '1 second', gen_random_uuid(), now() FROM stoa.channels WHERE id = $1::uuid""",
        bot.id,
    )
    assert answers(bot, 1) == [f"lost (0 before, for {ada.id})"]


def test_slack_answers_in_the_thread(stoa: Stoa, admin: Person, api: Api) -> None:
    slack = new_bot(stoa, admin, api, "slack")
    person = talker(stoa, admin, "assistant")
    link = slack.link(person)
    assert "linkUrl" not in link
    api.calls.clear()

    def said(count: int) -> list[str]:
        eventually(lambda: len(api.said("chat.postMessage")) >= count)
        return api.said("chat.postMessage")

    slack.send(event(f" {link['token']} ", user="U9", channel="D9"))
    assert "You are linked as" in said(1)[0]
    mention = {"type": "app_mention", "channel_type": "channel", "ts": "1700.5"}
    slack.send(event("<@U0> a &lt;b&gt;", user="U9", channel="C1", **mention))
    assert said(2)[1] == f"a &lt;b&gt; (0 before, for {person.id})"
    sent = api.called("chat.postMessage")[1]
    assert (sent["channel"], sent["thread_ts"]) == ("C1", "1700.5")
    slack.send(event("<@U0> on", user="U9", channel="C1", **{**mention, "ts": "1700.9", "thread_ts": "1700.5"}))
    assert said(3)[2] == f"on (2 before, for {person.id})"
    slack.send(event("!agent", user="U9", channel="D9"))
    assert "assistant: Dispatcher" in said(4)[3]
    assert "thread_ts" not in api.called("chat.postMessage")[3]


def test_mail_is_answered_by_mail(stoa: Stoa, admin: Person) -> None:
    person = talker(stoa, admin, "assistant")
    with mail_server() as mailbox:
        server = {"smtp_host": "localhost", "smtp_port": mailbox.port, "smtp_security": "none"}
        ours = {"smtp_username": "stoa", "smtp_password": "mail-secret", "from": "Stoa <bot@stoa.example>"}
        id, secret = new_channel(admin, "email", {**server, **ours})
        active = admin.client.post(f"/api/v1/channels/{id}/activate", json={"public_url": PUBLIC})
        assert active.status_code == 200, active.text
        hook = Hook(stoa.client(), "email", id, secret)
        link = person.client.post(f"/api/v1/channels/{id}/link").json()
        assert link["linkUrl"] == f"mailto:bot@stoa.example?subject=Link&body=/link%20{link['token']}"
        first = {"message_id": "<1@example.com>", "from": "Ada <ada@example.com>", "subject": "Link",
                 "text": f"/link {link['token']}\r\n\r\n-- \r\nAda\r\n", "verified": True}  # fmt: skip
        assert hook.send(first).json() == {"ok": True}
        eventually(lambda: mailbox.letters)
        mailbox.refusals.append("451 try again later")
        second = {**first, "message_id": "<2@example.com>", "subject": "Re: parcels", "text": "where is it?\r\n",
                  "references": "<0@example.com> <1@example.com>"}  # fmt: skip
        hook.send(second)
        eventually(lambda: len(mailbox.letters) == 2, 15)
        letter = mailbox.letters[1]
        assert letter["From"] == "Stoa <bot@stoa.example>"
        assert letter["To"] == "ada@example.com"
        assert letter["Subject"] == "Re: parcels"
        assert letter["In-Reply-To"] == "<2@example.com>"
        assert letter["References"] == "<0@example.com> <1@example.com> <2@example.com>"
        assert letter["Auto-Submitted"] == "auto-replied"
        assert letter["Message-ID"].endswith("@stoa.example>")
        assert letter.get_content().strip() == f"where is it? (0 before, for {person.id})"
        assert set(mailbox.signed_in) == {"stoa"}
