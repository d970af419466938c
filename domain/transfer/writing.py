"""Records as text: CSV, JSON and NDJSON, some at a time."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from domain.kernel.rawjson import json_of
from domain.transfer.formats import Format, Sheet
from domain.transfer.guarding import guarded
from domain.transfer.ports import Tables, TableWriter

NUMBERS = frozenset({"decimal", "percent"})  # texts in JSON, to the digit; -1.50 is no formula


def writer(format: Format, sheet: Sheet, tables: Tables) -> TableWriter:
    """A writer of this format."""
    match format:
        case Format.CSV:
            return CsvWriter(sheet)
        case Format.JSON:
            return JsonWriter()
        case Format.NDJSON:
            return NdjsonWriter()
    return tables.writer(format, sheet)


def cell_text(value: Any, *, guard: bool) -> str:
    """A value in a cell: nothing for null, texts as they are, everything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value) if guard else value
    return json_of(value)


class CsvWriter:
    """RFC 4180, in UTF-8."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._begun = False

    def rows(self, documents: Sequence[str]) -> bytes:
        """Records as lines."""
        sheet = self._sheet
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerows(self._header())
        columns = [(column.name, sheet.guarded and column.kind not in NUMBERS) for column in sheet.columns]
        for document in documents:
            record = json.loads(document)
            lines.writerow([cell_text(record[name], guard=guard) for name, guard in columns])
        return text.getvalue().encode("utf-8", "replace")

    def _header(self) -> list[list[str]]:
        if self._begun or not self._sheet.header:
            return []
        self._begun = True
        return [[cell_text(column.label, guard=self._sheet.guarded) for column in self._sheet.columns]]

    def end(self) -> Iterator[bytes]:
        """The header, where there were no records."""
        yield self.rows(())

    def close(self) -> None:
        """Nothing is held."""


class JsonWriter:
    """One JSON array."""

    def __init__(self) -> None:
        self._before = "["

    def rows(self, documents: Sequence[str]) -> bytes:
        """Records as elements."""
        if not documents:
            return b""
        text = self._before + ",\n".join(documents)
        self._before = ",\n"
        return text.encode()

    def end(self) -> Iterator[bytes]:
        """The end of the array."""
        yield b"[]" if self._before == "[" else b"]"

    def close(self) -> None:
        """Nothing is held."""


class NdjsonWriter:
    """A record a line."""

    def rows(self, documents: Sequence[str]) -> bytes:
        """Records as lines."""
        return "".join(f"{document}\n" for document in documents).encode()

    def end(self) -> Iterator[bytes]:
        """Nothing more."""
        return iter(())

    def close(self) -> None:
        """Nothing is held."""
