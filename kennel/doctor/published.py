"""MODELS_DIR: its models.config can be read, and what it names is there and complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, warn
from models.contract import ModelCard
from models.errors import InvalidRequestError, ModelContractError
from models.wire.config import (
    ModelEntry,
    default_entry,
    published_models,
    published_versions,
    read_model_config,
)
from service.settings import ServiceSettings

_CONFIG: Final = "models.config"
_AGAIN: Final = "export it again: kennel export RUN"


def check_models(deployment: Deployment) -> Iterator[Finding]:
    """What model servers find in MODELS_DIR."""
    models_dir = deployment.home.models_dir
    if not published_models(models_dir):
        remedy = "kennel train, then kennel export; or kennel demo; or set MODELS_DIR"
        yield warn("models", f"no model is published in {models_dir}", remedy)
        return
    try:
        entries = configured_entries(models_dir)
    except InvalidRequestError as error:
        remedy = "restore it, or remove it and kennel export again"
        yield fail("models", str(error), remedy)
        return
    yield ok("models", f"{models_dir}: {', '.join(sorted(entries))}")
    yield from _default(deployment.service, list(entries))
    for name in published_models(models_dir):
        if name not in entries:
            remedy = "kennel export names it; a local stack serves it all the same"
            yield warn(name, f"{_CONFIG} does not name it", remedy)
    for entry in entries.values():
        yield from _entry(entry, published_folder(models_dir, entry))


def _default(settings: ServiceSettings, configured: list[str]) -> Iterator[Finding]:
    known = [*settings.model_names, *configured]
    default = settings.default_model or next(iter(known), None)
    if default in known:
        yield ok("default model", f"{default} answers requests that name no model")
    elif default is not None:
        there = ", ".join(known) or "none"
        remedy = f"set DEFAULT_MODEL to a served model ({there}), or unset it"
        yield fail("default model", f"DEFAULT_MODEL={default} is not served", remedy)


def configured_entries(models_dir: Path) -> dict[str, ModelEntry]:
    """What model servers are told to serve, by name.

    Raises:
        InvalidRequestError: the configuration is broken.
    """
    path = models_dir / _CONFIG
    if not path.exists():
        names = published_models(models_dir)
        return {name: default_entry(name, models_dir) for name in names}
    return {entry.name: entry for entry in read_model_config(path)}


def published_folder(models_dir: Path, entry: ModelEntry) -> Path:
    """Where the model lies here: the file may name folders as containers see them."""
    return entry.base_path if entry.base_path.is_dir() else models_dir / entry.name


def read_card(version_folder: Path) -> ModelCard:
    """The card beside a published version.

    Raises:
        ModelContractError: it cannot be read.
    """
    try:
        return ModelCard.from_json((version_folder / "card.json").read_bytes())
    except OSError as error:
        message = f"card.json cannot be read ({error.strerror})"
        raise ModelContractError(message) from error


def _entry(entry: ModelEntry, folder: Path) -> Iterator[Finding]:
    versions = published_versions(folder)
    loaded = entry.loaded(versions)
    if not loaded:
        yield fail(entry.name, f"no version of it is there ({folder})", _AGAIN)
        return
    for wanted in (*entry.specific_versions, *(each for _, each in entry.labels)):
        if wanted not in loaded:
            remedy = f"kennel rollback {entry.name} VERSION, kennel label"
            yield fail(entry.name, f"version {wanted} is named but not there", remedy)
    for version in loaded:
        yield _version(f"{entry.name} {version}", folder / str(version))


def _version(check: str, folder: Path) -> Finding:
    if not (folder / "saved_model.pb").is_file():
        return fail(check, "saved_model.pb is missing: it is incomplete", _AGAIN)
    try:
        card = read_card(folder)
    except ModelContractError as error:
        return fail(check, str(error), _AGAIN)
    return ok(check, f"complete, labels {', '.join(card.labels)[:60]}")
