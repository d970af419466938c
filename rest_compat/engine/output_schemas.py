"""The JSON Schemas of answers, computed from what their operations select."""

from collections.abc import Iterator, Sequence
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
)

from rest_compat.engine.json_schemas import Components, Json, may_be_null, nullable, object_schema, one_of, without_null
from rest_compat.engine.operations import Route
from rest_compat.engine.render import ENTRIES, OF_ENTRIES, OMIT_NULL, schema_of
from rest_compat.engine.schema import scalar_schema
from rest_compat.engine.selecting import Selected, Selection, directives_named, field_type, has

LEAVING = ("header", "cookie", "event", "eventId")


def statuses(route: Route) -> set[int]:
    """The statuses an answer that is not refused may have."""
    told = {node.status for node in route.compiled.shape.root.everywhere() if node.status is not None}
    always = _always_told(route, [route.document.node.selection_set], root_type(route))
    return told if always else {*told, route.status}


def root_type(route: Route) -> GraphQLObjectType:
    """The type that the operation selects from."""
    found = route.schema.executable.get_root_type(route.document.node.operation)
    assert found is not None
    return found


def _always_told(route: Route, sets: Sequence[SelectionSetNode], type: Any) -> bool:
    """Whether a `@status` is met in every value of the type."""
    selecting = route.compiled.selecting
    for member in selecting.types(type):
        selection = selecting.of(sets, member)
        if selection.status is None and not any(
            isinstance(inner := field_type(member, selected.node, selecting.schema), GraphQLNonNull)
            and is_composite_type(inner.of_type)
            and not selected.optional
            and _always_told(route, selected.below, inner.of_type)
            for selected in selection.fields.values()
        ):
            return False
    return True


