"""What `kennel prepare` is asked to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.data.sources.layouts import Reading
from models.errors import InvalidRequestError


@dataclass(frozen=True)
class Amount:
    """How many photos validate: a ``count``, or a ``share`` of all (0..1)."""

    count: int | None = None
    share: float | None = None

    def __str__(self) -> str:
        return str(self.share if self.count is None else self.count)


@dataclass(frozen=True)
class PrepareRequest:
    """From where, to where and how; both paths are absolute.

    ``sample_train`` and ``sample_valid`` are counts; a sample is never more than there
    is. ``transfer`` is link, copy or move.
    """

    source: Path
    dest: Path
    reading: Reading = field(default_factory=Reading)
    valid: Amount = field(default_factory=lambda: Amount(share=0.2))
    sample_train: int = 200
    sample_valid: int = 50
    seed: int = 42
    stratify: bool = True
    transfer: str = "link"
    strict: bool = False
    force: bool = False

    def options(self) -> dict[str, Any]:
        """All that determines the result, as JSON: equal options give equal folders."""
        reading = self.reading
        columns = {
            "photo_column": reading.photo_column,
            "label_column": reading.label_column,
        }
        return {
            "source": str(self.source),
            "layout": reading.layout,
            "csv": str(reading.csv) if reading.csv else None,
            "group_by": reading.group_by,
            "names": list(reading.labels),
            "encoding": reading.encoding,
            "valid": str(self.valid),
            "sample_train": self.sample_train,
            "sample_valid": self.sample_valid,
            "seed": self.seed,
            "stratify": self.stratify,
            "transfer": self.transfer,
            # Folders that were made before there were these have none.
            **{name: column for name, column in columns.items() if column},
        }


def parse_amount(text: str) -> Amount:
    """``2000`` as a count, ``0.2`` or ``20%`` as a share.

    Raises:
        InvalidRequestError: it is neither, or out of bounds.
    """
    plain = text.strip()
    if re.fullmatch("[0-9]+", plain, re.ASCII) and int(plain) > 0:
        return Amount(count=int(plain))
    if re.fullmatch(r"[0-9]*\.[0-9]+|[0-9.]+%", plain, re.ASCII):
        percent = plain.endswith("%")
        share = float(plain.rstrip("%")) / (100 if percent else 1)
        if 0 < share < 1:
            return Amount(share=share)
    message = f"--valid {text!r}: give a count such as 2000, or a share such as 0.2"
    raise InvalidRequestError(message)
