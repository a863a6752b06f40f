"""From rows to the text of a submission, in the format that Kaggle wants.

The text depends on the rows alone, so assembling twice gives the same bytes. Of labels
that are equally probable the first is written, also for an image that cannot be read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from models.probabilities import clip
from models.text import normal_name
from worker.artefacts import Row
from worker.columns import csv_header, csv_labels
from worker.items import file_name
from worker.request import FULL, KAGGLE_MULTICLASS, LABEL, JobRequest


def render_csv(rows: Iterable[Row], request: JobRequest) -> str:
    """The submission's text, in the format that *request* asks for.

    Raises:
        InvalidRequestError: the clip bound is not possible for the labels.
    """
    return "".join(csv_lines(rows, request))


def csv_lines(rows: Iterable[Row], request: JobRequest) -> Iterator[str]:
    """The submission line by line, as `render_csv`: *rows* may be a million.

    Raises:
        InvalidRequestError: the clip bound is not possible for the labels.
    """
    writer = csv.writer(_Line(), lineterminator="\n")
    labels = csv_labels(request)
    # What the stream's write() returned, though its type does not say so.
    yield str(writer.writerow(csv_header(request)))
    for row in rows:
        yield str(writer.writerow(_fields(row, request, labels)))


def raw_probabilities(row: Row, request: JobRequest) -> tuple[float, ...]:
    """The row's probabilities before clipping; the uniform prior if it has none."""
    return row.probabilities or (1 / len(request.labels),) * len(request.labels)


class _Line:
    def write(self, text: str) -> str:
        return text


def _fields(row: Row, request: JobRequest, labels: Sequence[int]) -> list[str]:
    raw = raw_probabilities(row, request)
    best = int(np.argmax(raw))
    if request.format == LABEL:
        name = normal_name(request.labels[best])
        return [row.id, str(best) if request.label_numbers else name]
    probabilities = clip(np.array(raw, dtype=np.float64), request.clip)
    # Never 1e-07: some readers of submissions do not know that notation.
    texts = [f"{probabilities[label]:.8f}" for label in labels]
    if request.format == FULL:
        return [row.id, request.labels[best] if row.probabilities else "", *texts]
    by_file = request.format == KAGGLE_MULTICLASS and not request.has_own_ids
    return [normal_name(file_name(row.file)) if by_file else row.id, *texts]
