"""The columns of a CSV: what each format holds, and whether a given header fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.errors import InvalidRequestError
from models.text import is_writable, normal_name
from worker.naming import Named
from worker.request import FULL, KAGGLE_BINARY, KAGGLE_MULTICLASS, LABEL, JobRequest

_TEXT_COLUMNS: Final = {KAGGLE_MULTICLASS: 1, FULL: 2}
"""How many columns stand before those of all labels."""

_TWO_COLUMNS: Final = {KAGGLE_BINARY: "a probability", LABEL: "a label"}
"""What stands after the id."""


def csv_header(request: JobRequest) -> tuple[str, ...]:
    """The header's names, as the sample has them if there is one."""
    if request.header is not None:
        return request.header
    if request.format in _TWO_COLUMNS:
        return "id", "label"
    if request.format == KAGGLE_MULTICLASS:
        return "img", *request.labels
    return "id", "label", *request.labels


def csv_labels(request: JobRequest) -> list[int]:
    """The number of the label in each column that holds a probability."""
    if request.format == LABEL:
        return []
    if request.written_label is not None:
        return [request.labels.index(request.written_label)]
    if request.header is None:
        return list(range(len(request.labels)))
    names = list(map(normal_name, request.labels))
    return [names.index(each) for each in _label_names(request.header, request.format)]


def fitting_format(header: Sequence[str], labels: Sequence[str]) -> str:
    """The format of a sample with that *header* of more than two columns."""
    texts = len(header) - len(labels)
    return FULL if texts == _TEXT_COLUMNS[FULL] else KAGGLE_MULTICLASS


def check_header(header: Sequence[str], asked: str, labels: Sequence[str]) -> None:
    """Accept a sample's *header* for the format that is *asked* for.

    Raises:
        InvalidRequestError: the format cannot fill it; the message names the columns.
    """
    if not all(is_writable(name) for name in header):
        raise _unfit("it holds control characters")
    if asked in _TWO_COLUMNS:
        if len(header) != 2:
            reason = f"{asked} fills 2 columns, an id and {_TWO_COLUMNS[asked]}"
            raise _unfit(f"it has {len(header)} columns, {reason}")
        return
    names, wanted = _label_names(header, asked), list(map(normal_name, labels))
    lacking = [name for name in wanted if name not in names]
    unknown = [name for name in names if name not in wanted]
    if lacking or unknown or len(names) != len(wanted):
        texts = " and ".join(["id", "label"][: _TEXT_COLUMNS[asked]])
        raise _unfit(
            f"after {texts}, {asked} fills one column for each label of the model: it "
            f"lacks {Named.of(lacking)}, and has no label for {Named.of(unknown)}"
        )


def _label_names(header: Sequence[str], asked: str) -> list[str]:
    return list(map(normal_name, header[_TEXT_COLUMNS[asked] :]))


def _unfit(reason: str) -> InvalidRequestError:
    message = (
        f"the header of sample_submission cannot be filled ({reason}): use the sample "
        "of the data that the model was trained for, or another format or model"
    )
    return InvalidRequestError(message, code="invalid_input")
