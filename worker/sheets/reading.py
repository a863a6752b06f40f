"""A CSV file as people save it: a byte order mark, any line ends, quotes, blank lines.

It is read row by row, however often that takes; a row that cannot be used is named by
its line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

from models.errors import InvalidRequestError

MAX_SHEET_BYTES: Final = 64 * 1024**2
MAX_ROWS: Final = 1_000_000

SheetRow: TypeAlias = tuple[int, list[str]]
"""The line that a row ends in, and its cells."""


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

    def rows(self) -> Iterator[SheetRow]:
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

    def _lines(self) -> Generator[SheetRow, None, None]:
        self.stream.seek(0)
        text = io.TextIOWrapper(self.stream, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        width = 0
        try:
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                width = width or len(cells)
                self._check_width(reader.line_num, cells, width)
                yield reader.line_num, cells
        except csv.Error as error:
            reason = f"it is no CSV ({error}): write it anew"
            raise self.refusal(reason, reader.line_num) from error
        except UnicodeDecodeError as error:
            reason = "it is not UTF-8 from here on: save it as CSV in UTF-8"
            raise self.refusal(reason, reader.line_num + 1) from error
        finally:
            # Or the stream would be closed with the reader of this pass.
            text.detach()

    def _too_short(self) -> InvalidRequestError:
        return self.refusal("it needs a header, and a row for each image")

    def _check_width(self, line: int, cells: list[str], width: int) -> None:
        if len(cells) != width:
            reason = (
                f"it has {len(cells)} columns, the header has {width}: mend the row"
            )
            raise self.refusal(reason, line)
