"""What is met while the rows of a run go by once, a shard at a time, into its CSV."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from worker.artefacts import Row
from worker.run import Run
from worker.run_items import shard_rows
from worker.scores import Scores, ScoreSum


class Survey:
    """What the report needs to know of a run's rows, once they went by.

    Attributes:
        broken: shards that are missing or damaged.
        unreadable: rows of images that could not be read.
    """

    def __init__(self, run: Run) -> None:
        """Look at the rows of *run*."""
        self.broken: list[int] = []
        self.unreadable: list[Row] = []
        self._run = run
        self._ids = hashlib.sha256()
        self._scores = ScoreSum(len(run.manifest.request.labels))

    def rows(self) -> Iterator[Row]:
        """All rows in submission order; to be taken once, to the end.

        Raises:
            NotFoundError: the manifest or its item file cannot be read.
        """
        for number in range(self._run.manifest.shard_count):
            rows = shard_rows(self._run, number)
            if rows is None:
                self.broken.append(number)
                continue
            self.unreadable.extend(row for row in rows if row.unreadable)
            self._ids.update("".join(f"{row.id}\n" for row in rows).encode())
            self._scores.add(rows)
            yield from rows

    @property
    def ids_sha256(self) -> str:
        """Of the ids in submission order, each with a line feed."""
        return self._ids.hexdigest()

    def scores(self) -> Scores:
        """What the probabilities look like."""
        return self._scores.scores()
