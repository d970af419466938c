"""The scalars: how values that JSON has no word for look, and how they are read."""

import json
from datetime import UTC, date, datetime
from typing import Any, NewType
from uuid import UUID

import orjson
import strawberry
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.types.scalar import ScalarDefinition

from domain.kernel.ids import parse_uuid
from domain.kernel.rawjson import RawJson, json_of
from domain.kernel.secret import SecretText
from domain.kernel.upload import Upload
from graph.rules import JsonSchema

Json = NewType("Json", object)
JsonObject = NewType("JsonObject", dict)
Record = NewType("Record", object)
Records = NewType("Records", object)
BigInt = NewType("BigInt", int)
FileRef = NewType("FileRef", str)

RECORD_SCHEMA = {
    "type": "object",
    "description": "A record: its fields by name, null where there is no value.",
    "required": ["id", "created_at", "updated_at"],
    "properties": {
        "id": {"type": "string"},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
    },
}


def _shape(schema: dict[str, Any]) -> list[object]:
    return [JsonSchema(schema=json.dumps(schema))]


def _out(value: Any) -> Any:
    """JSON goes into the answer as text: that of PostgreSQL as it is."""
    if isinstance(value, list | dict):
        value = json_of(value)
    return orjson.Fragment(str(value)) if isinstance(value, RawJson) else value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise StrawberryInputCoercionError("must be an object")
    return value


def _secret(value: Any) -> SecretText:
    if not isinstance(value, str):
        raise StrawberryInputCoercionError("must be a string")  # other scalars quote what they were given
    return SecretText(value)


def _uuid(value: Any) -> UUID:
    parsed = parse_uuid(value)
    if parsed is None:
        raise StrawberryInputCoercionError(f"invalid UUID: '{str(value)[:80]}'")
    return parsed


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _datetime(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise StrawberryInputCoercionError("must be a moment in ISO 8601 with an offset or Z")


def _date(value: Any) -> date:
    try:
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise StrawberryInputCoercionError("must be a date, YYYY-MM-DD")


def _big_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise StrawberryInputCoercionError("must be an integer of at most 64 bits")
    return value


def _upload(value: Any) -> Upload:
    if not isinstance(value, Upload):
        raise StrawberryInputCoercionError("a file comes with a REST request; for GraphQL ask `createUpload` for a URL")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    Json: strawberry.scalar(name="JSON", description="Any JSON value.", serialize=_out, directives=_shape({})),
    JsonObject: strawberry.scalar(
        name="JSONObject",
        description="A JSON object.",
        serialize=_out,
        parse_value=_object,
        directives=_shape({"type": "object"}),
    ),
    Record: strawberry.scalar(
        name="Record",
        description="A record as a JSON object: its fields by name, null where there is no value.",
        serialize=_out,
        directives=_shape(RECORD_SCHEMA),
    ),
    Records: strawberry.scalar(
        name="Records",
        description="Records as a JSON array of objects.",
        serialize=_out,
        directives=_shape({"type": "array", "items": RECORD_SCHEMA}),
    ),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer of up to 64 bits.",
        parse_value=_big_int,
        directives=_shape({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}),
    ),
    SecretText: strawberry.scalar(
        name="SecretText",
        description="A text that is taken and never shown again.",
        parse_value=_secret,
        directives=_shape({"type": "string", "writeOnly": True}),
    ),
    FileRef: strawberry.scalar(
        name="FileRef",
        description="The bytes of a file: over GraphQL a signed URL to read them at, over REST the bytes themselves.",
        directives=_shape({"type": "string", "format": "uri-reference"}),
    ),
    Upload: strawberry.scalar(
        name="Upload",
        description="A file that comes with a REST request. For GraphQL, `createUpload` gives a URL to send it to.",
        parse_value=_upload,
        directives=_shape({"type": "string", "format": "binary"}),
    ),
    UUID: strawberry.scalar(
        name="UUID",
        description="A UUID in its hyphenated form.",
        serialize=str,
        parse_value=_uuid,
        directives=_shape({"type": "string", "format": "uuid"}),
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment: ISO 8601 with an offset or `Z`; answers are in UTC, with microseconds.",
        serialize=utc_text,
        parse_value=_datetime,
        directives=_shape({"type": "string", "format": "date-time"}),
    ),
    date: strawberry.scalar(
        name="Date",
        description="A day, `YYYY-MM-DD`.",
        serialize=date.isoformat,
        parse_value=_date,
        directives=_shape({"type": "string", "format": "date"}),
    ),
}
