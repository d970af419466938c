"""Values for the variables of stored operations: mostly ones that are meant, sometimes ones that are not."""

import random
from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    is_required_input_field,
    type_from_ast,
)

from rest_compat.engine.operations import Route
from rest_compat.engine.schema import scalar_schema
from tests.contract.asking import ZERO
from tests.contract.placing import filled, is_list, places

Draw = Callable[["Drawing"], Any]
ODD_LISTS = ([], None, ["a"], [1], [None], [[]])
ODD = ("", "nope", "x" * 300, "'; DROP TABLE x; --", ZERO, -1, 10**6, 10**30, 1.5, True, [], {}, None, ["a"])
TEXTS = ("plain", "ä ö ü", "with 'quotes\"", "100 %", "a/b?c=d&e#f", "  spaces ", "1", "true", "null", "🙂")


def of(kind: str) -> Draw:
    """One of the things of a kind that are there."""
    return lambda drawing: drawing.random.choice(drawing.things[kind])


def one_of(*values: Any) -> Draw:
    return lambda drawing: drawing.random.choice(values)


def between(low: int, high: int) -> Draw:
    return lambda drawing: drawing.random.randint(low, high)


def fresh(prefix: str) -> Draw:
    """A name nobody has."""
    return lambda drawing: f"{prefix}-{drawing.random.getrandbits(40):x}"


def record(drawing: "Drawing") -> dict[str, Any]:
    """Values of a parcel; those of other entities are refused, which is an answer too."""
    values = {"code": fresh("R")(drawing), "weight": drawing.random.choice([0, 1, -2.5, 1e3]), "fragile": True,
              "sent_on": "2026-02-03", "about": {"deep": [1, {"x": None}]}}  # fmt: skip
    kept = drawing.random.sample(sorted(values), drawing.random.randint(1, 4))
    return {name: values[name] for name in {"code", *kept}}


def where_equal(drawing: "Drawing") -> dict[str, str]:
    return drawing.random.choice([{"code": "P-3"}, {"fragile": "true"}, {"weight": "4.5"}, {"nothing": "x"}])


def where_rootcx(drawing: "Drawing") -> dict[str, Any]:
    return drawing.random.choice([
        {"code": "P-3"}, {"weight": {"$gte": 3}}, {"$or": [{"code": "P-1"}, {"fragile": False}]}, {},
        {"code": {"$like": "P-1%"}}, {"code": {"$in": ["P-1", "P-2"]}}, {"weight": {"$nope": 1}},
    ])  # fmt: skip


def none(drawing: "Drawing") -> list[Any]:
    return []


NAMED: Mapping[str, Draw] = {
    "appId": of("appId"),
    "app_id": of("appId"),
    "entity": of("entity"),
    "userId": of("user"),
    "roleName": of("role"),
    "role": of("role"),
    "identityKind": of("identityKind"),
    "bucket": of("bucket"),
    "name": fresh("name"),
    "key": lambda drawing: f"KEY_{drawing.random.getrandbits(40):X}",
    "record_id": of("record"),
    "operation": one_of("INSERT", "UPDATE", "DELETE"),
    "order": one_of("ASC", "DESC"),
    "limit": between(1, 20),
    "offset": between(0, 5),
    "sort": one_of("code", "weight", "created_at", "nothing"),
    "orderBy": one_of("code", "weight", "created_at", "nothing"),
    "linked": one_of(True, False, ["stage"]),
    "record": record,
    "changes": record,
    "records": lambda drawing: [record(drawing) for _ in range(drawing.random.randint(1, 3))],
    "inherits": one_of([], ["base"]),
    "permissions": one_of([], ["app:stage:parcels.read"], ["platform:apps.create"]),
    "password": one_of("Str0ngPass1"),
    "type": one_of("app", "agent", "nothing"),
}

