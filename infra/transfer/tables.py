"""Workbooks by openpyxl, documents by fpdf2. Both are imported when somebody first wants one."""

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from domain.kernel.errors import Invalid, TooLarge
from domain.transfer.formats import Format, Sheet
from domain.transfer.ports import TableWriter
from domain.transfer.writing import cell_text
from infra.transfer import workbook

BLOCK_BYTES = 2**18
MEMORY_BYTES_MAX = 2**30  # what reading a workbook may take: its shared texts are held in memory
SHEET_CHARS_MAX = 255  # more than programs let people give a sheet
FONT = Path(__file__).parent / "fonts" / "DejaVuSans.ttf"
UNKNOWN = "\ufffd"
CELL_CHARS_MAX = 32_767  # Excel specifications and limits
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # what XML cannot hold


class LibraryTables:
    """See `domain.transfer.ports.Tables`."""

    def writer(self, format: Format, sheet: Sheet) -> TableWriter:
        """A writer of a workbook or a document."""
        return PdfWriter(sheet) if format is Format.PDF else XlsxWriter(sheet)

    def workbook(self, file: IO[bytes], sheet: str | None) -> Iterator[tuple[int, Sequence[Any]]]:
        """The rows of a sheet that have cells, one by one. They are read beside us, see `infra.transfer.workbook`."""
        if sheet is not None and len(sheet) > SHEET_CHARS_MAX:
            raise Invalid("sheet", f"there is no sheet '{sheet[:80]}'")
        file.seek(0)
        program = [sys.executable, "-m", workbook.__name__, str(MEMORY_BYTES_MAX), *([] if sheet is None else [sheet])]
        with Popen(program, stdin=file, stdout=PIPE, stderr=DEVNULL) as reading:
            try:
                assert reading.stdout is not None
                for line in reading.stdout:
                    if line.startswith(b"{"):
                        return _refuse(orjson.loads(line))
                    number, cells = json.loads(line, object_hook=workbook.spoken)
                    yield number, cells
            finally:
                reading.kill()
        raise TooLarge("the workbook takes too much memory or time to be read", field="file")


def _refuse(wrong: Mapping[str, Any]) -> None:
    """Raises what is wrong with a workbook, if something is."""
    if wrong:
        field, message = wrong["field"], wrong["message"]
        raise TooLarge(message, field=field) if wrong["large"] else Invalid(field, message)


class XlsxWriter:
    """A workbook: rows go to disk as they come, the file is put together at the end."""

    def __init__(self, sheet: Sheet) -> None:
        import openpyxl
        from openpyxl.cell import WriteOnlyCell

        self._sheet = sheet
        self._cell = WriteOnlyCell
        self._book = openpyxl.Workbook(write_only=True)
        self._page = self._book.create_sheet(re.sub(r"[\[\]:*?/\\]", "_", sheet.title)[:31])
        if sheet.header:
            self._page.append([self._text(column.label) for column in sheet.columns])

    def rows(self, documents: Sequence[str]) -> bytes:
        """Records as rows; nothing of the file is ready before its end."""
        for document in documents:
            record = orjson.loads(document)
            self._page.append([self._value(record[column.name], column.kind) for column in self._sheet.columns])
        return b""

    def _value(self, value: Any, kind: str) -> Any:
        if kind == "date" and isinstance(value, str):
            return date.fromisoformat(value) if value >= "1900-03-01" else self._text(value)
        if kind == "timestamp" and isinstance(value, str):
            moment = datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)  # a sheet knows no zones
            return moment if moment.year > 1900 and not moment.microsecond else self._text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if abs(value) < 10**15 else self._text(cell_text(value, guard=False))
        return self._text(cell_text(value, guard=False))

    def _text(self, text: str) -> Any:
        """A text, also where it looks like a formula or an error."""
        if not text.startswith(("=", "#")) and len(text) <= CELL_CHARS_MAX and not _CONTROLS.search(text):
            return text
        cell = self._cell(self._page, value="")
        cell.value = _CONTROLS.sub("\ufffd", text)[:CELL_CHARS_MAX]
        cell.data_type = "s"
        return cell

    def end(self) -> Iterator[bytes]:
        """The file."""
        with TemporaryFile() as file:
            self._book.save(file)
            file.seek(0)
            while block := file.read(BLOCK_BYTES):
                yield block

    def close(self) -> None:
        """The rows are on disk until the book is saved: saving it is how to let go of them."""
        if self._page.closed is False:
            self._page.close()


