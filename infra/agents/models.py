"""Models of providers that speak as OpenAI or Anthropic do, in the cloud or on a machine nearby, and one in a file.

The library that speaks their languages is large: it is imported when a model is asked for the first time. Its requests
go out through our own guarded client.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from domain.agents.ports import Delta, ModelName, Prompt, Said, ToolUse, Turn
from domain.kernel.errors import Failed, Unavailable
from domain.kernel.outbound import Unreached
from infra.agents.local import LocalServer, llama
from infra.agents.transport import guarded_client
from infra.outbound import HttpOutbound
from infra.settings import Settings

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

ANSWER_TOKENS_MAX = 8192  # Anthropic wants to be told
TURN_S_MAX = 600.0
PROVIDERS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
LOCAL, LOCAL_URL = "local", "http://local/v1"
RETRIES = 2
SAID_CHARS_MAX = 500  # of what a provider says of a failure


class ProviderModels:
    """See `domain.agents.ports.Models`."""

    def __init__(self, settings: Settings, outbound: HttpOutbound) -> None:
        self._settings = settings
        self._outbound = outbound
        self._model: asyncio.Task[tuple[Model, Any]] | None = None
        self._local: LocalServer | None = None  # once the model is open, if it is one in a file

    @property
    def default(self) -> ModelName | None:
        if self._settings.llm_provider is None or self._settings.llm_model is None:
            return None
        if self._settings.llm_provider == LOCAL:
            return ModelName(LOCAL, Path(self._settings.llm_model).stem)
        return ModelName(self._settings.llm_provider, self._settings.llm_model)

    async def turn(self, prompt: Prompt) -> AsyncIterator[Delta | Turn]:
        name = self.default
        if name is None:
            raise Unavailable("no model is configured: set STOA_LLM_PROVIDER and STOA_LLM_MODEL")
        model = await self._opened(name)
        try:
            async with asyncio.timeout(TURN_S_MAX), self._local.running() if self._local else nullcontext():
                async for piece in _asked(model, prompt):
                    yield piece
        except Exception as problem:
            failed = _failure(name, problem)
            if failed is None:
                raise
            key = self._settings.llm_key
            said = failed.message.replace(key, "***") if key else failed.message  # a refusal may quote it
            raise Failed(said) from problem

    async def _opened(self, name: ModelName) -> "Model":
        if self._model is None or (self._model.done() and self._model.exception() is not None):
            self._model = asyncio.create_task(asyncio.to_thread(self._open, name))
        return (await asyncio.shield(self._model))[0]

    def _open(self, name: ModelName) -> "tuple[Model, Any]":
        if name.provider == LOCAL:
            self._local = llama(Path(self._settings.llm_model or ""), self._settings.llm_context)
            url, client = LOCAL_URL, self._local.client()
        else:
            url, client = self._settings.llm_base_url or PROVIDERS[name.provider], guarded_client(self._outbound)
        key = self._settings.llm_key or "none"  # a server of one's own may ask for no key, the library does
        common: dict[str, Any] = {"base_url": url, "api_key": key, "http_client": client, "max_retries": RETRIES}
        if name.provider == "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            theirs = AnthropicProvider(anthropic_client=AsyncAnthropic(**common))
            return AnthropicModel(name.model, provider=theirs), client
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIChatModel(name.model, provider=OpenAIProvider(openai_client=AsyncOpenAI(**common))), client

    async def close(self) -> None:
        if self._model is not None:
            with suppress(Exception):
                await (await self._model)[1].aclose()
        if self._local is not None:
            await self._local.close()


async def _asked(model: "Model", prompt: Prompt) -> AsyncIterator[Delta | Turn]:
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
    from pydantic_ai.settings import ModelSettings

    settings = ModelSettings(max_tokens=ANSWER_TOKENS_MAX)
    messages, tools = _spelled(prompt), _tools(prompt)
    async with model_request_stream(model, messages, model_settings=settings, model_request_parameters=tools) as stream:
        async for event in stream:
            text = ""
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                text = event.part.content
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                text = event.delta.content_delta
            if text:
                yield Delta(text)
        yield _turn(stream.get())


def _turn(response: "ModelResponse") -> Turn:
    """What was said in the end. Raises Failed for an answer that broke off."""
    from pydantic_ai.messages import TextPart, ToolCallPart

    if not (response.provider_details or {}).get("finish_reason"):  # what the library says without it is its own guess
        raise Failed("the model's answer broke off")
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    uses = tuple(
        ToolUse(part.tool_call_id, part.tool_name, _args(part))
        for part in response.parts
        if isinstance(part, ToolCallPart)
    )
    if response.finish_reason == "length" and uses:
        raise Failed("the model's answer is too long: a call of a tool was cut off")
    if response.finish_reason == "content_filter" and not text:
        raise Failed("the model's provider withheld the answer")
    return Turn(text, uses, response.usage.total_tokens or None)


def _args(part: Any) -> Any:
    """The arguments of a call; what is no JSON stays a text, of which the tool says that it is no object."""
    if not part.args:  # how some servers spell a call without arguments
        return {}
    if not isinstance(part.args, str):
        return part.args
    try:
        return orjson.loads(part.args)
    except orjson.JSONDecodeError:
        return part.args


def _tools(prompt: Prompt) -> "ModelRequestParameters":
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.tools import ToolDefinition

    tools = [
        ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=dict(tool.input_schema))
        for tool in prompt.tools
    ]
    return ModelRequestParameters(function_tools=tools)


def _spelled(prompt: Prompt) -> "list[ModelMessage]":
    """The conversation in the library's words; results of tools that follow each other are one message."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, SystemPromptPart

    spelled: list[Any] = [ModelRequest(parts=[SystemPromptPart(prompt.system)])] if prompt.system else []
    for said in prompt.messages:
        if said.role == "assistant":
            spelled.append(ModelResponse(parts=_answer_parts(said)))
        elif spelled and isinstance(spelled[-1], ModelRequest):
            spelled[-1] = ModelRequest(parts=[*spelled[-1].parts, _request_part(said)])
        else:
            spelled.append(ModelRequest(parts=[_request_part(said)]))
    return spelled


