"""Guessing passwords: ten for an account, then 429 for a while, and it tells nobody whether there is one."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness import PASSWORD, Databases, Stoa, at_once, running

LOGIN = "/api/v1/auth/login"


def guess(client: httpx.Client, name: str, password: str = "Wr0ngGuess1") -> httpx.Response:
    return client.post(LOGIN, json={"username": name, "password": password})


def test_the_eleventh_guess_is_429_for_known_and_unknown_names_alike(stoa: Stoa) -> None:
    person = stoa.person()
    client = stoa.client()
    seen = {}
    for name in (person.name, "nobody-of-that-name"):
        answers = [guess(client, name) for _ in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        limited = answers[-1]
        assert 800 < int(limited.headers["retry-after"]) <= 900
        seen[name] = {**limited.json(), "requestId": ""}
    assert seen[person.name] == seen["nobody-of-that-name"]
    assert seen[person.name]["code"] == "rate_limited"


def test_the_right_password_does_not_get_past_the_limit_and_sessions_go_on(stoa: Stoa) -> None:
    person = stoa.person()
    client = stoa.client()
    for _ in range(10):
        assert guess(client, person.name).status_code == 401
    assert guess(client, person.name, PASSWORD).status_code == 429
    renewed = client.post("/api/v1/auth/refresh", json={"refreshToken": person.refresh_token})
    assert renewed.status_code == 200
    assert person.client.get("/api/v1/auth/me").status_code == 200


def test_one_account_has_one_count_however_its_name_is_written(stoa: Stoa) -> None:
    person = stoa.person("Grüße@example.com")
    client = stoa.client()
    spellings = ["Grüße@example.com", "GRÜSSE@example.com", " grüsse@EXAMPLE.com ", "gru\u0308ße@example.com"]
    assert stoa.signed_in(spellings[1]).id == person.id
    statuses = [guess(client, spellings[number % 4]).status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]


def test_guesses_made_at_once_are_no_more(stoa: Stoa) -> None:
    person = stoa.person()
    clients = [stoa.client() for _ in range(20)]
    answers = at_once([lambda client=client: guess(client, person.name) for client in clients])
    assert sorted(answer.status_code for answer in answers) == [401] * 10 + [429] * 10


def test_signing_in_often_or_at_once_is_no_guessing(stoa: Stoa) -> None:
    person = stoa.person()
    clients = [stoa.client() for _ in range(20)]
    for _ in range(2):
        answers = at_once([lambda client=client: guess(client, person.name, PASSWORD) for client in clients])
        assert [answer.status_code for answer in answers] == [200] * 20


def test_graphql_is_limited_with_it(stoa: Stoa) -> None:
    client = stoa.client()
    name = "graphql-nobody"
    ask = {"query": f'mutation {{ login(name: "{name}", password: "x") {{ accessToken }} }}'}
    codes = [client.post("/graphql", json=ask).json()["errors"][0]["extensions"]["code"] for _ in range(10)]
    assert codes == ["UNAUTHENTICATED"] * 10
    limited = client.post("/graphql", json=ask)
    assert limited.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert int(limited.headers["retry-after"]) > 800
    assert guess(client, name).status_code == 429


@pytest.fixture
def strict(databases: Databases, valkey_url: str, tmp_path: Path) -> Iterator[Stoa]:
    with running(databases.new(), valkey_url, tmp_path, sign_in_failures_per_address=15) as server:
        yield server


def test_an_address_that_tries_many_accounts_is_stopped_but_those_who_are_known_there(strict: Stoa) -> None:
    known = strict.person()
    newcomer = {"username": "newcomer", "password": PASSWORD}
    client = strict.client()
    assert client.post("/api/v1/auth/register", json=newcomer).status_code == 201
    statuses = [guess(client, f"account-{number}").status_code for number in range(17)]
    assert statuses == [401] * 15 + [429] * 2
    assert client.post(LOGIN, json=newcomer).status_code == 429
    assert guess(client, known.name, PASSWORD).status_code == 200


def test_strangers_do_not_keep_out_an_owner_who_comes_from_where_they_came_before(stoa: Stoa) -> None:
    """Guesses from elsewhere use up what strangers share. Here they come by another address of this machine."""
    person = stoa.person()
    with httpx.Client(base_url=stoa.base_url, transport=httpx.HTTPTransport(local_address="127.0.0.7")) as stranger:
        assert [guess(stranger, person.name).status_code for _ in range(11)] == [401] * 10 + [429]
    with httpx.Client(base_url=stoa.base_url, transport=httpx.HTTPTransport(local_address="127.0.0.8")) as another:
        assert guess(another, person.name, PASSWORD).status_code == 429
    assert guess(stoa.client(), person.name, PASSWORD).status_code == 200


def test_it_goes_on_without_valkey(databases: Databases, tmp_path: Path) -> None:
    with running(databases.new(), None, tmp_path) as alone:
        person = alone.person()
        assert [guess(alone.client(), person.name).status_code for _ in range(11)] == [401] * 10 + [429]
