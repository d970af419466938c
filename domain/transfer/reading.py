"""Records as they come: CSV, JSON, NDJSON and workbooks, row by row, whatever the size of the file."""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import IO, Any

from domain.kernel.errors import Invalid
from domain.transfer.formats import Format
from domain.transfer.ports import Tables

LINE_CHARS_MAX = 2**20  # of a line, and of a record in JSON
COLUMNS_MAX = 2000
BLOCK_BYTES = 2**16
DELIMITERS = ",;\t|"
_QUOTED = re.compile(r'"[^"]*"?')

csv.field_size_limit(LINE_CHARS_MAX)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read. No delimiter: the one its header has most of."""

    format: Format
    delimiter: str | None = None
    sheet: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row as it came: where it is in the file, its values by the names of its columns; or what is wrong with it."""

    line: int | None
    values: Mapping[str, Any]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Rows as they come. `columns` is None where each of them names its own, and values are JSON then, not cells.

    `texts` says that cells are nothing but texts.
    """

    columns: Sequence[str] | None
    rows: Iterator[SourceRow]
    texts: bool = False


def source(file: IO[bytes], how: Reading, tables: Tables) -> Source:
    """The rows of a file. Raises Invalid on what is wrong with it, here or while they are read."""
    match how.format:
        case Format.CSV:
            return replace(_table(_csv_rows(_lines(_blocks(file)), how.delimiter)), texts=True)
        case Format.XLSX:
            return _table(tables.workbook(file, how.sheet))
        case Format.NDJSON:
            return Source(None, _json_lines(_lines(_blocks(file))))
        case Format.JSON:
            return Source(None, _json_elements(_blocks(file)))
    raise Invalid("format", f"{how.format.upper()} cannot be read")


def listed(records: Sequence[Any]) -> Source:
    """The rows of a list that came with the call."""
    return Source(None, (_object(None, record) for record in records))


def _blocks(file: IO[bytes]) -> Iterator[str]:
    """The text in a file of UTF-8, with its line ends. Raises Invalid for bytes that are none."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    while True:
        block = file.read(BLOCK_BYTES)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as problem:
            line += problem.object.count(b"\n", 0, problem.start)
            raise Invalid("file", f"the file is not in UTF-8 from line {line} on") from problem
        line += text.count("\n")
        if text:
            yield text
        if not block:
            return


def _lines(blocks: Iterator[str]) -> Iterator[str]:
    """The lines with their ends. Raises Invalid for one that is too long."""
    begun, number = "", 0
    for block in blocks:
        *whole, begun = (begun + block).split("\n")
        for line in whole:
            number += 1
            yield _bounded(f"{line}\n", number)
        _bounded(begun, number + 1)
    if begun:
        yield begun


def _bounded(line: str, number: int) -> str:
    if len(line) > LINE_CHARS_MAX:
        raise Invalid("file", f"line {number} has more than {LINE_CHARS_MAX} characters")
    return line


# Tables.