class Outputs:
    """Describes what one route answers with one status. Fragments become components."""

    def __init__(self, components: Components, route: Route, status: int) -> None:
        self._components = components
        self._route = route
        self._status = status
        self._selecting = route.compiled.selecting

    def body(self) -> Json:
        """The value that is the body, before any envelope."""
        sets, steps = [self._route.document.node.selection_set], self._route.compiled.shape.steps
        root = root_type(self._route)
        return one_of(list(self._along(sets, root, steps))) if steps else self._composite(sets, root)

    def _along(self, sets: Sequence[SelectionSetNode], type: Any, steps: Sequence[str]) -> Iterator[Json]:
        for member, selection in self._members(sets, type):
            selected = selection.fields.get(steps[0])
            if selected is None:
                continue
            found = field_type(member, selected.node, self._selecting.schema)
            schemas = (
                self._along(selected.below, get_named_type(found), steps[1:])
                if len(steps) > 1
                else [self._field(member, selected)]
            )
            missing = selected.optional or not isinstance(found, GraphQLNonNull)
            yield from (nullable(schema) if missing else schema for schema in schemas)

    def headers(self) -> Iterator[tuple[str, Json]]:
        """The headers that parts of the answer go into, with their schemas."""
        yield from self._headers([self._route.document.node.selection_set], root_type(self._route))

    def _headers(self, sets: Sequence[SelectionSetNode], type: Any) -> Iterator[tuple[str, Json]]:
        for member, selection in self._members(sets, type):
            for selected in selection.fields.values():
                for arguments in directives_named(selected.node.directives, "header"):
                    yield arguments["name"], without_null(self._value(member, selected))
                if has(selected.node.directives, "cookie"):
                    yield "Set-Cookie", {"type": "string"}
                if selected.below:
                    found = field_type(member, selected.node, self._selecting.schema)
                    yield from self._headers(selected.below, get_named_type(found))

    def _members(self, sets: Sequence[SelectionSetNode], type: Any) -> list[tuple[GraphQLObjectType, Selection]]:
        """The types a value may have in an answer of the status, and what is selected of each."""
        every = [(member, self._selecting.of(sets, member)) for member in self._selecting.types(type)]
        of_status = [one for one in every if one[1].status == self._status]
        return of_status or [one for one in every if one[1].status is None] or every

    # Values.

    def _composite(self, sets: Sequence[SelectionSetNode], type: Any) -> Json:
        """An object, or one of those that a value of an interface or union may be."""
        alone = self._alone(sets, type)
        if alone is not None:
            return self._component(alone, type)
        return one_of([self._object(sets, member, selection) for member, selection in self._members(sets, type)])

    def _object(self, sets: Sequence[SelectionSetNode], type: GraphQLObjectType, selection: Selection) -> Json:
        alone = self._alone(sets, type)
        return self._component(alone, type) if alone is not None else self._fields(type, selection)

    def _alone(self, sets: Sequence[SelectionSetNode], type: Any) -> str | None:
        """The fragment that says all there is to say, and the same for every status."""
        name = self._selecting.spread_alone(sets, type)
        if name is None or self._selecting.tells_status(self._route.fragments[name].node.selection_set):
            return None
        return name

    def _component(self, fragment_name: str, type: Any) -> Json:
        name = self._components.name(self._route.system, fragment_name)
        if name not in self._components.schemas:
            self._components.schemas[name] = {}  # no fragment is inside itself, but it may be met again meanwhile
            fragment = self._route.fragments[fragment_name].node
            described = {"description": type.description} if type.description else {}
            self._components.schemas[name] = self._composite([fragment.selection_set], type) | described
        return self._components.reference(name)

    def _fields(self, type: GraphQLObjectType, selection: Selection) -> Json:
        properties: Json = {}
        required: list[str] = []
        spread: list[Json] = []
        for key, selected in selection.fields.items():
            directives = selected.node.directives
            if any(has(directives, name) for name in LEAVING):
                continue
            schema = self._field(type, selected)
            if has(directives, "spread"):
                spread.append(nullable(schema) if selected.optional else schema)
                continue
            properties[key] = schema
            omitted = any(arguments["as"] == OMIT_NULL for arguments in directives_named(directives, "render"))
            if not selected.optional and not omitted:
                required.append(key)
        objects = [object_schema(properties, required)]
        for inner in spread:
            objects = [self._components.joined(whole, inner) for whole in objects]
            objects = [found for one in objects for found in self._components.objects(one)]
        return one_of(objects)

    def _field(self, parent: GraphQLObjectType, selected: Selected) -> Json:
        schema = self._value(parent, selected)
        for arguments in directives_named(selected.node.directives, "render"):
            schema = self._rendered(arguments["as"], schema)
        description = self._definition(parent, selected).description
        # What a root field is for, the operation says better; and `__typename` is no news to anybody.
        if not description or parent is root_type(self._route) or selected.node.name.value == "__typename":
            return schema
        return {**schema, "description": description}

    def _definition(self, parent: GraphQLObjectType, selected: Selected) -> GraphQLField:
        definition = self._selecting.schema.get_field(parent, selected.node.name.value)
        assert definition is not None
        return definition

    def _value(self, parent: GraphQLObjectType, selected: Selected) -> Json:
        if selected.node.name.value == "__typename":
            return {"type": "string", "enum": [parent.name]}
        return self._output(self._definition(parent, selected).type, selected)

    def _output(self, type: Any, selected: Selected) -> Json:
        if isinstance(type, GraphQLNonNull):
            return self._bare(type.of_type, selected)
        return nullable(self._bare(type, selected))

    def _bare(self, type: Any, selected: Selected) -> Json:
        if isinstance(type, GraphQLList):
            return {"type": "array", "items": self._output(type.of_type, selected)}
        if isinstance(type, GraphQLScalarType):
            return scalar_schema(type)
        if isinstance(type, GraphQLEnumType):
            return {"type": "string", "enum": list(type.values)}
        return self._composite(selected.below, type)

    def _rendered(self, name: str, schema: Json) -> Json:
        if name == OMIT_NULL:
            return without_null(schema)
        if name not in OF_ENTRIES:
            return schema_of(name, schema)
        part = OF_ENTRIES[name][-1]
        inner = one_of([entry["properties"][part] for entry in self._components.objects(schema["items"])])
        made: Json = (
            {"type": "object", "additionalProperties": inner} if name == ENTRIES else {"type": "array", "items": inner}
        )
        return nullable(made) if may_be_null(schema) else made
