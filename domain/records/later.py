"""Values that come with each run: a plan is compiled once, with marks for what will differ.

A plan depends on the *structure* of its variables (which fields a condition names, with which operators), never on
the operands in them. `traced` wraps a variable's value so that whoever reads it finds out where each operand came
from; `structure` is what must be equal for a compiled plan to be used again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.kernel.errors import Invalid
from domain.records.types import NotOfType

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Later:
    """An operand that a variable brings: where it is in there, and how it is read. `path` is what refusals name."""

    variable: str
    steps: tuple[str | int, ...]
    path: str
    read: Read

    def value(self, variables: Mapping[str, Any]) -> Any:
        """The operand of this run. Raises Invalid."""
        found: Any = variables[self.variable]
        for step in self.steps:
            found = found[step]
        return read_operand(self.read, found, self.path)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A list of operands, some of which variables bring."""

    parts: tuple[Any, ...]

    def value(self, variables: Mapping[str, Any]) -> list[Any]:
        """The operands of this run. Raises Invalid."""
        return list(filled(self.parts, variables))


LATER = (Later, Gathered)


def as_given(name: str) -> Later:
    """A value of each run that is taken as it is."""
    return Later(name, (), name, lambda value: value)


def filled(values: Iterable[Any], variables: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of this run. Raises Invalid."""
    return tuple([value.value(variables) if isinstance(value, LATER) else value for value in values])


def read_operand(read: Read, value: Any, path: str) -> Any:
    """The value as the field's type reads it. Raises Invalid with the path."""
    try:
        return read(value)
    except NotOfType as wrong:
        raise Invalid(path, f"{path} {wrong}") from wrong


class TracedObject(dict[str, Any]):
    """A JSON object that knows where it is in its variable."""

    __slots__ = ("origin",)
    origin: "Origin"


class TracedList(list[Any]):
    """A JSON array that knows where it is in its variable."""

    __slots__ = ("origin",)
    origin: "Origin"


@dataclass(frozen=True, slots=True)
class TracedLeaf:
    """A text, number or flag that knows where it is in its variable."""

    value: Any
    origin: "Origin"


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a variable."""

    variable: str
    steps: tuple[str | int, ...] = ()

    def at(self, step: str | int) -> "Origin":
        """A place below."""
        return Origin(self.variable, (*self.steps, step))


def traced(value: Any, origin: Origin) -> Any:
    """The value with its places. Null stays null: it is structure."""
    if isinstance(value, dict):
        found = TracedObject((key, traced(part, origin.at(key))) for key, part in value.items())
        found.origin = origin
        return found
    if isinstance(value, list):
        parts = TracedList(traced(part, origin.at(index)) for index, part in enumerate(value))
        parts.origin = origin
        return parts
    return None if value is None else TracedLeaf(value, origin)


def origin_of(value: Any) -> Origin | None:
    """Where a traced value is; None for one that is written in the document."""
    return getattr(value, "origin", None)


def scattered(value: Any) -> bool:
    """Whether parts of a value come from variables, though it doesn't as a whole."""
    if origin_of(value) is not None or not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return any(origin_of(part) is not None or scattered(part) for part in parts)


def plain(value: Any) -> Any:
    """The value without its places."""
    if isinstance(value, TracedLeaf):
        return value.value
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value


def structure(value: Any) -> Any:
    """What of a variable's value a plan depends on: keys, flags and nulls, but no operands. Hashable."""
    if isinstance(value, dict):
        return tuple([(key, structure(part)) for key, part in value.items()])
    if isinstance(value, list):
        return ("[", *map(structure, value)) if any(isinstance(part, dict) for part in value) else "[]"
    if value is None or isinstance(value, bool):
        return value
    return "v"
