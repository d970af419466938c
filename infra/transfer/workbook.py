"""Reads a sheet of a workbook: `python -m infra.transfer.workbook MEMORY_BYTES [SHEET] < FILE`.

A workbook is XML in a zip, of which a few kilobytes can be made to take any memory and any time. So it is read in a
process of its own, which may take so much of both and no more, and takes neither from those who are served meanwhile.

Each row that has cells is a line of JSON: its number and its cells, of which `spoken` says how they are spelled. The
last line is an object: what is wrong with the file, and nothing where it was read to its end.
"""

import json
import resource
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import IO, Any

from domain.kernel.errors import DomainError, Invalid, TooLarge

CPU_S_MAX = 600
UNPACKED_BYTES_MAX = 2**30  # of a workbook, which is a zip
ROWS_MAX = 2**20  # Excel specifications and limits
KINDS: dict[str, Any] = {"moment": datetime, "date": date, "time": time}  # a moment is a date, too


def rows(file: IO[bytes], sheet: str | None) -> Iterator[tuple[int, Sequence[Any]]]:
    """The rows of a sheet that have cells, with their numbers from 1. Raises Invalid, TooLarge."""
    import openpyxl

    _refuse_bombs(file)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    except MemoryError:
        raise
    except Exception as problem:  # whatever its XML can be wrong in
        raise Invalid("file", "the file is no workbook that can be read") from problem
    pages = {page.title: page for page in book.worksheets}  # the others are charts
    if not pages or sheet not in (None, *pages):
        raise Invalid("sheet", "there is no sheet" if sheet is None else f"there is no sheet '{sheet[:80]}'")
    found = next(iter(pages.values())) if sheet is None else pages[sheet]
    found.reset_dimensions()  # what a file says of its size is often wrong, and rows beyond would be left out
    number = 0
    try:
        for number, row in enumerate(found.iter_rows(values_only=True), start=1):
            if number > ROWS_MAX:
                raise TooLarge(f"a sheet has at most {ROWS_MAX} rows", field="file")
            if row:
                yield number, row
    except (DomainError, GeneratorExit, MemoryError):
        raise
    except Exception as problem:
        raise Invalid("file", f"the sheet cannot be read from row {number + 1} on") from problem


def _refuse_bombs(file: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, ValueError) as problem:
        raise Invalid("file", "the file is no workbook that can be read") from problem
    finally:
        file.seek(0)
    if unpacked > UNPACKED_BYTES_MAX:
        raise TooLarge("the workbook is too large once it is unpacked", field="file")


def _tell(what: Any) -> None:
    sys.stdout.write(f"{json.dumps(what, default=_spelled)}\n")


def _spelled(cell: Any) -> Any:
    for kind, type in KINDS.items():
        if isinstance(cell, type):
            return {kind: cell.isoformat()}
    return str(cell)


def spoken(told: dict[str, str]) -> Any:
    """The cell that JSON has no word for."""
    ((kind, text),) = told.items()
    return KINDS[kind].fromisoformat(text)


def main() -> None:
    """Read standard input, and tell."""
    memory, *sheet = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    wrong: dict[str, Any] = {}
    try:
        for row in rows(sys.stdin.buffer, sheet[0] if sheet else None):
            _tell(row)
    except DomainError as refused:
        wrong = {"large": isinstance(refused, TooLarge), "field": refused.field, "message": refused.message}
    _tell(wrong)


if __name__ == "__main__":
    main()
