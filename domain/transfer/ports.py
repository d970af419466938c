"""What exports and imports need of the outside: formats that take a library."""

from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

from domain.transfer.formats import Format, Sheet


class TableWriter(Protocol):
    """Writes a table, some records at a time. It works in threads, one call after the other."""

    def rows(self, documents: Sequence[str]) -> bytes:
        """Some records as JSON texts; what is ready of the file by then."""
        ...

    def end(self) -> Iterator[bytes]:
        """The rest of the file."""
        ...

    def close(self) -> None:
        """Let go of what it holds, finished or not."""
        ...


class Tables(Protocol):
    """Tables in formats that take a library."""

    def writer(self, format: Format, sheet: Sheet) -> TableWriter:
        """A writer of a workbook or a document."""
        ...

    def workbook(self, file: IO[bytes], sheet: str | None) -> Iterator[tuple[int, Sequence[Any]]]:
        """The rows of a workbook's sheet (the first without a name) with their numbers from 1, one by one.

        Cells are texts, numbers, booleans, None, dates and moments. Raises Invalid for what is no workbook, TooLarge.
        """
        ...
