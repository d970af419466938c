"""Reading JSON input part by part, so that every refusal names the path it is about."""

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import orjson

from domain.kernel.errors import Invalid

JSON_DEPTH_MAX = 200

_REQUIRED: Final = object()


def json_problem(value: Any) -> str | None:
    """What keeps a JSON value from being stored and shown again, as the end of a sentence; None for nothing."""
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > JSON_DEPTH_MAX:
            return f"must not be nested deeper than {JSON_DEPTH_MAX} levels"
        if isinstance(part, str) and "\x00" in part:
            return "must not hold the character U+0000"
        if isinstance(part, float) and not math.isfinite(part):
            return "must not hold numbers beyond the range of a double"
        if isinstance(part, dict):
            waiting += [(inner, depth + 1) for pair in part.items() for inner in pair]
        elif isinstance(part, list):
            waiting += [(inner, depth + 1) for inner in part]
    return None


def is_too_deep(value: Any) -> bool:
    """Whether a JSON value has more levels than can be passed on."""
    level = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        inside = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = list(chain.from_iterable(inside))
        if not level:
            return False
    return True


def json_or_text(raw: bytes) -> Any:
    """What was sent as JSON, if it is some that can be passed on, or else as text."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value = None
    else:
        if not is_too_deep(value):
            return value
    return raw.decode("utf-8", "replace")


class Node:
    """An object of the input. Keys may have older spellings: the first one present is read."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise Invalid(path or None, f"{path or 'the body'} must be an object")
        self._value = value
        self._path = path

    def path(self, key: str) -> str:
        """Where `key` of this object is in the input."""
        return f"{self._path}.{key}" if self._path else key

    def has(self, *keys: str) -> bool:
        """Whether one of the keys is there, and not null."""
        return any(self._value.get(key) is not None for key in keys)

    def raw(self, *keys: str, default: Any = None) -> Any:
        """The value as it is."""
        return next((self._value[key] for key in keys if self._value.get(key) is not None), default)

    def json(self, *keys: str, default: Any = None) -> Any:
        """A value of any kind, fit to be stored as JSON."""
        value = self.raw(*keys, default=default)
        problem = json_problem(value)
        if problem is not None:
            raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} {problem}")
        return value

    def _read(self, keys: Sequence[str], types: type | tuple[type, ...], what: str, default: Any) -> Any:
        value = self.raw(*keys)
        if value is None:
            if default is _REQUIRED:
                raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} is required")
            return default
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} must be {what}")
        return value

    def text(self, *keys: str, default: Any = _REQUIRED) -> Any:
        """A string without U+0000."""
        value = self._read(keys, str, "a string", default)
        if isinstance(value, str) and "\x00" in value:
            raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} must not hold the character U+0000")
        return value

    def flag(self, *keys: str, default: bool = False) -> bool:
        """A boolean."""
        return bool(self._read(keys, bool, "true or false", default))

    def integer(
        self, *keys: str, default: Any = _REQUIRED, minimum: int | None = None, maximum: int | None = None
    ) -> Any:
        """A whole number within the bounds."""
        value = self._read(keys, int, "a whole number", default)
        path = self.path(keys[0])
        if value is not default and minimum is not None and value < minimum:
            raise Invalid(path, f"{path} must be at least {minimum}")
        if value is not default and maximum is not None and value > maximum:
            raise Invalid(path, f"{path} must be at most {maximum}")
        return value

    def number(self, *keys: str, default: Any = None) -> Any:
        """A number within the range of a double."""
        value = self._read(keys, (int, float), "a number", default)
        if value is not default and not abs(value) <= sys.float_info.max:
            raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} must be a number within the range of a double")
        return value

    def texts(self, *keys: str, default: Any = _REQUIRED) -> Any:
        """A list of strings."""
        value = self._read(keys, list, "a list of strings", default)
        if value is not default and not all(isinstance(part, str) and "\x00" not in part for part in value):
            raise Invalid(self.path(keys[0]), f"{self.path(keys[0])} must be a list of strings")
        return value

    def object(self, *keys: str) -> "Node | None":
        """An object inside this one, or None."""
        value = self._read(keys, dict, "an object", None)
        return None if value is None else Node(value, self.path(keys[0]))

    def values(self, *keys: str, required: bool = False) -> Iterator[tuple[str, Any]]:
        """The parts of a list with the path of each."""
        value = self._read(keys, list, "a list", _REQUIRED if required else ())
        return ((f"{self.path(keys[0])}.{index}", part) for index, part in enumerate(value))

    def objects(self, *keys: str, required: bool = False) -> "Iterator[Node]":
        """The objects of a list."""
        return (Node(part, path) for path, part in self.values(*keys, required=required))
