"""What an operation answered, as bytes to be kept and answered again to the letter.

JSON that PostgreSQL built is in the data as text nobody has looked into. It is kept as that text: read and written
again it would come out with other spaces, or with `1.10` as `1.1`.
"""

import json
from typing import Any

import orjson

from domain.kernel.rawjson import json_of

TEXT = ""  # the key of an object that stands for JSON text; no field of an answer has the empty name


def kept(data: Any) -> bytes:
    """The data of an answer, to be kept."""
    return json_of(_marked(data)).encode()


def restored(stored: bytes) -> Any:
    """The data that was kept."""
    return _unmarked(json.loads(stored))


def _marked(value: Any) -> Any:
    if isinstance(value, list):
        return [_marked(part) for part in value]
    if isinstance(value, orjson.Fragment) or (isinstance(value, dict) and TEXT in value):
        return {TEXT: orjson.dumps(value).decode()}
    if isinstance(value, dict):
        return {name: _marked(part) for name, part in value.items()}
    return value


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(part) for part in value]
    if isinstance(value, dict):
        return orjson.Fragment(value[TEXT]) if TEXT in value else {k: _unmarked(part) for k, part in value.items()}
    return value
