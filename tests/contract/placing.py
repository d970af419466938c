"""Where a route document puts its variables, read from its directives, and the request that spells given values.

Written from what the directives say they mean, not from the engine: what it decodes is encoded here independently.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from graphql import (
    ConstDirectiveNode,
    GraphQLEnumType,
    GraphQLList,
    GraphQLSchema,
    VariableDefinitionNode,
    get_named_type,
    get_nullable_type,
    type_from_ast,
    value_from_ast_untyped,
)

from rest_compat.engine.operations import Route
from rest_compat.engine.schema import scalar_schema

_ABSENT: Any = object()
BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True)
class Place:
    """One place of the request, and the variable, or part of one, that is found there."""

    variable: str
    steps: tuple[str, ...]
    where: str
    name: str  # empty for the whole body
    type: Any
    flag: bool
    lower: bool  # whether texts are read in upper case, so that lower case will do
    bounded: bool  # whether some values are taken for others


@dataclass
class Sent:
    """A request."""

    method: str
    path: str
    params: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    form: dict[str, str] = field(default_factory=dict)

    def as_request(self) -> dict[str, Any]:
        """For httpx."""
        if self.form:
            return {"method": self.method, "url": self.path, "params": self.params or None, "data": self.form}
        more = {} if self.body is None else {"content": _json(self.body)}
        headers = {**self.headers, **({"content-type": "application/json"} if more else {})}
        return {"method": self.method, "url": self.path, "params": self.params or None, "headers": headers, **more}


def places(route: Route, schema: GraphQLSchema) -> list[Place]:
    """Every place of a route, the whole ones before their parts."""
    found = [
        place
        for definition in route.document.node.variable_definitions or ()
        if not _directives(definition, "fill")
        for place in _places(route, schema, definition)
    ]
    return sorted(found, key=lambda place: len(place.steps))


def filled(route: Route) -> set[str]:
    """The variables that the server fills."""
    return {d.variable.name.value for d in route.document.node.variable_definitions or () if _directives(d, "fill")}


def _directives(definition: VariableDefinitionNode, name: str) -> list[dict[str, Any]]:
    found: list[ConstDirectiveNode] = [d for d in definition.directives or () if d.name.value == name]
    return [{a.name.value: value_from_ast_untyped(a.value) for a in d.arguments or ()} for d in found]


def _places(route: Route, schema: GraphQLSchema, definition: VariableDefinitionNode) -> Iterator[Place]:
    variable = definition.variable.name.value
    told = _directives(definition, "param")
    if not any("field" not in one for one in told):
        told = [{}, *told]
    for one in told:
        where = one.get("in") or _default(route, variable)
        named = one.get("name", "" if where == "RAW" or (where == "BODY" and "in" in one) else variable)
        steps = tuple(one["field"].split(".")) if "field" in one else ()
        type = type_from_ast(schema, definition.type)  # type: ignore[call-overload]
        yield Place(
            variable=variable,
            steps=steps,
            where=where,
            name=named,
            type=type,
            flag=one.get("flag", False),
            lower=one.get("case") == "UPPER",
            bounded=bool({"flag", "invalid", "min", "max", "spellings"} & one.keys()),
        )


def _default(route: Route, variable: str) -> str:
    if variable in route.document.path_parameters:
        return "PATH"
    return "BODY" if route.document.method in BODY_METHODS else "QUERY"


class NoSpelling(Exception):
    """The values have no spelling as a request of this route."""


def request_of(route: Route, schema: GraphQLSchema, variables: Mapping[str, Any]) -> Sent:
    """The request that means these variables. Raises NoSpelling."""
    sent = Sent(route.document.method, route.document.path)
    values = copy.deepcopy(dict(variables))
    placed = places(route, schema)
    found = [(place, _taken(values, place)) for place in reversed(placed)]  # parts leave what they are parts of
    if any(place.where == "BODY" for place in placed):
        sent.body = {}
    for place, value in reversed(found):
        if value is not _ABSENT and place.where != "COOKIE":
            _put(sent, place, value)
    if "{" in sent.path:
        raise NoSpelling("a part of the path has no value")
    return sent


def _taken(values: dict[str, Any], place: Place) -> Any:
    """The value for a place; a part is taken out of its whole."""
    whole: Any = values
    path = (place.variable, *place.steps)
    for step in path[:-1]:
        whole = whole.get(step) if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or path[-1] not in whole:
        return _ABSENT
    return whole.pop(path[-1]) if place.steps else whole[path[-1]]


def _put(sent: Sent, place: Place, value: Any) -> None:
    if place.where == "BODY":
        if place.name:
            sent.body[place.name] = value
        else:
            sent.body = value
        return
    if value is None:
        raise NoSpelling("null has no spelling outside a body")
    if place.where == "PATH":
        text = quote(_text(place, value), safe="")
        if not text:
            raise NoSpelling("an empty part of a path is another path")
        braces = next(b for b in (f"{{{place.name}}}", f"{{{place.name}*}}") if b in sent.path)
        sent.path = sent.path.replace(braces, text)
    elif place.where == "QUERY":
        sent.params += list(_query(place, value))
    elif place.where == "HEADER":
        sent.headers[place.name] = _text(place, value)
    elif place.where == "FORM":
        sent.form[place.name] = _text(place, value)
    else:
        raise NoSpelling(f"{place.where} is no place for JSON")


def _query(place: Place, value: Any) -> Iterator[tuple[str, str]]:
    if place.flag:
        if value:
            yield place.name, ""
    elif place.name == "*":
        if not isinstance(value, dict) or not all(isinstance(part, str) for part in value.values()):
            raise NoSpelling("what is taken together are texts by name")
        yield from value.items()
    elif is_list(place.type) and isinstance(value, list):
        yield from ((place.name, _text(place, part)) for part in value)
    else:
        yield place.name, _text(place, value)


def _text(place: Place, value: Any) -> str:
    """How a value is spelled where there are only texts."""
    named = get_named_type(place.type)
    if isinstance(named, GraphQLEnumType):
        text = value.lower() if place.lower and isinstance(value, str) else value
    elif scalar_schema(named).get("type", "string" if named.name == "ID" else None) == "string":
        text = value
    else:
        text = value if isinstance(value, str) and named.name in ("Int", "Float", "Boolean", "BigInt") else _json(value)
    if not isinstance(text, str):
        raise NoSpelling("a text is always one")
    if place.where == "HEADER" and (text != text.strip() or not text.isascii()):
        raise NoSpelling("a header is trimmed")
    return text


def _json(value: Any) -> str:
    """Of numbers of any size."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_list(type: Any) -> bool:
    """Whether values of the type are lists."""
    return isinstance(get_nullable_type(type), GraphQLList)