class PdfWriter:
    """A document: a table over as many pages as it takes, the header on each.

    Lines are set here and not by the library's own tables, which take a hundred times as long.
    """

    MARGIN_MM, LINE_MM, SIZE_PT = 10.0, 3.2, 7
    CHAR_MM = 1.5  # what a character of that size takes, most of them less
    LINES_MAX = 8  # of a cell
    SAMPLED = 200  # records that say how wide columns are
    CHARS_LEAST, CHARS_MOST = 6, 60

    def __init__(self, sheet: Sheet) -> None:
        from fpdf import FPDF
        from fpdf.fonts import TTFFont

        self._sheet = sheet
        self._records: list[list[str]] = []
        self._document = FPDF(orientation="landscape", format="A4")
        self._document.set_title(sheet.title)
        self._document.set_auto_page_break(auto=False)
        self._document.add_font("DejaVu", fname=FONT)
        self._document.set_font("DejaVu", size=self.SIZE_PT)
        font = self._document.current_font
        assert isinstance(font, TTFFont)
        self._signs = font.cmap
        self._y = 0.0

    def rows(self, documents: Sequence[str]) -> bytes:
        """Records as lines of the table; it is laid out at the end."""
        for document in documents:
            record = orjson.loads(document)
            cells = (cell_text(record[column.name], guard=False) for column in self._sheet.columns)
            self._records.append([self._printable(_begin_of(cell, self.CHARS_MOST * self.LINES_MAX)) for cell in cells])
        return b""

    def end(self) -> Iterator[bytes]:
        """The file."""
        header = [self._printable(column.label) for column in self._sheet.columns]
        chars = self._chars([header, *self._records[: self.SAMPLED]])
        self._begin_page(header, chars)
        for record in self._records:
            lines = self._wrapped(record, chars)
            if self._y + self._height(lines) > self._document.h - self.MARGIN_MM:
                self._begin_page(header, chars)
            self._set(lines, chars)
        yield bytes(self._document.output())

    def _chars(self, sample: Sequence[Sequence[str]]) -> list[int]:
        """How many characters are in a line of each column: room is shared by need."""
        room = int((self._document.w - 2 * self.MARGIN_MM) / self.CHAR_MM)
        longest = (max(map(len, column)) for column in zip(*sample, strict=True))
        needs = [min(max(need + 2, self.CHARS_LEAST), self.CHARS_MOST) for need in longest]
        return [max(self.CHARS_LEAST, need * room // max(room, sum(needs))) for need in needs]

    def _wrapped(self, cells: Sequence[str], chars: Sequence[int]) -> list[list[str]]:
        return [
            textwrap.wrap(cell, width - 1, max_lines=self.LINES_MAX, placeholder=" ...") or [""]
            for cell, width in zip(cells, chars, strict=True)
        ]

    def _height(self, lines: Sequence[Sequence[str]]) -> float:
        return max(map(len, lines)) * self.LINE_MM + 1

    def _begin_page(self, header: Sequence[str], chars: Sequence[int]) -> None:
        self._document.add_page()
        self._y = self.MARGIN_MM + self.LINE_MM
        if self._sheet.header:
            self._set(self._wrapped(header, chars), chars)
            ruled = self._y - self.LINE_MM
            self._document.line(self.MARGIN_MM, ruled, self._document.w - self.MARGIN_MM, ruled)

    def _set(self, lines: Sequence[Sequence[str]], chars: Sequence[int]) -> None:
        x = self.MARGIN_MM
        for cell, width in zip(lines, chars, strict=True):
            for number, line in enumerate(cell):
                if line:
                    self._document.text(x, self._y + number * self.LINE_MM, line)
            x += width * self.CHAR_MM
        self._y += self._height(lines)

    def close(self) -> None:
        """Nothing is held."""

    def _printable(self, text: str) -> str:
        """The text with what the font can show of it: alphabets, and no signs of the east of Asia."""
        return text if text.isascii() else "".join(c if ord(c) in self._signs else UNKNOWN for c in text)


def _begin_of(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[:chars]} ..."
