"""The versions of a model as a person wants to see them: states, labels, who answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.contract import ModelCard
from models.errors import InvalidRequestError, KennelError
from models.wire.config import read_model_config
from models.wire.messages import AVAILABLE, ModelRef
from service.budget import Budget
from service.served.catalog import Catalog


@dataclass(frozen=True)
class VersionRow:
    """One version.

    Attributes:
        state: as the model server says it, in lower case.
        problem: why it stays away, as a sentence; empty if nothing is known.
        labels: other names of it, such as "canary".
        card: None while it is not available, or if it does not describe itself.
        answers: it serves requests that name no version.
    """

    version: int
    state: str
    problem: str
    labels: tuple[str, ...]
    card: ModelCard | None
    answers: bool


def version_rows(
    catalog: Catalog, name: str, labels: dict[int, tuple[str, ...]], budget: Budget
) -> list[VersionRow]:
    """The versions of model *name*, newest first.

    Raises:
        ModelUnavailableError: the model server cannot tell.
    """
    statuses = catalog.versions(name, budget.left())
    current = _current(catalog, name, budget) if statuses else None
    return [
        VersionRow(
            version=each.version,
            state=each.state.lower(),
            problem=each.problem,
            labels=labels.get(each.version, ()),
            card=catalog.published_card(name, each.version, budget.left())
            if each.state == AVAILABLE
            else None,
            answers=each.version == current,
        )
        for each in statuses
    ]


def version_labels(config_file: Path | None, name: str) -> dict[int, tuple[str, ...]]:
    """Labels of model *name* by version; none if no configuration can be read."""
    try:
        entries = read_model_config(config_file) if config_file else []
    except InvalidRequestError:
        return {}
    labels: dict[int, tuple[str, ...]] = {}
    for entry in entries:
        if entry.name == name:
            for label, version in entry.labels:
                labels[version] = (*labels.get(version, ()), label)
    return labels


def _current(catalog: Catalog, name: str, budget: Budget) -> int | None:
    try:
        return catalog.describe(ModelRef(name), budget.left()).version
    except KennelError:
        return None
