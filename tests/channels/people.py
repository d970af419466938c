"""What people do with channels, over REST."""

import itertools
from typing import Any

from tests import build
from tests.channels.providers import BOT_TOKEN, SIGNING_SECRET, SLACK_TOKEN, Api, Hook
from tests.harness import Person, Stoa

PUBLIC = "https://stoa.example"
_numbers = itertools.count(1)

TOKENS: dict[str, dict[str, str]] = {
    "telegram": {"bot_token": BOT_TOKEN},
    "slack": {"bot_token": SLACK_TOKEN, "signing_secret": SIGNING_SECRET},
}


class Bot(Hook):
    """A channel, and those who talk in it."""

    def __init__(self, stoa: Stoa, admin: Person, api: Api, provider: str, id: str, secret: str) -> None:
        super().__init__(stoa.client(), provider, id, secret)
        self.stoa = stoa
        self.admin = admin
        self.api = api

    def activate(self, **body: Any) -> Any:
        answer = self.admin.client.post(f"/api/v1/channels/{self.id}/activate", json={"public_url": PUBLIC, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def link(self, person: Person) -> dict[str, str]:
        """A token by which the channel will know somebody."""
        answer = person.client.post(f"/api/v1/channels/{self.id}/link")
        assert answer.status_code == 200, answer.text
        link: dict[str, str] = answer.json()
        return link

    def messages(self) -> list[dict[str, Any]]:
        """What is on its way, newest first, as administrators see it."""
        query = """query ($id: UUID!) {
            channelMessages(channel: $id) { nodes { direction chat sender body state attempts error } }
        }"""
        found: list[dict[str, Any]] = self.admin.data(query, id=self.id)["channelMessages"]["nodes"]
        return found

    def states(self, direction: str = "IN") -> list[str]:
        """How far the messages of one direction are, oldest first."""
        return [row["state"] for row in reversed(self.messages()) if row["direction"] == direction]


def new_channel(admin: Person, provider: str, config: dict[str, Any]) -> tuple[str, str]:
    """A channel's id and its webhook secret."""
    body = {"provider": provider, "name": f"{provider} {next(_numbers)}", "config": config}
    answer = admin.client.post("/api/v1/channels", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"], answer.json()["webhook_secret"]


def new_bot(stoa: Stoa, admin: Person, api: Api, provider: str) -> Bot:
    """A channel with these APIs that is active."""
    id, secret = new_channel(admin, provider, {"api_url": api.url, **TOKENS[provider]})
    bot = Bot(stoa, admin, api, provider, id, secret)
    bot.activate()
    return bot


def talker(stoa: Stoa, admin: Person, *agents: str) -> Person:
    """Somebody who may talk with these agents."""
    return build.reader(stoa, admin, *(f"app:{agent}:invoke" for agent in agents))
