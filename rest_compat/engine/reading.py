"""Texts and JSON as values for GraphQL's types. What cannot be read is passed on: coercion then says why not."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from graphql import (
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    get_nullable_type,
    is_required_input_field,
)

from rest_compat.engine.call import parse_json
from rest_compat.engine.errors import Refusal, invalid
from rest_compat.engine.schema import scalar_kind

BRACKETS_MAX = 10
NAME_CHARS_SHOWN = 80

_INTEGER = re.compile(r"-?[0-9]{1,400}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INDEX = re.compile(r"[0-9]{0,9}")
_BRACKETED = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_SEPARATORS: Mapping[str, str] = {"COMMA": ",", "SPACE": " ", "PIPE": "|"}
_BOOLEANS = {"true": True, "false": False}

Steps = tuple[str, ...]


def named_type(type: GraphQLInputType) -> Any:
    """The type without its wrappers."""
    while isinstance(type, GraphQLNonNull | GraphQLList):
        type = type.of_type
    return type


def is_list(type: GraphQLInputType) -> bool:
    """Whether values of the type are lists."""
    return isinstance(get_nullable_type(type), GraphQLList)


def is_nested(type: GraphQLInputType) -> bool:
    """Whether a value may have parts: a list, an object, or any JSON."""
    bare: Any = get_nullable_type(type)
    if isinstance(bare, GraphQLScalarType):
        return scalar_kind(bare) in (None, "object", "array")
    return isinstance(bare, GraphQLList | GraphQLInputObjectType)


class Part(NamedTuple):
    """A variable, or a part of one."""

    type: GraphQLInputType
    required: bool
    field: GraphQLInputField | None  # of the input object that it is a part of


def part_of(type: GraphQLInputType, steps: Sequence[str]) -> Part | None:
    """The part of an input object that the steps lead to, or None where there is no such part."""
    current: Any = type
    part = Part(type, isinstance(type, GraphQLNonNull), None)
    for step in steps:
        current = get_nullable_type(current)
        if not isinstance(current, GraphQLInputObjectType) or step not in current.fields:
            return None
        field = current.fields[step]
        current = field.type
        part = Part(current, is_required_input_field(field), field)
    return part


# JSON.

JsonReader = Callable[[Any, str, list[Refusal]], Any]
"""From a value, its name and the list of what is wrong so far to the value that GraphQL is given."""


def json_reader(type: GraphQLInputType, *, prune: bool, elsewhere: Sequence[Steps] = ()) -> JsonReader | None:
    """What must be done to a JSON value before GraphQL coerces it, or None for nothing.

    A lone value is no list (GraphQL would make one of it), what is missing is told by its own name, and fields that are
    unknown, or are placed `elsewhere`, are taken out where the dialect prunes, and told where it doesn't.
    """
    bare: Any = get_nullable_type(type)
    if isinstance(bare, GraphQLList):
        inner = json_reader(bare.of_type, prune=prune)
        return lambda value, name, wrong: _list(value, name, wrong, inner)
    if isinstance(bare, GraphQLInputObjectType):
        return _ObjectReader(bare, prune, tuple(elsewhere), nullable=bare is type)
    return None


def _list(value: Any, name: str, wrong: list[Refusal], inner: JsonReader | None) -> Any:
    if value is None:
        return None
    if not isinstance(value, list):
        wrong.append(invalid(name or None, f"{name or 'the body'} must be a list"))
        return value
    if inner is None:
        return value
    return [inner(part, part_name(name, str(index)), wrong) for index, part in enumerate(value)]


@dataclass(slots=True)
class _ObjectReader:
    type: GraphQLInputObjectType
    prune: bool
    elsewhere: tuple[Steps, ...]
    nullable: bool
    readers: dict[str, JsonReader | None] = field(default_factory=dict)  # made when met: types may be recursive

    def __call__(self, value: Any, name: str, wrong: list[Refusal]) -> Any:
        if value is None and self.elsewhere and not self.nullable:
            # The parts that are placed elsewhere would make an object of it.
            wrong.append(invalid(name or None, f"{name or 'the body'} must be an object"))
        if not isinstance(value, dict):
            return value
        read = {}
        for key, part in value.items():
            if key not in self.type.fields or (key,) in self.elsewhere:
                if not self.prune:
                    wrong.append(unknown("field", part_name(name, key)))
                continue
            reader = self._reader(key)
            read[key] = part if reader is None else reader(part, part_name(name, key), wrong)
        for key, inner in self.type.fields.items():
            if key not in read and is_required_input_field(inner) and not self._placed(key):
                wrong.append(invalid(part_name(name, key), f"{part_name(name, key)} is required"))
        return read

    def _reader(self, key: str) -> JsonReader | None:
        if key not in self.readers:
            inner = [steps[1:] for steps in self.elsewhere if steps[0] == key]
            self.readers[key] = json_reader(self.type.fields[key].type, prune=self.prune, elsewhere=inner)
        return self.readers[key]

    def _placed(self, key: str) -> bool:
        return any(steps[0] == key for steps in self.elsewhere)


def part_name(name: str, key: str) -> str:
    """The name of a part of the value called `name`; the body itself has none."""
    return f"{name}.{key[:NAME_CHARS_SHOWN]}" if name else key[:NAME_CHARS_SHOWN]


def unknown(what: str, name: str) -> Refusal:
    """A field or parameter that nobody asked for."""
    shown = name[:NAME_CHARS_SHOWN]
    return invalid(shown, f"unknown {what} '{shown}'")


# Texts.


@dataclass(frozen=True)
class TextReader:
    """Reads the texts that a parameter or form field has, or that its parts `name[a][b]` have."""

    type: GraphQLInputType
    repeats: bool  # whether of several texts for one value the last counts, rather than none
    prune: bool
    style: str | None = None  # RestList
    case: str | None = None  # RestCase
    spellings: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _of_one(self) -> Callable[[str], Any] | None:
        """How one text is read, where that is all there is to it."""
        bare: Any = get_nullable_type(self.type)
        compound = isinstance(bare, GraphQLList | GraphQLInputObjectType)
        return None if compound or self.case is not None or self.spellings else _reading(bare)

    def value(self, texts: Sequence[str], name: str) -> Any:
        """The value of these texts. Raises Refusal."""
        if len(texts) == 1 and self._of_one is not None:
            return self._of_one(texts[0])
        return self._value(self.type, texts, name)

    def nested(self, given: Mapping[str, Sequence[str]], name: str) -> Any | None:
        """What `name[a][b]=c` spells, of a type that may have parts; None where nothing does. Raises Refusal."""
        tree: _Tree = {}
        for key, texts in given.items():
            match = _BRACKETED.fullmatch(key)
            if match is not None and match[1] == name:
                _plant(tree, match[2][1:-1].split("]["), texts, key)
        return self._branch(self.type, tree, name) if tree else None

    def _value(self, type: GraphQLInputType, texts: Sequence[str], name: str) -> Any:
        bare: Any = get_nullable_type(type)
        if isinstance(bare, GraphQLList):
            return self._elements(bare.of_type, texts, name)
        if len(texts) > 1 and not self.repeats:
            raise invalid(name, f"{name} is given more than once")
        return self._one(bare, texts[-1], name)

    def _elements(self, type: GraphQLInputType, texts: Sequence[str], name: str) -> list[Any]:
        separator = _SEPARATORS.get(self.style or "")
        if separator is not None:
            texts = [part for text in texts for part in text.split(separator) if part]
        elif self.style == "JSON" or (len(texts) == 1 and not _is_text(type)):
            spelled = [_json(text) for text in texts]
            if all(isinstance(part, list) for part in spelled):
                elements = cased(self.case, [element for part in spelled for element in part])
                read: list[Any] = _told(json_reader(GraphQLList(type), prune=self.prune), elements, name)
                return read
        return [self._value(type, [text], part_name(name, str(index))) for index, text in enumerate(texts)]

    def _one(self, type: Any, text: str, name: str) -> Any:
        text = cased(self.case, text)
        if text in self.spellings:
            return self.spellings[text]
        if not isinstance(type, GraphQLInputObjectType):
            return _reading(type)(text)
        return _told(json_reader(type, prune=self.prune), _json(text), name)

    def _branch(self, type: GraphQLInputType | None, tree: "_Tree | Sequence[str]", name: str) -> Any:
        """The value that a branch of brackets spells; without a type it is any JSON."""
        bare: Any = get_nullable_type(type) if type is not None else None
        if not isinstance(tree, dict):
            if bare is not None:
                return self._value(bare, tree, name)
            return self._any(tree, name)
        if isinstance(bare, GraphQLInputObjectType):
            return self._object(bare, tree, name)
        if isinstance(bare, GraphQLList) or (_are_indexes(tree) and not _is_object(bare)):
            return self._indexed(bare.of_type if isinstance(bare, GraphQLList) else None, tree, name)
        return {key: self._branch(None, part, part_name(name, key)) for key, part in tree.items()}

    def _any(self, texts: Sequence[str], name: str) -> Any:
        if len(texts) > 1 and not self.repeats:
            raise invalid(name, f"{name} is given more than once")
        return _json(texts[-1])

    def _indexed(self, type: GraphQLInputType | None, tree: "_Tree", name: str) -> list[Any]:
        """A list: `name[0]` has one element, `name[]` as many as it is given times."""
        elements: list[_Tree | Sequence[str]] = []
        for key in sorted(tree, key=_index):
            part = tree[key]
            elements += [[text] for text in part] if key == "" and not isinstance(part, dict) else [part]
        return [self._branch(type, part, part_name(name, str(index))) for index, part in enumerate(elements)]

    def _object(self, type: GraphQLInputObjectType, tree: "_Tree", name: str) -> dict[str, Any]:
        read = {
            key: self._branch(type.fields[key].type, part, part_name(name, key)) if key in type.fields else None
            for key, part in tree.items()
        }
        found: dict[str, Any] = _told(json_reader(type, prune=self.prune), read, name)
        return found


_Tree = dict[str, "_Tree | Sequence[str]"]


def _plant(tree: _Tree, steps: Sequence[str], texts: Sequence[str], key: str) -> None:
    """Enter the texts of `key` where its brackets say."""
    if len(steps) > BRACKETS_MAX:
        shown = key[:NAME_CHARS_SHOWN]
        raise invalid(shown, f"{shown} has more than {BRACKETS_MAX} brackets")
    for step in steps[:-1]:
        inner = tree.setdefault(step, {})
        if not isinstance(inner, dict):
            raise _contradiction(key)
        tree = inner
    if steps[-1] in tree:
        raise _contradiction(key)
    tree[steps[-1]] = texts


def _contradiction(key: str) -> Refusal:
    shown = key[:NAME_CHARS_SHOWN]
    return invalid(shown, f"{shown} contradicts another parameter")


def _are_indexes(tree: _Tree) -> bool:
    return all(_INDEX.fullmatch(key) for key in tree)


def _index(key: str) -> int:
    """Where an element of that key stands: indexes come in any order, what has none comes last."""
    return int(key) if key and _INDEX.fullmatch(key) else 10**9


def _is_object(type: Any) -> bool:
    return isinstance(type, GraphQLScalarType) and scalar_kind(type) == "object"


def _told(reader: JsonReader | None, value: Any, name: str) -> Any:
    if reader is None:
        return value
    wrong: list[Refusal] = []
    read = reader(value, name, wrong)
    if wrong:
        raise wrong[0]
    return read


def cased(case: str | None, value: Any) -> Any:
    """A text, or each of a list's, in that case."""
    if case is None:
        return value
    if isinstance(value, list):
        return [cased(case, part) for part in value]
    if not isinstance(value, str):
        return value
    return value.upper() if case == "UPPER" else value.lower()


def _is_text(type: GraphQLInputType) -> bool:
    """Whether any text at all may be a value of the type."""
    bare: Any = get_nullable_type(type)
    return isinstance(bare, GraphQLScalarType) and scalar_kind(bare) == "string"


def _reading(type: Any) -> Callable[[str], Any]:
    """How a text is read as a value of a type that is neither a list nor an object."""
    if not isinstance(type, GraphQLScalarType):
        return _text  # the name of an enum value
    return _READING.get(scalar_kind(type), _json)


def _text(text: str) -> str:
    return text


def _integer(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text


def _number(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _boolean(text: str) -> bool | str:
    return _BOOLEANS.get(text, text)


_READING: Mapping[str | None, Callable[[str], Any]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


def _json(text: str) -> Any:
    """JSON, or the text itself."""
    try:
        return parse_json(text.encode())
    except Refusal:
        return text
