"""What deployed code says that is hard to pass on: whoever waits for it is told so at once."""

import re

import pytest
from structlog.testing import capture_logs

from tests.harness import Person, Stoa
from tests.workers.hosting import App, RunningHost, deployed, eventually, listening

TYPESCRIPT = r"""
const nested = ({ levels }) => JSON.parse("[".repeat(levels) + "]".repeat(levels));
const raw = (text) => Deno.stdout.writeSync(new TextEncoder().encode(text));
serve({
  rpc: {
    echo: (params) => params,
    nested,
    half: () => ({ "k\ud800": "cut \ud83d", "whole": "\ud83d\ude00", "spelled": "\\ud800 \\\\ud800" }),
    fails_half: () => { throw new Error("cut \ud83d"); },
    fails_long: () => { throw new Error("x".repeat(3_000_000)); },
    fails_silently: () => { throw new TypeError(); },
    fails_plainly: () => { throw { message: "no error of theirs" }; },
    unfinished: () => { raw("half a line"); return "answered"; },
    keeps_half: (params, caller, ctx) => ctx.collection("notes").insert({ text: "cut \ud83d" }),
    keeps_nested: (params, caller, ctx) => ctx.collection("notes").insert({ text: nested(params) }),
    finds_nested: (params, caller, ctx) => ctx.collection("notes").find({ text: [1] }),
    says_half: () => { log.info("cut \ud83d"); return null; },
  },
  onJob: nested,
});
"""

PYTHON = r"""
import asyncio, os
from stoa import serve

def nested(params, caller, ctx):
    value = 1
    for _ in range(params["levels"]):
        value = [value]
    return value

def fails(problem):
    def handler(params, caller, ctx):
        raise problem
    return handler

def unfinished(params, caller, ctx):
    os.write(1, b"half a line")
    return "answered"

async def cancelled(params, caller, ctx):
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task

serve({
    "nested": nested,
    "half": lambda params, caller, ctx: "cut \ud83d",
    "fails_half": fails(ValueError("cut \ud83d")),
    "fails_long": fails(ValueError("x" * 3_000_000)),
    "unfinished": unfinished,
    "keeps_half": lambda params, caller, ctx: ctx.collection("notes").insert({"text": "cut \ud83d"}),
    "next": lambda params, caller, ctx: next(iter([])),
    "cancelled": cancelled,
})
"""


@pytest.fixture(scope="module")
def typescript(admin: Person, host: RunningHost) -> App:
    _install(admin, "ts")
    return deployed(admin, "ts", TYPESCRIPT)


@pytest.fixture(scope="module")
def python(admin: Person, host: RunningHost) -> App:
    _install(admin, "py")
    return deployed(admin, "py", {"main.py": PYTHON})


@pytest.fixture(params=["typescript", "python"])
def app(request: pytest.FixtureRequest) -> App:
    """The same app in both languages."""
    found: App = request.getfixturevalue(request.param)
    return found


def _install(admin: Person, app_id: str) -> None:
    notes = {"entityName": "notes", "fields": [{"name": "text", "type": "text"}]}
    manifest = {"appId": app_id, "name": app_id, "version": "1.0.0", "dataContract": [notes]}
    assert admin.client.post("/api/v1/apps", json=manifest).status_code == 200


def test_a_result_of_many_levels(app: App) -> None:
    assert app.rpc("nested", {"levels": 200}).status_code == 200
    assert app.error("nested", {"levels": 300}) == "the result must not be nested deeper than 200 levels"


def test_a_result_of_so_many_levels_that_nobody_reads_it(typescript: App) -> None:
    assert "nested deeper" in typescript.error("nested", {"levels": 1000})
    assert "nested too deep" in typescript.error("nested", {"levels": 5000})
    assert "nested too deep" in typescript.error("keeps_nested", {"levels": 5000})


def test_half_a_character_is_replaced(typescript: App, python: App) -> None:
    whole = {"whole": "\N{GRINNING FACE}", "spelled": r"\ud800 \\ud800"}
    assert typescript.call("half") == {"k\N{REPLACEMENT CHARACTER}": "cut \N{REPLACEMENT CHARACTER}", **whole}
    assert typescript.error("fails_half") == "cut \N{REPLACEMENT CHARACTER}"
    assert typescript.call("keeps_half")["text"] == "cut \N{REPLACEMENT CHARACTER}"
    assert python.call("half") == "cut ?"
    assert python.error("fails_half") == "cut ?"
    assert python.call("keeps_half")["text"] == "cut ?"


def test_half_a_character_in_the_log(typescript: App, admin: Person) -> None:
    with listening(admin, "ts") as log:
        typescript.call("says_half")
        eventually(lambda: log.messages("info") == ["cut \N{REPLACEMENT CHARACTER}"])


def test_of_a_long_error_the_beginning_is_told(app: App) -> None:
    assert app.error("fails_long") == "x" * 8192


def test_an_error_without_a_text_is_told_by_its_name(typescript: App) -> None:
    assert typescript.error("fails_silently") == "TypeError"
    assert typescript.error("fails_plainly") == "no error of theirs"


def test_a_line_that_the_app_left_unfinished_spoils_no_answer(app: App, admin: Person) -> None:
    with listening(admin, app.id) as log:
        assert app.call("unfinished") == "answered"
        eventually(lambda: log.messages("stdout") == ["half a line"])


def test_what_python_hides_from_those_who_wait(python: App) -> None:
    assert "StopIteration" in python.error("next")
    assert python.error("cancelled") == "CancelledError"


def test_a_mistake_of_the_app_is_none_of_ours(typescript: App) -> None:
    with capture_logs() as logs:
        assert typescript.error("finds_nested") == "find takes the values that fields are to have"
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


def test_params_that_only_a_document_can_hold(typescript: App, stoa: Stoa) -> None:
    asked = 'mutation { callApp(app: "ts", method: "echo", params: {large: 123456789012345678901234567890}) }'
    assert typescript.person.graphql(asked) == {"data": {"callApp": {"large": 1.2345678901234568e29}}}


def test_params_that_are_too_large(typescript: App) -> None:
    assert typescript.call("echo", {"text": "x" * 900_000}) == {"text": "x" * 900_000}
    for size in (1_000_000, 5_000_000):
        answer = typescript.rpc("echo", {"text": "x" * size})
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert re.match(r"these are \d+ bytes of JSON, the app's code can be told 1000000", answer.json()["error"])
