"""What the pages are made of: all of it is served by us, as what it is, and nothing of it asks anybody else."""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath

import httpx
import pytest

from infra.app import PAGE_POLICY, STATIC
from tests.harness import Stoa

PAGES = ("/", "/docs", "/graphql")
HTML = "text/html; charset=utf-8"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".graphql": None,  # no registered type; pages read it as text
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
OURS = sorted(path for path in STATIC.rglob("*") if path.is_file() and path.parent.name != "vendor")
LINKS = re.compile(r'(?:href|src)="([^"]+)"')
IMPORTS = re.compile(r'(?:from |import |import\()"([^"]+)"|fetch\("([^"]+)"')
STYLE_LINKS = re.compile(r"@import|url\((?!\"?data:)([^)]*)\)")
OTHER_HOSTS = re.compile(r'(?:https?:|wss?:|["\'(=])//[a-z0-9.-]+', re.IGNORECASE)
BYTES_MAX = 4_000_000


@pytest.fixture(scope="module")
def browser(stoa: Stoa) -> httpx.Client:
    """Asks for pages, as browsers do."""
    client = stoa.client()
    client.headers["accept"] = "text/html,application/xhtml+xml,*/*;q=0.8"
    return client


def linked(path: str, text: str) -> Iterator[str]:
    """The paths on our host that a page or an asset links, loads or fetches."""
    found = IMPORTS.findall(text) if path.endswith(".js") else [(link, "") for link in LINKS.findall(text)]
    for imported, fetched in found:
        yield normpath(join(dirname(path), imported or fetched))


def assets(browser: httpx.Client) -> dict[str, httpx.Response]:
    """All that can be reached from the pages, by path."""
    answers: dict[str, httpx.Response] = {}
    pending = list(PAGES)
    while pending:
        path = pending.pop()
        if path not in answers:
            answers[path] = answer = browser.get(path)
            if "/vendor/" not in path and answer.headers["content-type"].startswith(("text/html", "text/javascript")):
                pending += linked(path, answer.text)
    return answers


def test_all_that_the_pages_name_is_there_and_is_what_it_says(browser: httpx.Client) -> None:
    answers = assets(browser)
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    for path, answer in answers.items():
        if path in PAGES:
            assert answer.headers["content-type"] == HTML
        elif path.startswith("/static/"):
            assert answer.headers["content-type"] == (TYPES[Path(path).suffix] or answer.headers["content-type"])
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_of_ours_is_used(browser: httpx.Client) -> None:
    used = {path.removeprefix("/static/") for path in assets(browser) if path.startswith("/static/site/")}
    assert used == {str(path.relative_to(STATIC)) for path in OURS if path.parent.name == "site"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_our_files_name_no_other_host(path: Path) -> None:
    text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert OTHER_HOSTS.findall(text) == []


@pytest.mark.parametrize("path", sorted(STATIC.rglob("*.css")), ids=lambda path: path.name)
def test_style_sheets_load_nothing(path: Path) -> None:
    assert STYLE_LINKS.findall(path.read_text()) == []


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_held_to_our_own_files(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    assert answer.headers["cache-control"] == "no-cache"
    # What the policy would not let run.
    assert re.findall(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=", answer.text) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_asked_for_with_get_or_head(browser: httpx.Client, path: str) -> None:
    head = browser.head(path)
    assert (head.status_code, head.headers["content-type"], head.content) == (200, HTML, b"")
    refused = browser.delete(path)
    allowed = "POST" if path == "/graphql" else "GET, HEAD"
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/docs", "/static/vendor/graphiql.js"])
def test_what_has_not_changed_is_not_sent_again(browser: httpx.Client, path: str) -> None:
    whole = browser.get(path)
    again = browser.get(path, headers={"if-none-match": whole.headers["etag"]})
    assert whole.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name", ["none.js", "", "site", "..%2fapp.py", "%2fetc%2fpasswd", "site/%00", "%ff", "x" * 300]
)
def test_nothing_else_is_served(browser: httpx.Client, name: str) -> None:
    answer = browser.get(f"/static/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_pages_stay_small_and_have_no_source_maps() -> None:
    files = [path for path in STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < BYTES_MAX
    maps = re.compile(rb"^(//|/\*)# sourceMappingURL=", re.MULTILINE)
    assert [path for path in files if path.suffix == ".map" or maps.search(path.read_bytes())] == []
