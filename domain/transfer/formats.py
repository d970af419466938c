"""The formats that records come and go in."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath


class Format(StrEnum):
    """How records are written down."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"
    XLSX = "xlsx"
    PDF = "pdf"


READABLE = tuple(format for format in Format if format is not Format.PDF)

MEDIA_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.PDF: "application/pdf",
}
_EXTENSIONS = {"csv": Format.CSV, "tsv": Format.CSV, "txt": Format.CSV, "jsonl": Format.NDJSON} | {
    format.value: format for format in READABLE
}
_SPOKEN = {"application/jsonl": Format.NDJSON, "text/tab-separated-values": Format.CSV} | {
    media_type.partition(";")[0]: format for format, media_type in MEDIA_TYPES.items() if format in READABLE
}


def format_of(filename: str, media_type: str | None) -> Format | None:
    """What a file seems to be: its name decides, then what its sender says."""
    extension = PurePath(filename.lower()).suffix.removeprefix(".")
    spoken = (media_type or "").partition(";")[0].strip().lower()
    return _EXTENSIONS.get(extension) or _SPOKEN.get(spoken)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the field it shows, and what is written above it."""

    name: str
    label: str
    kind: str  # the name of the field's type


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table to be written. With `guarded` no text in it is a formula to those who open it."""

    title: str
    columns: tuple[Column, ...]
    header: bool = True
    guarded: bool = True
