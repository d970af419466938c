"""The providers' languages: what is asked and what is understood, without anything of ours around it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.agents.ports import Delta, ModelName, Prompt, Said, ToolSpec, ToolUse, Turn
from domain.kernel.errors import Failed, Unavailable
from infra.agents.models import ProviderModels
from infra.outbound import HttpOutbound
from infra.settings import Settings
from tests.agents.provider import Provider, Raw, Refuse, Say

TOOL = ToolSpec("add", "Adds.", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
TALK = [
    Said("user", "add one"),
    Said("assistant", "I do", (ToolUse("c1", "add", {"a": 1}), ToolUse("c2", "add", {"a": 2}))),
    Said("tool", "1", use_id="c1", tool_name="add"),
    Said("tool", "2", use_id="c2", tool_name="add"),
    Said("user", "and two"),
]


async def models(provider: Provider, name: str) -> AsyncIterator[ProviderModels]:
    url = provider.url if name == "openai" else provider.url.removesuffix("/v1")
    outbound = HttpOutbound()
    made = ProviderModels(Settings(llm_provider=name, llm_base_url=url, llm_key="sk-x", llm_model="m-1"), outbound)
    yield made
    await made.close()
    await outbound.close()


@pytest.fixture
async def openai(model: Provider) -> AsyncIterator[ProviderModels]:
    async for made in models(model, "openai"):
        yield made


@pytest.fixture
async def anthropic(model: Provider) -> AsyncIterator[ProviderModels]:
    async for made in models(model, "anthropic"):
        yield made


async def said(models: ProviderModels, prompt: Prompt) -> tuple[str, Turn]:
    """What came piece by piece, and the whole."""
    *pieces, turn = [piece async for piece in models.turn(prompt)]
    assert isinstance(turn, Turn)
    return "".join(piece.text for piece in pieces if isinstance(piece, Delta)), turn


async def test_openai(openai: ProviderModels, model: Provider) -> None:
    assert openai.default == ModelName("openai", "m-1")
    model.script(Say("it is three", calls=[("add", {"a": 3})], tokens=12))
    text, turn = await said(openai, Prompt("Be brief.", TALK, [TOOL]))
    assert text == turn.text == "it is three"
    assert turn == Turn("it is three", (ToolUse("call_0", "add", {"a": 3}),), 12)
    asked = model.asked[0]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [message["role"] for message in asked["messages"]] == ["system", "user", "assistant", "tool", "tool", "user"]
    calls = asked["messages"][2]["tool_calls"]
    assert [(call["id"], json.loads(call["function"]["arguments"])) for call in calls] == [
        ("c1", {"a": 1}),
        ("c2", {"a": 2}),
    ]
    assert asked["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": "1"}
    assert [tool["function"]["name"] for tool in asked["tools"]] == ["add"]
    assert (asked["stream"], model.headers[0]["authorization"]) == (True, "Bearer sk-x")


@pytest.mark.parametrize(("arguments", "args"), [("", {}), (" ", " "), ("{}", {}), ("[]", []), ('{"a', '{"a')])
async def test_arguments_that_are_none(openai: ProviderModels, model: Provider, arguments: str, args: Any) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "add", "arguments": arguments}}
    parts = ({"delta": {"tool_calls": [call]}, "finish_reason": None}, {"delta": {}, "finish_reason": "tool_calls"})
    chunks = [{"id": "1", "created": 1, "model": "m-1", "choices": [{"index": 0, **part}]} for part in parts]
    model.script(Raw([*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n"]))
    assert (await said(openai, Prompt(None, TALK, [TOOL])))[1].uses == (ToolUse("c", "add", args),)


async def test_a_refusal_that_quotes_the_key_keeps_it_secret(openai: ProviderModels, model: Provider) -> None:
    model.script(Refuse(401, {"error": {"message": "Incorrect API key: sk-x"}}))
    with pytest.raises(Failed, match=r"401: Incorrect API key: \*\*\*$"):
        await said(openai, Prompt(None, TALK))


def events(*parts: dict[str, Any]) -> Raw:
    """A stream as Anthropic's messages API sends it."""
    return Raw([f"event: {part['type']}\ndata: {json.dumps(part)}\n\n" for part in parts])


BEGIN = {
    "type": "message_start",
    "message": {"id": "m", "type": "message", "role": "assistant", "model": "m-1", "content": [], "stop_reason": None,
                "stop_sequence": None, "usage": {"input_tokens": 8, "output_tokens": 1}},
}  # fmt: skip
TEXT = [
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "it is "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "three"}},
    {"type": "content_block_stop", "index": 0},
]
USE = {"type": "tool_use", "id": "t1", "name": "add", "input": {}}
CALL = [
    {"type": "content_block_start", "index": 1, "content_block": USE},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"a\":"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": " 3}"}},
    {"type": "content_block_stop", "index": 1},
]  # fmt: skip
END = [
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
]  # fmt: skip


async def test_anthropic(anthropic: ProviderModels, model: Provider) -> None:
    model.script(events(BEGIN, *TEXT, *CALL, *END))
    text, turn = await said(anthropic, Prompt("Be brief.", TALK, [TOOL]))
    assert text == turn.text == "it is three"
    assert (turn.uses, turn.tokens) == ((ToolUse("t1", "add", {"a": 3}),), 12)
    asked = model.asked[0]
    assert "Be brief." in json.dumps(asked["system"])
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    results = [part for part in asked["messages"][2]["content"] if part["type"] == "tool_result"]
    assert [part["tool_use_id"] for part in results] == ["c1", "c2"]
    assert model.headers[0]["authorization"] == "Bearer sk-x"


@pytest.mark.parametrize(
    ("turn", "error"),
    [
        (events(BEGIN, *TEXT), "broke off"),
        (events(BEGIN, {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}), "Busy"),
        (Refuse(401, {"type": "error", "error": {"message": "bad key"}}), "401: bad key"),
    ],
)
async def test_what_anthropic_says_of_a_failure(
    anthropic: ProviderModels, model: Provider, turn: Raw | Refuse, error: str
) -> None:
    model.script(turn)
    with pytest.raises(Failed, match=error):
        await said(anthropic, Prompt(None, [Said("user", "hi")]))


async def test_without_a_provider_there_is_no_model() -> None:
    outbound = HttpOutbound()
    nothing = ProviderModels(Settings(llm_model="m-1"), outbound)
    assert nothing.default is None
    with pytest.raises(Unavailable, match="no model is configured"):
        await said(nothing, Prompt(None, [Said("user", "hi")]))
    await outbound.close()
