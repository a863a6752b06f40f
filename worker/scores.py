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


def score_rows(shards: Iterable[Sequence[Row]], classes: int) -> Scores:
    """Sum up the rows of all *shards*, one at a time: a job may have 500,000 images."""
    counts = np.zeros((classes, BINS), dtype=np.int64)
    predicted: Counter[int] = Counter()
    unreadable = 0
    uncertain: list[Row] = []
    for rows in shards:
        good = [row for row in rows if not row.unreadable]
        unreadable += len(rows) - len(good)
        if not good:
            continue
        values = np.array([row.probabilities for row in good])
        for label in range(classes):
            counts[label] += np.histogram(values[:, label], _EDGES)[0]
        predicted.update(values.argmax(axis=1).tolist())
        uncertain = _least_certain([*uncertain, *good])
    return Scores(
        unreadable=unreadable,
        counts=tuple(tuple(row) for row in counts.tolist()),
        predicted=tuple(predicted[label] for label in range(classes)),
        uncertain=tuple(uncertain),
    )


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
        "histogram": {
            "edges": _EDGES,
            "counts": dict(zip(labels, scores.counts, strict=True)),
        },
        "predicted": dict(zip(labels, scores.predicted, strict=True)),
        "uncertain": [_entry(row, labels) for row in scores.uncertain],
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
