"""What is published: each version with its card, its state and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from export.publication.rollout_file import find_rollout
from export.publication.served import read_served, served_model
from models.contract import CARD_FILE, ModelCard
from models.errors import ModelContractError
from models.rollouts import Rollout
from models.wire.config import ModelEntry, published_versions

ANSWERS: Final = "answers"
LOADED: Final = "loaded"
CANARY: Final = "canary"
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
        card: None if the folder is broken.
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


def answering_version(loaded: Sequence[int], rollout: Rollout | None) -> int:
    """Who answers requests that name no version, of those *loaded*; 0 if nobody."""
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


def folder_size(folder: Path) -> int:
    """Bytes in all files below *folder*; files that vanish meanwhile do not count."""
    return sum(_size(path) for path in folder.rglob("*"))


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


def _read_card(folder: Path) -> ModelCard:
    if not (folder / "saved_model.pb").is_file():
        raise ModelContractError(f"no saved_model.pb in {folder}: remove the folder")
    try:
        return ModelCard.from_json((folder / CARD_FILE).read_bytes())
    except OSError as error:
        message = f"no readable {CARD_FILE} in {folder}: export it again"
        raise ModelContractError(message) from error


def _state(version: int, loaded: list[int], rollout: Rollout | None) -> str:
    answering = answering_version(loaded, rollout)
    if version == answering:
        return ANSWERS
    if version in loaded:
        is_canary = rollout is not None and rollout.holds(version)
        return CANARY if is_canary else LOADED
    return ROLLED_BACK if answering and version > answering else KEPT


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
