"""What the dialects call the field types: each word as the name of a type and the parameters it stands for."""

from collections.abc import Mapping
from typing import Any

# Other words of Stoa's own declarations.
NATIVE_ALIASES: Mapping[str, str] = {
    "string": "text",
    "datetime": "timestamp",
    "currency": "money",
    "percentage": "percent",
    "entity_link": "reference",
    "many_to_one": "reference",
    "[string]": "[text]",
    "embedding": "vector",
}

Spelled = tuple[str, Mapping[str, Any]]

# Objectify, the data types of properties.
OBJECTIFY_TYPES: Mapping[str, Spelled] = {
    "string": ("text", {"max_length": 255}),
    "text": ("long_text", {"max_length": 65_535}),
    "rich_text": ("rich_text", {"max_length": 262_144}),
    "integer": ("integer", {}),
    "number": ("number", {}),
    "decimal": ("decimal", {"precision": 20, "scale": 8}),
    "currency": ("money", {}),
    "percentage": ("percent", {}),
    "boolean": ("boolean", {}),
    "date": ("date", {}),
    "datetime": ("timestamp", {}),
    "time": ("time", {}),
    "email": ("email", {}),
    "url": ("url", {}),
    "phone": ("phone", {}),
    "enum": ("enum", {}),
    "multi_enum": ("multi_enum", {}),
    "reference": ("reference", {}),
    "user": ("user", {}),
    "file": ("file", {}),
    "geo_point": ("geo_point", {}),
    "json": ("json", {}),
}

# ObjectOS, the types of fields.
OBJECTOS_TYPES: Mapping[str, Spelled] = {
    **{word: ("text", {}) for word in ("text", "phone", "signature", "qrcode", "color")},
    **{word: ("long_text", {}) for word in ("textarea", "markdown", "code")},
    **{word: ("rich_text", {}) for word in ("html", "richtext")},
    **{word: ("number", {}) for word in ("number", "currency", "percent", "rating", "slider", "progress")},
    **{word: ("boolean", {}) for word in ("boolean", "toggle")},
    **{word: ("enum", {}) for word in ("select", "radio")},
    **{word: ("multi_enum", {}) for word in ("multiselect", "checkboxes")},
    **{word: ("reference", {}) for word in ("lookup", "master_detail", "tree")},
    **{word: ("json", {}) for word in ("image", "file", "avatar", "video", "audio")},
    **{word: ("json", {}) for word in ("composite", "repeater", "record", "json", "location", "address")},
    **{word: ("secret", {}) for word in ("password", "secret")},
    "email": ("email", {}),
    "url": ("url", {}),
    "date": ("date", {}),
    "datetime": ("timestamp", {}),
    "time": ("time", {}),
    "tags": ("tags", {}),
    "user": ("user", {}),
    "formula": ("formula", {}),
    "summary": ("rollup", {}),
    "autonumber": ("autonumber", {}),
    "vector": ("vector", {}),
}
