"""Calls of tools in what a local model writes: its protocol has none, so they are text, as models are trained to write.

Most write `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`; some nothing but the JSON of one call or a list.
A model whose own template of a chat knows no tools is told of them in words, and what they returned in words as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

BEGIN, END = "<tool_call>", "</tool_call>"
TOOLS = (
    "You may call tools. To call one, write nothing but\n"
    f'{BEGIN}{{"name": "<name of the tool>", "arguments": {{...}}}}{END}\n'
    "and wait for what it returns. These are the tools, each with the JSON Schema of its arguments:\n"
)
RETURNED = "The tool returned:\n"

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `arguments` is an object, or whatever the model gave instead."""

    name: str
    arguments: Any

    def spelled(self, index: int) -> Message:
        """As OpenAI's stream of a chat tells of it."""
        function = {"name": self.name, "arguments": orjson.dumps(self.arguments).decode()}
        return {"index": index, "id": f"call_{uuid4().hex}", "type": "function", "function": function}


class Hearing:
    """What a model says, piece by piece: text to pass on, and calls of `tools` (their names) to keep back."""

    def __init__(self, tools: Sequence[str]) -> None:
        self._tools = frozenset(tools)
        self._held = ""
        self._begun = False  # whether any text was passed on

    def take(self, piece: str) -> str:
        """What may be passed on by now: nothing that may yet turn out to be a call."""
        if not self._tools:
            return piece
        self._held += piece
        if not self._begun and self._held.lstrip()[:1] in ("", "{", "["):
            return ""
        free = self._held.find(BEGIN)
        if free < 0:
            free = len(self._held) - _begins(self._held)
        said, self._held = self._held[:free], self._held[free:]
        self._begun = self._begun or bool(said)
        return said

    def end(self) -> tuple[str, list[Call]]:
        """The rest of the text, and the calls."""
        held, self._held = self._held, ""
        calls = [] if self._begun else self._calls(held.strip())
        if calls:
            return "", calls
        texts = []
        first, *others = held.split(BEGIN)
        for part in others:
            inside, _, after = part.partition(END)
            found = self._calls(inside.strip())
            calls += found
            texts.append(after if found else BEGIN + part)
        return "".join([first, *texts]), calls

    def _calls(self, text: str) -> list[Call]:
        """The calls that a text is all JSON of; none where it is something else."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return []
        found = [_call(each) for each in (value if isinstance(value, list) else [value])]
        return [call for call in found if call is not None and call.name in self._tools] if all(found) else []


def _begins(text: str) -> int:
    """How much of the text's end may be the beginning of a call."""
    return next((size for size in range(len(BEGIN) - 1, 0, -1) if text.endswith(BEGIN[:size])), 0)


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = next((value[key] for key in ("arguments", "parameters") if key in value), None)
    return None if arguments is None else Call(value["name"], arguments)


# What the model is told.


def for_template(messages: Sequence[Message], tools: Sequence[Message], template: str) -> list[Message]:
    """The conversation, in OpenAI's words, as this template of a chat (Jinja) can render it."""
    if "tools" in template:
        return [_with_objects(message) for message in messages]
    said = [_in_words(message) for message in messages]
    if tools:
        described = "\n".join(orjson.dumps(tool["function"]).decode() for tool in tools)
        said.insert(0, {"role": "system", "content": TOOLS + described})
    system = "\n\n".join(message["content"] for message in said if message["role"] == "system")
    told = list(_by_turns(message for message in said if message["role"] != "system"))
    if system and ("system" in template or not template):
        return [{"role": "system", "content": system}, *told]
    if system and told and told[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{told[0]['content']}"}, *told[1:]]
    return told


def _with_objects(message: Message) -> Message:
    """Templates want the arguments of a call as an object, where OpenAI's protocol has their text."""
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": orjson.loads(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "content": message.get("content") or "", "tool_calls": calls}


def _in_words(message: Message) -> Message:
    content = message.get("content") or ""
    if message["role"] == "tool":
        return {"role": "user", "content": RETURNED + content}
    for call in _with_objects(message).get("tool_calls") or ():
        content += BEGIN + orjson.dumps(call["function"]).decode() + END
    return {"role": message["role"], "content": content}


def _by_turns(messages: Iterator[Mapping[str, Any]]) -> Iterator[Message]:
    """What the same side said in a row as one message: most templates take turns only."""
    last: Message | None = None
    for message in messages:
        if last is not None and last["role"] == message["role"]:
            last["content"] += "\n\n" + message["content"]
            continue
        if last is not None:
            yield last
        last = dict(message)
    if last is not None:
        yield last
