"""What an operator does with published versions: roll back, label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from export.publication.listing import find_problem
from export.publication.policy import relabel, roll_back
from export.publication.served import change_served, check_settled, served_model
from models.errors import ConflictError
from models.wire.config import ModelEntry


def roll_back_model(models_dir: Path, name: str, version: int) -> ModelEntry:
    """Let *version* answer requests that name none, until a newer one is published.

    Raises:
        NotFoundError: no such model or version; the message lists those that are there.
        ConflictError: the version's folder is broken.
        InvalidRequestError: models.config is broken.
    """

    def change(entry: ModelEntry, versions: Sequence[int]) -> ModelEntry:
        changed = roll_back(entry, versions, version)
        if problem := find_problem(models_dir / name / str(version)):
            message = f"{name} version {version} cannot be served: {problem}"
            raise ConflictError(message)
        return changed

    return change_served(models_dir, name, change)


def label_model(
    models_dir: Path, name: str, changes: Mapping[str, int | None]
) -> ModelEntry:
    """Give labels to versions of a model, or take them away (None).

    Raises:
        NotFoundError: no such model, version or label.
        ConflictError: a version is not served, or what is served changed just now.
        InvalidRequestError: models.config is broken.
    """

    def change(entry: ModelEntry, versions: Sequence[int]) -> ModelEntry:
        changed = relabel(entry, versions, changes)
        old = dict(entry.labels)
        if any(old.get(label, new) != new for label, new in changed.labels):
            check_settled(models_dir, entry)
        return changed

    return change_served(models_dir, name, change)


def describe_served(models_dir: Path, name: str) -> str:
    """Who answers for the model *name*, in one line.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    entry, versions = served_model(models_dir, name)
    answering, *others = entry.loaded(versions) or [0]
    away = [each for each in versions if each > answering]
    parts = [f"{name} version {answering} answers requests that name no version"]
    if others:
        parts.append(f"also loaded: {', '.join(map(str, others))}")
    if away:
        parts.append(f"rolled back from: {', '.join(map(str, away))}")
    if entry.labels:
        named = ", ".join(f"{label}={version}" for label, version in entry.labels)
        parts.append(f"labels: {named}")
    return "; ".join(parts)
