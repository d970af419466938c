"""JSON that PostgreSQL built and nobody needs to look into: it goes into the answer as it is."""

import json
from collections.abc import Sequence
from typing import Any

import orjson


class RawJson(str):
    """JSON text."""

    __slots__ = ()


def array_of(documents: Sequence[str]) -> RawJson:
    """The JSON array of these texts."""
    return RawJson("[" + ",".join(documents) + "]")


def json_of(value: Any) -> RawJson:
    """The JSON text of a value, integers of any size included: PostgreSQL spells a large double as one."""
    try:
        return RawJson(orjson.dumps(value).decode())
    except TypeError:
        return RawJson(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
