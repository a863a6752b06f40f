"""A CSV file that comes with a job.

It is read row by row, however often that takes; a row that cannot be used is named by
its line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final

from models.errors import InvalidRequestError
from models.text import CsvFaultError, CsvRow, read_csv_rows

MAX_SHEET_BYTES: Final = 64 * 1024**2
MAX_ROWS: Final = 1_000_000


@dataclass(frozen=True)
class Sheet:
    """A CSV file whose content stays as it is.

    Attributes:
        name: what users call it.
        stream: can be sought.
        digest: sha256 of the content.
    """

    name: str
    stream: BinaryIO
    digest: str

    def header(self) -> tuple[str, ...]:
        """The names of the columns, at least one.

        Raises:
            InvalidRequestError: the file is empty or no CSV.
        """
        with closing(self._lines()) as lines:
            for _, cells in lines:
                return tuple(cells)
        raise self._too_short()

    def rows(self) -> Iterator[CsvRow]:
        """The rows after the header, all as wide as it is; blank ones are left out.

        Raises:
            InvalidRequestError: the file cannot be read on, or has no rows.
        """
        count = -1
        for line, cells in self._lines():
            count += 1
            if count > MAX_ROWS:
                reason = f"it has more than {MAX_ROWS:,} rows: split the job"
                raise self.refusal(reason, code="too_many_images")
            if count:
                yield line, cells
        if count <= 0:
            raise self._too_short()

    def refusal(
        self, reason: str, line: int | None = None, code: str = "invalid_input"
    ) -> InvalidRequestError:
        """The error that says why the file, or one line of it, is not taken."""
        where = self.name if line is None else f"{self.name} line {line}"
        return InvalidRequestError(f"{where} cannot be used: {reason}", code=code)

    def _lines(self) -> Generator[CsvRow, None, None]:
        try:
            yield from read_csv_rows(self.stream)
        except CsvFaultError as fault:
            raise self.refusal(str(fault), fault.line) from fault

    def _too_short(self) -> InvalidRequestError:
        return self.refusal("it needs a header, and a row for each image")
