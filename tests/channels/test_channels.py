"""Making channels, switching them on and off, and who may."""

import json

import pytest

from tests.channels.people import PUBLIC, Bot, new_channel
from tests.channels.providers import BOT_TOKEN, SIGNING_SECRET, SLACK_TOKEN, Api, mail_server, update
from tests.harness import Person, Stoa


def test_a_channel_is_made_inactive_and_its_secrets_are_never_shown(stoa: Stoa, admin: Person) -> None:
    body = {"provider": "telegram", "name": "Bot", "config": {"bot_token": BOT_TOKEN, "note": {"a": 1}}}
    made = admin.client.post("/api/v1/channels", json=body)
    assert made.status_code == 200
    assert set(made.json()) == {"id", "webhook_secret"}
    assert len(bytes.fromhex(made.json()["webhook_secret"])) == 16
    row = admin.client.get("/api/v1/channels").json()[0]
    assert set(row) == {"id", "provider", "name", "config", "status", "createdAt", "updatedAt"}
    assert (row["id"], row["provider"], row["status"]) == (made.json()["id"], "telegram", "inactive")
    assert row["config"] == {"note": {"a": 1}}
    assert row["createdAt"].endswith("+00")
    everything = json.dumps(stoa.sql("SELECT config::text AS config FROM stoa.channels"))
    assert BOT_TOKEN not in everything
    log = stoa.sql("SELECT new_record::text AS new FROM stoa.audit_log WHERE entity = 'channels'")
    assert BOT_TOKEN not in str(log)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"provider": "fax", "name": "x", "config": {}}, "provider"),
        ({"provider": "telegram", "config": {}}, "name"),
        ({"provider": "telegram", "name": " ", "config": {}}, "name"),
        ({"provider": "telegram", "name": "x"}, "config"),
        ({"provider": "telegram", "name": "x", "config": []}, "config"),
        ({"provider": "telegram", "name": "x", "config": {"bot_token": 5}}, "config.bot_token"),
        ({"provider": "telegram", "name": "x", "config": {"webhook_secret": "short"}}, "config.webhook_secret"),
        ({"provider": "telegram", "name": "x", "config": {"api_url": "ftp://x"}}, "config.api_url"),
        ({"provider": "telegram", "name": "x", "config": {"note": "\u0000"}}, "config.note"),
        ({"provider": "email", "name": "x", "config": {"smtp_port": 22}}, "config.smtp_port"),
        ({"provider": "email", "name": "x", "config": {"smtp_host": "a b"}}, "config.smtp_host"),
        ({"provider": "email", "name": "x", "config": {"smtp_security": "maybe"}}, "config.smtp_security"),
        ({"provider": "email", "name": "x", "config": {"from": "nobody"}}, "config.from"),
    ],
)
def test_what_cannot_be_a_channel_is_refused_by_the_part_that_is_wrong(
    admin: Person, body: dict[str, object], field: str
) -> None:
    before = len(admin.client.get("/api/v1/channels").json())
    answer = admin.client.post("/api/v1/channels", json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert len(admin.client.get("/api/v1/channels").json()) == before


def test_activating_registers_the_webhook_with_telegram(bot: Bot, api: Api, admin: Person) -> None:
    assert [name for name, _ in api.calls] == ["getMe", "setWebhook"]
    assert api.called("setWebhook") == [
        {"url": f"{PUBLIC}{bot.path}", "secret_token": bot.secret, "allowed_updates": ["message"]}
    ]
    told = bot.activate(config={"note": "kept", "bot_token": "another", "webhook_secret": "another-secret-0123"})
    assert told == {"status": "active", "webhook_url": f"{PUBLIC}{bot.path}"}
    assert api.called("setWebhook")[-1]["secret_token"] == bot.secret
    (row,) = [row for row in admin.client.get("/api/v1/channels").json() if row["id"] == bot.id]
    assert row["config"] == {"api_url": api.url, "note": "kept", "account": {"username": "stoa_bot"}}
    assert row["status"] == "active"


def test_secrets_may_come_with_the_activation_where_there_are_none_yet(stoa: Stoa, admin: Person, api: Api) -> None:
    id, _ = new_channel(admin, "slack", {"api_url": api.url})
    path = f"/api/v1/channels/{id}/activate"
    early = admin.client.post(path, json={"public_url": PUBLIC})
    assert (early.status_code, "signing_secret is not configured" in early.json()["error"]) == (500, True)
    wrong = {"bot_token": "xoxb-other", "signing_secret": SIGNING_SECRET}
    refused = admin.client.post(path, json={"public_url": PUBLIC, "config": wrong})
    assert (refused.status_code, "invalid_auth" in refused.json()["error"]) == (500, True)
    assert stoa.sql("SELECT key FROM stoa.secrets WHERE scope = $1 ORDER BY key", f"channel:{id}") == [
        {"key": "webhook_secret"}
    ]
    good = {"bot_token": SLACK_TOKEN, "signing_secret": SIGNING_SECRET}
    assert admin.client.post(path, json={"public_url": PUBLIC, "config": good}).json()["status"] == "active"


@pytest.mark.parametrize("body", [None, {}, {"public_url": "not a url"}, {"public_url": "https://x?y=1"}])
def test_without_a_public_url_nothing_is_activated(admin: Person, api: Api, body: dict[str, str] | None) -> None:
    id, _ = new_channel(admin, "telegram", {"api_url": api.url, "bot_token": BOT_TOKEN})
    api.calls.clear()
    answer = admin.client.post(f"/api/v1/channels/{id}/activate", **({} if body is None else {"json": body}))
    assert answer.status_code == 400
    assert api.calls == []


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        ("telegram", {"api_url": "http://169.254.169.254/", "bot_token": BOT_TOKEN}),
        ("slack", {"api_url": "http://[fd00::1]/", "bot_token": BOT_TOKEN, "signing_secret": SIGNING_SECRET}),
        ("email", {"smtp_host": "169.254.169.254", "from": "bot@stoa.example"}),
    ],
)
def test_what_is_not_public_is_not_called(admin: Person, provider: str, config: dict[str, str]) -> None:
    id, _ = new_channel(admin, provider, config)
    answer = admin.client.post(f"/api/v1/channels/{id}/activate", json={"public_url": PUBLIC})
    assert (answer.status_code, "not a public address" in answer.json()["error"]) == (500, True)
    assert BOT_TOKEN not in answer.text