# Where a name means something else in one operation than in most.
IN_OPERATION: Mapping[str, Mapping[str, Draw]] = {
    "rootcx.getRecord": {"id": of("record")},
    "rootcx.updateRecord": {"id": of("record"), "entity": one_of("parcels")},
    "rootcx.createRecord": {"entity": one_of("parcels")},
    "rootcx.bulkCreateRecords": {"entity": one_of("parcels")},
    "rootcx.listRecords": {"where": where_equal},
    "rootcx.queryRecords": {"where": where_rootcx},
    "rootcx.federatedQuery": {"where": where_rootcx},
    "rootcx.getUser": {"id": of("user")},
    "rootcx.assignAppRole": {"role": of("appRole")},
    "rootcx.revokeAppRole": {"role": of("appRole")},
    "rootcx.updateAppRole": {"roleName": of("appRole"), "permissions": one_of(["parcels.read"]), "inherits": none},
    "rootcx.createAppRole": {"permissions": one_of([], ["parcels.read"]), "inherits": one_of([], ["clerk"])},
    "rootcx.register": {"username": fresh("user"), "email": one_of(None)},
    "rootcx.login": {"name": one_of("person-0", "person-1", "nobody")},
    "rootcx.createBucket": {"max_file_size": one_of(None, 1000), "allowed_types": one_of(None, ["image/*"])},
    "rootcx.listObjects": {"parent_id": of("folder")},
    "rootcx.createFolder": {"parent_id": of("folder")},
    "rootcx.deployIntegration": {"id": one_of("http", "slack")},
    "rootcx.saveIntegrationConfig": {"id": of("integration"), "values": one_of({"baseUrl": "https://api.example"}, {})},
    "rootcx.integrationAuthStatus": {"id": of("integration"), "agentApp": one_of(None, "stage")},
    "rootcx.disconnectIntegration": {"id": one_of("slack")},
    "rootcx.storeIntegrationCredentials": {"id": of("integration")},
    "rootcx.delegateIntegration": {"id": of("integration"), "agentApp": of("appId")},
    "rootcx.listIntegrationConnections": {"id": of("integration")},
    "rootcx.updateIntegrationConnection": {"id": of("integration"), "connId": of("connection"), "label": fresh("key")},
    "rootcx.listIntegrationConfigs": {"id": of("integration")},
    "rootcx.createIntegrationConfig": {"id": of("integration")},
    "rootcx.integrationConnectedUsers": {"id": of("integration")},
    "rootcx.bindIntegration": {"integrationId": of("integration"), "connectionId": of("connection")},
    "rootcx.deactivateChannel": {"id": of("channel")},
    "rootcx.channelIdentity": {"id": of("channel")},
    "rootcx.objectAncestors": {"id": of("folder"), "bucket": one_of("shelf")},
    "stoa.exportRecords": {
        "app": of("appId"), "entity": one_of("parcels"), "dialect": one_of("STOA"), "columns": one_of(None, ["code"]),
        "where": one_of(None, {"code": {"eq": "P-3"}}), "orderBy": one_of("code", "weight"), "labels": one_of(None),
        "format": one_of("CSV", "JSON", "NDJSON", "XLSX", "PDF"), "first": one_of(None, 2),
    },
}  # fmt: skip


class Drawing:
    """Draws values, the same for the same seed."""

    def __init__(self, seed: str, things: Mapping[str, list[Any]], schema: GraphQLSchema) -> None:
        self.random = random.Random(seed)
        self.things = things
        self.schema = schema

    def variables(self, route: Route) -> dict[str, Any]:
        """Values as they are meant; what may be left out sometimes is."""
        drawn: dict[str, Any] = {}
        for definition in route.document.node.variable_definitions or ():
            name = definition.variable.name.value
            type: Any = type_from_ast(self.schema, definition.type)  # type: ignore[call-overload]
            required = isinstance(type, GraphQLNonNull) and definition.default_value is None
            if name in filled(route) or not (required or self.random.random() < 0.6):
                continue
            value = self._meant(route, name, type)
            if value is not None:
                drawn[name] = value
        return drawn

    def _meant(self, route: Route, name: str, type: Any) -> Any:
        draw = IN_OPERATION.get(route.label, {}).get(name) or NAMED.get(name)
        return draw(self) if draw is not None else self.of_type(type)

    def of_type(self, type: Any) -> Any:
        """A value of an input type."""
        if isinstance(type, GraphQLNonNull):
            return self.of_type(type.of_type)
        if isinstance(type, GraphQLList):
            return [self.of_type(type.of_type) for _ in range(self.random.randint(0, 2))]
        if isinstance(type, GraphQLEnumType):
            return self.random.choice(list(type.values))
        if isinstance(type, GraphQLInputObjectType):
            return {
                name: self.of_type(f.type)
                for name, f in type.fields.items()
                if is_required_input_field(f) or self.random.random() < 0.5
            }
        assert isinstance(type, GraphQLScalarType)
        return self._scalar(type)

    def _scalar(self, type: GraphQLScalarType) -> Any:
        schema = scalar_schema(type)
        if schema.get("format") == "uuid":
            return self.random.choice([ZERO, *self.things["record"]])
        if schema.get("format") == "date-time":
            return "2026-03-04T05:06:07.089000Z"
        match schema.get("type"):
            case "integer":
                return self.random.randint(0, 100)
            case "number":
                return self.random.choice([0.5, 2.0])
            case "boolean":
                return self.random.random() < 0.5
            case "object":
                return {"a": 1}
            case None:
                return self.random.choice([None, 1, "x", [1], {"a": {}}])
        return self.random.choice(TEXTS)

    def spoiled(self, route: Route, variables: dict[str, Any]) -> dict[str, Any]:
        """The same with one value that is not meant, where such a value isn't taken for another."""
        plain = {place.variable for place in places(route, self.schema) if not place.bounded and not place.steps}
        names = sorted((plain - {p.variable for p in places(route, self.schema) if p.bounded}) & variables.keys())
        if not names:
            return variables
        name = self.random.choice(names)
        listed = next(is_list(place.type) for place in places(route, self.schema) if place.variable == name)
        # A lone value is a list to GraphQL, and none to REST.
        return {**variables, name: self.random.choice(ODD_LISTS if listed else ODD)}
