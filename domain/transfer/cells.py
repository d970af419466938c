"""From a cell of a table to a value of a field: what people write in tables, said as JSON."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from domain.records.declared import Field
from domain.records.types import FieldType, ListType
from domain.transfer.guarding import unguarded

TRUE = frozenset({"true", "t", "yes", "y", "1", "on"})
FALSE = frozenset({"false", "f", "no", "n", "0", "off"})
_DAY = re.compile(r"(\d{4})[/.-](\d{1,2})[/.-](\d{1,2})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?|[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?|[-+]?[0-9]+\.")
NUMBER_CHARS_MAX = 400  # a double has 309 digits at most
_SIGNS = "$€£¥ \u00a0"


@dataclass(frozen=True, slots=True)
class Habits:
    """How whoever wrote a table writes. `blanks` are texts that stand for no value; guards are taken off texts."""

    blanks: Collection[str] = ()
    guarded: bool = True


def value_of(field: Field, cell: Any, habits: Habits) -> Any:
    """The cell as a JSON value that the field may take. What it cannot be read as is left for the field to refuse."""
    if isinstance(cell, datetime):
        moment = cell if cell.tzinfo is not None else cell.replace(tzinfo=UTC)  # sheets know no zones
        return moment.date().isoformat() if field.type.name == "date" else moment.isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    if not isinstance(cell, str):
        return str(cell)
    text = unguarded(cell) if habits.guarded else cell
    if isinstance(field.type, ListType):
        return _list(field, text)
    return _option(field, _scalar(field.type, text))


def _scalar(type: FieldType, text: str) -> Any:
    kind = type.describe().get("type")
    word = text.strip()
    if kind == "boolean":
        return True if word.lower() in TRUE else False if word.lower() in FALSE else text
    if type.name in ("number", "integer", "decimal", "percent"):
        return _number(type, word)
    if type.name == "date":
        match = _DAY.fullmatch(word)
        return word if match is None else f"{match[1]}-{int(match[2]):02}-{int(match[3]):02}"
    if kind in ("object", "array", None):
        return _json(text)
    return word if kind == "string" and type.describe().get("format") else text


def _number(type: FieldType, word: str) -> Any:
    """A number as people write it: `1,234.5`, `$5`, `12 %`, `(3)` for -3."""
    negative = word.startswith("(") and word.endswith(")")
    plain = word.strip("()").strip(_SIGNS).removesuffix("%").strip(_SIGNS)
    if len(plain) > NUMBER_CHARS_MAX or not _NUMBER.fullmatch(plain):
        return word
    plain = f"-{plain}" if negative else plain
    plain = plain.replace(",", "")
    if type.name in ("decimal", "percent"):
        return plain
    try:
        return int(plain)
    except ValueError:
        return float(plain)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _list(field: Field, text: str) -> Any:
    word = text.strip()
    if word.startswith("["):
        return _json(text)
    parts = [part.strip() for part in re.split(r"[,;\n]", word)]
    return [_option(field, _scalar(field.type.element, part)) for part in parts if part]


def _option(field: Field, value: Any) -> Any:
    """The option that is meant, whatever its case."""
    if field.options is None or not isinstance(value, str) or value in field.options:
        return value
    meant = [option for option in field.options if option.casefold() == value.strip().casefold()]
    return meant[0] if len(meant) == 1 else value