def _csv_rows(lines: Iterator[str], delimiter: str | None) -> Iterator[tuple[int, Sequence[Any]]]:
    blanks, header = 0, ""
    for header in lines:
        if header.strip():
            break
        blanks += 1
    again = chain(repeat("\n", blanks), [header], lines)
    reader = csv.reader(again, delimiter=delimiter or _likely_delimiter(header), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as problem:
            raise Invalid("file", f"the row that begins in line {begins} cannot be read: {problem}") from problem
        if cells is None:
            return
        yield begins, cells


def _likely_delimiter(header: str) -> str:
    return max(DELIMITERS, key=_QUOTED.sub("", header).count)


def _table(rows: Iterator[tuple[int, Sequence[Any]]]) -> Source:
    header = next((cells for _, cells in rows if any(not _is_blank(cell) for cell in cells)), ())
    columns = ["" if _is_blank(cell) else str(cell).strip() for cell in header]
    named = [column for column in columns if column]
    if len(columns) > COLUMNS_MAX:
        raise Invalid("file", f"the table has more than {COLUMNS_MAX} columns")
    if len(set(named)) < len(named):
        twice = next(column for column in named if named.count(column) > 1)
        raise Invalid("file", f"the table has two columns '{twice[:80]}'")
    return Source(named, _named(columns, rows))


def _named(columns: Sequence[str], rows: Iterator[tuple[int, Sequence[Any]]]) -> Iterator[SourceRow]:
    """The rows with their cells by column; blank ones are left out, blank rows as well."""
    for line, cells in rows:
        values = {column: cell for column, cell in zip(columns, cells, strict=False) if column and not _is_blank(cell)}
        beyond = sum(not _is_blank(cell) for cell in cells[len(columns) :])
        if beyond:
            yield SourceRow(line, {}, f"the row has {len(cells)} cells, the header {len(columns)}")
        elif values:
            yield SourceRow(line, values)


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


# JSON.


def _json_lines(lines: Iterator[str]) -> Iterator[SourceRow]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _object(number, _decoder.decode(line))
            except (ValueError, RecursionError) as problem:
                yield SourceRow(number, {}, f"the line is no JSON: {problem}")


def _json_elements(blocks: Iterator[str]) -> Iterator[SourceRow]:
    """The elements of an array, one by one."""
    scanner = _Scanner(blocks)
    if not scanner.skipped("["):
        raise Invalid("file", "the file must be a JSON array of objects")
    ended = scanner.skipped("]")
    while not ended:
        scanner.skip_blanks()
        line = scanner.line
        yield _object(line, scanner.value())
        ended = scanner.skipped("]")
        if not ended and not scanner.skipped(","):
            raise Invalid("file", f"the array is broken in line {scanner.line}")
    if not scanner.at_end():
        raise Invalid("file", f"there is something behind the array, in line {scanner.line}")


def _object(line: int | None, value: Any) -> SourceRow:
    if isinstance(value, dict):
        return SourceRow(line, value)
    return SourceRow(line, {}, "the record must be an object")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


class _Scanner:
    """Reads JSON values from a text of any length, holding no more of it than one value and a block."""

    def __init__(self, blocks: Iterator[str]) -> None:
        self._blocks = blocks
        self._held = ""
        self._at = 0
        self.line = 1

    def skip_blanks(self) -> None:
        """Go on to what is no blank."""
        while True:
            while self._at < len(self._held) and self._held[self._at] in " \t\r\n":
                self.line += self._held[self._at] == "\n"
                self._at += 1
            if self._at < len(self._held) or not self._more():
                return

    def skipped(self, sign: str) -> bool:
        """Whether the next sign is this one; then it is behind us."""
        self.skip_blanks()
        there = self._held[self._at : self._at + 1] == sign
        self._at += there
        return there

    def at_end(self) -> bool:
        """Whether only blanks are left."""
        self.skip_blanks()
        return self._at == len(self._held)

    def value(self) -> Any:
        """The next value. Raises Invalid."""
        self.skip_blanks()
        while True:
            try:
                value, end = _decoder.raw_decode(self._held, self._at)
            except (ValueError, RecursionError) as problem:
                if not self._more():
                    raise Invalid("file", f"the record in line {self.line} is no JSON: {problem}") from problem
                continue
            if end < len(self._held) or not self._more():  # else a number might go on
                self.line += self._held.count("\n", self._at, end)
                self._at = end
                return value

    def _more(self) -> bool:
        """Read on; False at the end. Raises Invalid where one value is too long."""
        if len(self._held) - self._at > LINE_CHARS_MAX:
            raise Invalid("file", f"the record in line {self.line} has more than {LINE_CHARS_MAX} characters")
        block = next(self._blocks, "")
        self._held, self._at = self._held[self._at :] + block, 0
        return bool(block)
