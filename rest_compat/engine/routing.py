"""Finding the route of a path: a table keyed by segments, so that the number of routes does not matter.

A literal segment is preferred to a parameter, and what a literal leads to is not reconsidered for another method:
`DELETE /roles/assign` is no way to delete a role of that name where `/roles/assign` is a path of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

R = TypeVar("R")

REMEMBERED_MAX = 2_000  # paths whose endpoint was found, none of more bytes than that
REMEMBERED_BYTES_MAX = 200


class NotText(ValueError):
    """A path that is no text: not UTF-8, or with U+0000 in it."""


@dataclass(slots=True)
class Endpoint(Generic[R]):
    """A path with the route of each method."""

    path: str
    routes: dict[str, R] = field(default_factory=dict)
    head: bool = True  # whether HEAD is answered as GET without a body

    def route(self, method: str) -> R | None:
        """The route of a method."""
        return self.routes.get("GET" if method == "HEAD" and self.head else method)

    @property
    def allowed(self) -> str:
        """The `Allow` header."""
        head = ["HEAD"] if "GET" in self.routes and self.head else []
        return ", ".join(sorted([*self.routes, *head, "OPTIONS"]))


@dataclass(slots=True)
class _Node(Generic[R]):
    literals: dict[str, "_Node[R]"] = field(default_factory=dict)
    parameter: "_Node[R] | None" = None
    rest: Endpoint[R] | None = None  # {name*}
    endpoint: Endpoint[R] | None = None


class Table(Generic[R]):
    """Endpoints by path."""

    def __init__(self) -> None:
        self._root: _Node[R] = _Node()
        self._known = lru_cache(REMEMBERED_MAX)(self._find)

    def add(self, method: str, path: str, route: R, *, head: bool = True) -> R | None:
        """Enter a route. Returns the one that has the place already, if there is one."""
        self._known.cache_clear()
        endpoint = self._endpoint(path)
        taken = endpoint.routes.get(method)
        if taken is None:
            endpoint.routes[method] = route
            endpoint.head = endpoint.head and head
        return taken

    def _endpoint(self, path: str) -> Endpoint[R]:
        node = self._root
        for segment in path[1:].split("/"):
            if segment.endswith("*}"):
                node.rest = node.rest or Endpoint(path)
                return node.rest
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.endpoint = node.endpoint or Endpoint(path)
        return node.endpoint

    def find(self, raw_path: bytes) -> tuple[Endpoint[R], Sequence[str]] | None:
        """The endpoint of a path as it came (percent-encoded), and its parameters' values in order. Raises NotText."""
        return self._known(raw_path) if len(raw_path) <= REMEMBERED_BYTES_MAX else self._find(raw_path)

    def _find(self, raw_path: bytes) -> tuple[Endpoint[R], Sequence[str]] | None:
        return _search(self._root, raw_path[1:].split(b"/"), 0, ())


def _search(
    node: _Node[R], segments: Sequence[bytes], position: int, values: tuple[str, ...]
) -> tuple[Endpoint[R], Sequence[str]] | None:
    if position == len(segments):
        return (node.endpoint, values) if node.endpoint else None
    segment = decoded(segments[position])
    literal = node.literals.get(segment)
    if literal is not None and (found := _search(literal, segments, position + 1, values)):
        return found
    if node.parameter is not None and segment:
        found = _search(node.parameter, segments, position + 1, (*values, segment))
        if found:
            return found
    if node.rest is not None:
        return node.rest, (*values, "/".join(decoded(part) for part in segments[position:]))
    return None


def decoded(raw: bytes) -> str:
    """The text of a percent-encoded piece of a URL. Raises NotText."""
    try:
        text = (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise NotText("the path is not UTF-8") from error
    if "\x00" in text:
        raise NotText("the path must not hold the character U+0000")
    return text