def _request_part(said: Said) -> Any:
    from pydantic_ai.messages import ToolReturnPart, UserPromptPart

    if said.role == "tool":
        return ToolReturnPart(tool_name=said.tool_name or "", content=said.content, tool_call_id=said.use_id or "")
    return UserPromptPart(said.content)


def _answer_parts(said: Said) -> Sequence[Any]:
    from pydantic_ai.messages import TextPart, ToolCallPart

    text = [TextPart(said.content)] if said.content else []
    # What was no object is told as one: providers take nothing else back.
    told = [(use, use.args if isinstance(use.args, dict) else {"arguments": use.args}) for use in said.uses]
    return [*text, *(ToolCallPart(tool_name=use.name, args=args, tool_call_id=use.id) for use, args in told)]


def _failure(name: ModelName, problem: Exception) -> Failed | None:
    """What the failure of a provider is for whoever invoked the agent; None for one that is ours."""
    import httpx2
    from anthropic import AnthropicError
    from openai import OpenAIError
    from pydantic_ai.exceptions import AgentRunError, ModelHTTPError

    unreached = _unreached(problem)
    if unreached is not None:
        return Failed(f"the model's provider cannot be reached: {unreached}")
    if isinstance(problem, ModelHTTPError):
        return Failed(f"the model's provider answered {problem.status_code}: {_said(problem.body)}")
    if isinstance(problem, TimeoutError):
        return Failed(f"the model did not come to an end within {TURN_S_MAX:g} s")
    if isinstance(problem, AgentRunError | OpenAIError | AnthropicError | httpx2.HTTPError | ValueError):
        return Failed(f"the model '{name.model}' did not answer as it should: {_said(str(problem))}")
    return None


def _unreached(problem: BaseException) -> Unreached | None:
    """What our client said, below what the libraries made of it."""
    cause: BaseException | None = problem
    while cause is not None and not isinstance(cause, Unreached):
        cause = cause.__cause__ or cause.__context__
    return cause


def _said(body: object) -> str:
    """What a provider says of its failure, in one line."""
    error = body.get("error", body) if isinstance(body, dict) else body
    told = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(told).split())[:SAID_CHARS_MAX]
