"""How sure a finished job was: what its probabilities look like, and where to look first.

A histogram of each label's raw probability, how often each label came first, and the
images whose largest probability is smallest. Images that could not be read do not count.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.errors import NotFoundError
from worker.artefacts import Row
from worker.run import Run
from worker.run_items import shard_rows

BINS: Final = 20
UNCERTAIN: Final = 24

_EDGES: Final = tuple(edge / BINS for edge in range(BINS + 1))


@dataclass(frozen=True)
class Scores:
    """The raw probabilities of some images, summed up.

    Attributes:
        unreadable: images without probabilities.
        counts: for each label, images in each of `BINS` equal bins from 0 to 1; the
            last bin includes 1.
        predicted: for each label, images whose largest probability it has.
        uncertain: images with the smallest largest probability, least certain first.
    """

    unreadable: int
    counts: tuple[tuple[int, ...], ...]
    predicted: tuple[int, ...]
    uncertain: tuple[Row, ...]


class ScoreSum:
    """The scores of the rows seen so far: a job may have 500,000 images."""

    def __init__(self, classes: int) -> None:
        """Nothing has been seen yet of rows with that many *classes*."""
        self._counts = np.zeros((classes, BINS), dtype=np.int64)
        self._predicted: Counter[int] = Counter()
        self._unreadable = 0
        self._uncertain: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Count some more *rows*, which come after those before."""
        good = [row for row in rows if not row.unreadable]
        self._unreadable += len(rows) - len(good)
        if not good:
            return
        values = np.array([row.probabilities for row in good])
        for label, counts in enumerate(self._counts):
            counts += np.histogram(values[:, label], _EDGES)[0]
        self._predicted.update(values.argmax(axis=1).tolist())
        self._uncertain = _least_certain([*self._uncertain, *good])

    def scores(self) -> Scores:
        """What they look like together."""
        return Scores(
            unreadable=self._unreadable,
            counts=tuple(tuple(row) for row in self._counts.tolist()),
            predicted=tuple(self._predicted[each] for each in range(len(self._counts))),
            uncertain=tuple(self._uncertain),
        )


def score_rows(shards: Iterable[Sequence[Row]], classes: int) -> Scores:
    """Sum up the rows of all *shards*, one at a time."""
    total = ScoreSum(classes)
    for rows in shards:
        total.add(rows)
    return total.scores()


def score_run(run: Run) -> dict[str, Any]:
    """The scores of a finished *run* as a JSON object.

    Raises:
        NotFoundError: its manifest or one of its shards cannot be read any more.
    """
    manifest = run.manifest
    request = manifest.request
    shards = (_rows(run, number) for number in range(manifest.shard_count))
    labels = request.labels
    scores = score_rows(shards, len(labels))
    return {
        "job": run.id,
        "model": request.model,
        "version": request.version,
        "labels": labels,
        "images": manifest.total,
        "unreadable": scores.unreadable,
        "positive": request.positive or labels[-1],
        **distribution(scores, labels),
        "uncertain": [_entry(row, labels) for row in scores.uncertain],
    }


def distribution(scores: Scores, labels: Sequence[str]) -> dict[str, Any]:
    """The members ``histogram`` and ``predicted`` of a JSON object about *scores*."""
    counts = dict(zip(labels, scores.counts, strict=True))
    return {
        "histogram": {"edges": _EDGES, "counts": counts},
        "predicted": dict(zip(labels, scores.predicted, strict=True)),
    }


def _rows(run: Run, number: int) -> tuple[Row, ...]:
    rows = shard_rows(run, number)
    if rows is None:
        message = f"shard {number} of job {run.id} is damaged: submit the folder again"
        raise NotFoundError(message, code="scores_not_found")
    return rows


def _least_certain(rows: Sequence[Row]) -> list[Row]:
    # Stable: of equally certain images those that come first in the CSV.
    return heapq.nsmallest(UNCERTAIN, rows, key=lambda row: max(row.probabilities))


def _entry(row: Row, labels: Sequence[str]) -> dict[str, Any]:
    probabilities = dict(zip(labels, row.probabilities, strict=True))
    best = labels[int(np.argmax(row.probabilities))]
    return {
        "id": row.id,
        "file": row.file,
        "label": best,
        "probabilities": probabilities,
    }
