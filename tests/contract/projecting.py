"""What a route answers, worked out from its document and the data of its operation: not by the engine's code."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode, value_from_ast_untyped

from rest_compat.engine.operations import Route

LEAVING = frozenset({"header", "cookie", "event", "eventId"})
_ABSENT = object()


def projected(route: Route, data: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    """The body of the answer, without the system's envelope."""
    marked: list[Any] = []
    whole = _object(route, route.document.node.selection_set, data, marked)
    rest = route.document.rest
    if marked:
        body = marked[0]
    elif not rest.get("whole") and len(whole) == 1:
        body = next(iter(whole.values()))
    else:
        body = whole
    if "message" in rest:
        more = body if marked and isinstance(body, dict) else {}
        return {**more, rest.get("messageName", "message"): _filled(rest["message"], variables)}
    return body


def _object(route: Route, selections: SelectionSetNode, value: Mapping[str, Any], marked: list[Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for node in selections.selections:
        if isinstance(node, FieldNode):
            _field(route, node, value, made, marked)
            continue
        inner = node.selection_set if isinstance(node, InlineFragmentNode) else _fragment(route, node)
        made |= _object(route, inner, value, marked)
    return made


def _fragment(route: Route, node: Any) -> SelectionSetNode:
    assert isinstance(node, FragmentSpreadNode)
    return route.fragments[node.name.value].node.selection_set


def _field(route: Route, node: FieldNode, value: Mapping[str, Any], made: dict[str, Any], marked: list[Any]) -> None:
    key = node.alias.value if node.alias else node.name.value
    if key not in value:
        return  # left out by @include, or a field of another type
    directives = [(d.name.value, {a.name.value: value_from_ast_untyped(a.value) for a in d.arguments or ()})
                  for d in node.directives or ()]  # fmt: skip
    names = {name for name, _ in directives}
    if LEAVING & names:
        return
    part = _value(route, node, value[key], marked)
    for render in (arguments["as"] for name, arguments in directives if name == "render"):
        part = _rendered(render, part)
    if "body" in names:
        marked.append(part)
    if "spread" in names:
        made |= part or {}
    elif part is not _ABSENT:
        made[key] = part


def _value(route: Route, node: FieldNode, value: Any, marked: list[Any]) -> Any:
    if isinstance(value, list):
        return [_value(route, node, part, marked) for part in value]
    if node.selection_set is None or not isinstance(value, dict):
        return value
    return _object(route, node.selection_set, value, marked)


def _rendered(name: str, value: Any) -> Any:
    if value is None:
        return _ABSENT if name == "OMIT_NULL" else None
    if name in ("ENTRIES", "KEYS"):
        return {part["key"]: part["value"] for part in value} if name == "ENTRIES" else [part["key"] for part in value]
    if isinstance(value, list):
        return [_rendered(name, part) for part in value]
    match name:
        case "LOWER":
            return value.lower()
        case "UPPER":
            return value.upper()
        case "TIME_UNIX":
            return int(datetime.fromisoformat(value).timestamp())
        case "TIME_OFFSET":
            return re.sub("Z$", "+00:00", value)
        case "TIME_POSTGRES":
            day, time = re.fullmatch(r"(\S+)T(\S+)Z", value).groups()  # type: ignore[union-attr]
            return f"{day} {re.sub(r'[.]?0*$', '', time) if '.' in time else time}+00"
    return value


def _filled(template: str, variables: Mapping[str, Any]) -> str:
    def part(match: re.Match[str]) -> str:
        value: Any = variables
        for step in match[1].split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        return "" if value is None else str(value)

    return re.sub(r"\{([A-Za-z0-9_.]+)\}", part, template)
