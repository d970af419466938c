"""Signing in with an OpenID provider that others wrote and that is certified: npm's `oidc-provider`, as a process."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.harness import Person, Stoa
from tests.sign_in.browser import BASE, Browser, query_of

SOURCE = Path(__file__).parent / "oidc_provider"
CLIENT, SECRET = "stoa", "a secret of forty characters, or nearly so"

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here")


@dataclass(frozen=True)
class RealProvider:
    url: str

    def signed_in(self, location: str, login: str) -> str:
        """Where the browser is sent at last: after the provider's pages, on which somebody signs in and agrees."""
        with httpx.Client(follow_redirects=False) as browser:
            while location.startswith(self.url):
                page = browser.get(location)
                while page.status_code == 200:
                    form = re.search(r'<form[^>]*action="([^"]+)"', page.text)
                    prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
                    assert form, page.text
                    assert prompt, page.text
                    filled = {"prompt": prompt[1], "login": login, "password": "any"}
                    page = browser.post(form[1], data=filled)
                assert page.is_redirect, page.text
                location = str(page.url.join(page.headers["location"]))
        return location


@pytest.fixture(scope="module")
def real(stoa: Stoa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProvider]:
    folder = shutil.copytree(SOURCE, tmp_path_factory.mktemp("npm") / "provider")
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    subprocess.run(install, cwd=folder, check=True, timeout=110)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    callback = f"{stoa.base_url}{BASE}/callback"
    command = ["node", "provider.mjs", str(port), CLIENT, SECRET, callback]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "listening\n"
            yield RealProvider(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()


def test_somebody_signs_in_and_is_the_same_account_the_next_time(
    stoa: Stoa, admin: Person, browser: Browser, real: RealProvider
) -> None:
    draft = {
        "id": "real", "displayName": "Real", "issuerUrl": real.url, "clientId": CLIENT, "clientSecret": SECRET,
        "scopes": ["openid", "email", "profile"],
    }  # fmt: skip
    assert admin.client.post(f"{BASE}/providers", json=draft).status_code == 200
    ids = set()
    for login in ("grace", "grace", "ada"):
        back = real.signed_in(browser.begin("real"), login)
        assert back.startswith(browser.callback), back
        answer = browser.come_back(query_of(back))
        assert answer.status_code == 200, answer.text
        me = browser.me(answer.json()["accessToken"])
        assert me["email"] == f"{login}@people.test"
        ids.add(me["id"])
    assert len(ids) == 2


def test_a_code_is_good_for_the_browser_that_began_and_once(
    stoa: Stoa, admin: Person, browser: Browser, real: RealProvider
) -> None:
    back = query_of(real.signed_in(browser.begin("real"), "mary"))
    assert browser.come_back(back).status_code == 200
    assert browser.come_back(back).status_code == 401
    stolen = query_of(real.signed_in(browser.begin("real"), "mary"))
    assert Browser(stoa).come_back(stolen).status_code == 401
