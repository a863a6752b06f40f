"""What an operator does with published versions: roll back, label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from export.publication.listing import (
    ANSWERS,
    answering_version,
    find_problem,
    list_versions,
)
from export.publication.policy import relabel, roll_back
from export.publication.rollout_checks import check_closed
from export.publication.rollout_file import close_rollout, find_rollout
from export.publication.served import change_served, check_settled, served_model
from models.contract import ModelCard
from models.errors import ConflictError, NotFoundError
from models.rollouts import CANARY, STABLE
from models.wire.config import ModelEntry


def roll_back_model(models_dir: Path, name: str, version: int) -> ModelEntry:
    """Let *version* answer requests that name none, until a newer one is published.

    Raises:
        NotFoundError: no such model or version; the message lists those that are there.
        ConflictError: the version's folder is broken, or a rollout goes on.
        InvalidRequestError: models.config is broken.
    """

    def change(entry: ModelEntry, versions: Sequence[int]) -> ModelEntry:
        changed = roll_back(entry, versions, version)
        if problem := find_problem(models_dir / name / str(version)):
            message = f"{name} version {version} cannot be served: {problem}"
            raise ConflictError(message)
        close_rollout(models_dir, name, version)
        return changed

    return change_served(models_dir, name, change)


def label_model(
    models_dir: Path, name: str, changes: Mapping[str, int | None]
) -> ModelEntry:
    """Give labels to versions of a model, or take them away (None).

    Raises:
        NotFoundError: no such model, version or label.
        ConflictError: a version is not served, or what is served changed just now, or
            the label is that of a rollout.
        InvalidRequestError: models.config is broken.
    """

    def change(entry: ModelEntry, versions: Sequence[int]) -> ModelEntry:
        if {CANARY, STABLE} & set(changes):
            check_closed(find_rollout(models_dir, name))
        changed = relabel(entry, versions, changes)
        old = dict(entry.labels)
        if any(old.get(label, new) != new for label, new in changed.labels):
            check_settled(models_dir, entry)
        return changed

    return change_served(models_dir, name, change)


def answering_card(models_dir: Path, name: str) -> ModelCard | None:
    """The card of the version of *name* that answers; None: no version, or no card.

    Raises:
        InvalidRequestError: models.config or rollouts.json is broken.
    """
    try:
        versions = list_versions(models_dir, name)
    except NotFoundError:
        return None
    return next((each.card for each in versions if each.state == ANSWERS), None)


def describe_label_change(before: ModelCard | None, now: ModelCard | None) -> str:
    """What other labels mean for those who ask by no version; empty: they are equal."""
    if before is None or now is None or before.labels == now.labels:
        return ""
    return (
        f"{now.name} version {now.version} has the labels {', '.join(now.labels)}, "
        f"version {before.version} has {', '.join(before.labels)}: a kaggle-binary CSV "
        f"of a job without positive now has the probability of {now.labels[-1]}, "
        f"before that of {before.labels[-1]}"
    )


def describe_served(models_dir: Path, name: str) -> str:
    """Who answers for the model *name*, in one line.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    entry, versions = served_model(models_dir, name)
    loaded = entry.loaded(versions)
    rollout = find_rollout(models_dir, name)
    answering = answering_version(loaded, rollout)
    others = [each for each in loaded if each != answering]
    away = [each for each in versions if each > answering and each not in others]
    parts = [f"{name} version {answering} answers requests that name no version"]
    if rollout is not None and rollout.is_open:
        parts.append(f"canary: {rollout.canary}, {rollout.share:g} % of them")
    if others:
        parts.append(f"also loaded: {', '.join(map(str, others))}")
    if away:
        numbers = ", ".join(map(str, away))
        parts.append(f"newer, but rolled back or held: {numbers}")
    if entry.labels:
        named = ", ".join(f"{label}={version}" for label, version in entry.labels)
        parts.append(f"labels: {named}")
    return "; ".join(parts)