def test_a_channel_that_is_switched_off_hears_nothing(bot: Bot, api: Api, admin: Person) -> None:
    assert bot.send(update("hello")).json() == {"ok": True}
    off = admin.client.post(f"/api/v1/channels/{bot.id}/deactivate")
    assert off.json() == {"status": "inactive"}
    assert api.calls[-1][0] == "deleteWebhook"
    before = len(bot.messages())
    assert bot.send(update("still there?")).json() == {"ok": True}
    assert len(bot.messages()) == before
    assert admin.client.post(f"/api/v1/channels/{bot.id}/link").status_code == 404
    api.answers["deleteWebhook"] = [(500, {})]
    bot.activate()
    assert admin.client.post(f"/api/v1/channels/{bot.id}/deactivate").status_code == 200


def test_deleting_takes_everything_along_and_may_be_done_twice(stoa: Stoa, bot: Bot, admin: Person) -> None:
    bot.send(update("hello"))
    bot.link(admin)
    for _ in range(2):
        gone = admin.client.delete(f"/api/v1/channels/{bot.id}")
        assert (gone.status_code, gone.json()) == (200, {"status": "ok"})
    assert stoa.sql("SELECT key FROM stoa.secrets WHERE scope = $1", f"channel:{bot.id}") == []
    for table in ("messages", "links", "identities", "conversations"):
        assert stoa.sql(f"SELECT 1 FROM stoa.channel_{table} WHERE channel_id = $1::uuid", bot.id) == []
    assert bot.send(update("hello")).status_code == 404
    assert admin.client.delete("/api/v1/channels/no-uuid").status_code == 400


def test_only_administrators_run_channels(stoa: Stoa, bot: Bot) -> None:
    plain = stoa.person().client
    assert plain.get("/api/v1/channels").status_code == 200
    body = {"provider": "telegram", "name": "x", "config": {}}
    assert plain.post("/api/v1/channels", json=body).status_code == 403
    assert plain.delete(f"/api/v1/channels/{bot.id}").status_code == 403
    assert plain.post(f"/api/v1/channels/{bot.id}/activate").status_code == 403
    assert plain.post(f"/api/v1/channels/{bot.id}/deactivate").status_code == 403
    assert plain.post(f"/api/v1/channels/{bot.id}/link").status_code == 200
    assert plain.get(f"/api/v1/channels/{bot.id}/identity").json() == {"linked": False}
    assert plain.delete(f"/api/v1/channels/{bot.id}/identity").status_code == 404
    assert stoa.client().get("/api/v1/channels").status_code == 401


def test_a_mail_server_that_refuses_us_activates_nothing(stoa: Stoa, admin: Person) -> None:
    with mail_server() as mailbox:
        config = {"smtp_host": "localhost", "smtp_port": mailbox.port, "smtp_security": "none",
                  "smtp_username": "stoa", "smtp_password": "wrong", "from": "bot@stoa.example"}  # fmt: skip
        id, _ = new_channel(admin, "email", config)
        refused = admin.client.post(f"/api/v1/channels/{id}/activate", json={"public_url": PUBLIC})
        assert (refused.status_code, refused.json()["code"]) == (500, "upstream_failed")
    away = admin.client.post(f"/api/v1/channels/{id}/activate", json={"public_url": PUBLIC})
    assert away.status_code == 500
    (row,) = [row for row in admin.client.get("/api/v1/channels").json() if row["id"] == id]
    assert row["status"] == "inactive"
