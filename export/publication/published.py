"""Published versions: listed with card and state, rolled back, labelled, described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.publication.served import (
    change_served,
    check_closed,
    check_settled,
    close_rollout,
    find_rollout,
    read_served,
    relabel,
    roll_back,
    served_model,
)
from models.contract import CARD_FILE, ModelCard
from models.errors import ConflictError, ModelContractError, NotFoundError
from models.rollouts import CANARY, STABLE, Rollout
from models.wire.config import ModelEntry, published_versions

ANSWERS: Final = "answers"
LOADED: Final = "loaded"
ON_TRIAL: Final = "canary"
ROLLED_BACK: Final = "rolled back"
KEPT: Final = "kept"
BROKEN: Final = "broken"


@dataclass(frozen=True)
class PublishedVersion:
    """One version folder.

    Attributes:
        state: answers (requests that name no version), loaded (requests that name it),
            canary (a share of the requests that name no version), rolled back (newer
            than the one that answers), kept (older, on disk only) or broken.
        version_labels: its names in models.config.
        card: the version's model card; None if the folder is broken.
        problem: what is wrong with a broken one.
    """

    name: str
    version: int
    state: str
    version_labels: tuple[str, ...]
    size_bytes: int
    card: ModelCard | None
    problem: str = ""


def list_versions(models_dir: Path, name: str | None = None) -> list[PublishedVersion]:
    """All versions of all models, or of the model *name*, newest first.

    Raises:
        InvalidRequestError: no possible name, or models.config is broken.
        NotFoundError: there is no model *name*.
    """
    if name is not None:
        return list(_versions(models_dir, served_model(models_dir, name)[0]))
    entries = read_served(models_dir).values()
    return [each for entry in entries for each in _versions(models_dir, entry)]


def _versions(models_dir: Path, entry: ModelEntry) -> Iterator[PublishedVersion]:
    base = models_dir / entry.name
    versions = published_versions(base)
    loaded = entry.loaded(versions)
    rollout = find_rollout(models_dir, entry.name)
    for version in versions:
        folder = base / str(version)
        card, problem = None, ""
        try:
            card = _read_card(folder)
        except ModelContractError as error:
            problem = str(error)
        yield PublishedVersion(
            name=entry.name,
            version=version,
            state=BROKEN if problem else _state(version, loaded, rollout),
            version_labels=tuple(k for k, v in entry.labels if v == version),
            size_bytes=folder_size(folder),
            card=card,
            problem=problem,
        )


def _state(version: int, loaded: list[int], rollout: Rollout | None) -> str:
    answering = answering_version(loaded, rollout)
    if version == answering:
        return ANSWERS
    if version in loaded:
        is_canary = rollout is not None and rollout.holds(version)
        return ON_TRIAL if is_canary else LOADED
    return ROLLED_BACK if answering and version > answering else KEPT


def answering_version(loaded: Sequence[int], rollout: Rollout | None) -> int:
    """The version, of those *loaded*, that answers requests which name none; 0: none."""
    if rollout is not None and rollout.pins and rollout.stable in loaded:
        return rollout.stable
    return next(iter(loaded), 0)


def find_problem(folder: Path) -> str:
    """Why the version in *folder* cannot be served; empty if nothing is wrong."""
    try:
        _read_card(folder)
    except ModelContractError as error:
        return str(error)
    return ""


def _read_card(folder: Path) -> ModelCard:
    if not (folder / "saved_model.pb").is_file():
        raise ModelContractError(f"no saved_model.pb in {folder}: remove the folder")
    try:
        return ModelCard.from_json((folder / CARD_FILE).read_bytes())
    except OSError as error:
        message = f"no readable {CARD_FILE} in {folder}: export it again"
        raise ModelContractError(message) from error


def folder_size(folder: Path) -> int:
    """Bytes in all files below *folder*; files that vanish meanwhile do not count."""
    return sum(_size(path) for path in folder.rglob("*"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


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
    """Give labels to versions of a model, or remove them (None).

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


def describe_served(models_dir: Path, name: str) -> str:
    """One line on the versions of the model *name*: which answers, which are loaded.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    entry, versions = served_model(models_dir, name)
    loaded = entry.loaded(versions)
    rollout = find_rollout(models_dir, name)
    answering = answering_version(loaded, rollout)
    others = [each for each in loaded if each != answering]
    newer = [each for each in versions if each > answering and each not in others]
    parts = [f"{name} version {answering} answers requests that name no version"]
    if rollout is not None and rollout.is_open:
        parts.append(f"canary: {rollout.canary}, {rollout.share:g} % of them")
    if others:
        parts.append(f"also loaded: {', '.join(map(str, others))}")
    if newer:
        numbers = ", ".join(map(str, newer))
        parts.append(f"newer, but rolled back or held: {numbers}")
    if entry.labels:
        named = ", ".join(f"{label}={version}" for label, version in entry.labels)
        parts.append(f"labels: {named}")
    return "; ".join(parts)


def describe_models(models_dir: Path) -> str:
    """The served models, each with the version that answers and its labels.

    Raises:
        InvalidRequestError: models.config or rollouts.json is broken.
    """
    parts = []
    for name, entry in read_served(models_dir).items():
        # A hand-written models.config may name another folder.
        here, there = models_dir / name, entry.base_path
        loaded = entry.loaded(published_versions(here) or published_versions(there))
        answering = answering_version(loaded, find_rollout(models_dir, name))
        labels = ", ".join(f"{label}={version}" for label, version in entry.labels)
        version = f"version {answering}" if answering else "no version"
        parts.append(f"{name} {version}" + (f" ({labels})" if labels else ""))
    return ", ".join(parts)


def describe_label_change(before: ModelCard | None, now: ModelCard | None) -> str:
    """What changed labels mean for requests that name no version; empty: they are equal."""
    if before is None or now is None or before.labels == now.labels:
        return ""
    return (
        f"{now.name} version {now.version} has the labels {', '.join(now.labels)}, "
        f"version {before.version} has {', '.join(before.labels)}: a kaggle-binary CSV "
        f"of a job without positive now has the probability of {now.labels[-1]}, "
        f"before that of {before.labels[-1]}"
    )
