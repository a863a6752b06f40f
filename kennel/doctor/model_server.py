"""The model server: it answers, serves what is configured, and agrees with the cards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from kennel.doctor.published import configured_entries, published_folder, read_card
from models.contract import ModelCard
from models.errors import (
    InvalidRequestError,
    KennelError,
    ModelContractError,
    ModelOverloadedError,
    ModelUnavailableError,
)
from models.wire.client import ModelServerClient
from models.wire.config import ModelEntry, default_entry, published_versions
from models.wire.messages import AVAILABLE, LOADING_STATES, ModelRef, VersionStatus

_TIMEOUT_SECONDS: Final = 3.0
_LOG: Final = "see its log, which says why a version does not load"
_SAME: Final = ("labels", "image_size", "temperature", "clip_bound", "created")


def check_model_server(deployment: Deployment) -> Iterator[Finding]:
    """What the model server says of each model that it should serve."""
    target = deployment.service.model_server
    entries = _entries(deployment)
    if not entries:
        why = f"no model to ask {target} for"
        yield unknown("models", why, "publish one, or set MODEL_NAMES")
        return
    with ModelServerClient(target, timeout_seconds=_TIMEOUT_SECONDS) as client:
        for entry in entries:
            yield from _model(client, deployment, entry)


def _entries(deployment: Deployment) -> list[ModelEntry]:
    models_dir = deployment.home.models_dir
    try:
        entries = configured_entries(models_dir)
    except InvalidRequestError:
        entries = {}  # said in the area of the models
    for name in deployment.service.model_names:
        entries.setdefault(name, default_entry(name, models_dir))
    return list(entries.values())


def _model(
    client: ModelServerClient, deployment: Deployment, entry: ModelEntry
) -> Iterator[Finding]:
    wanted = _wanted(deployment, entry)
    try:
        versions = client.versions(entry.name)
    except KennelError as error:
        seen = f"{deployment.service.model_server}: {error}"
        yield fail(entry.name, seen, _start_remedy(error, wanted))
        return
    states = ", ".join(f"{each.version} {each.state}" for each in versions)
    available = [each for each in versions if each.state == AVAILABLE]
    if not available:
        others = [each for each in versions if each.version not in wanted]
        told = [each.problem for each in others if each.problem]
        reasons = "; ".join([*_reasons(versions, wanted), *told])
        seen = f"no version is available ({states or 'none known'}) {reasons}".rstrip()
        yield fail(entry.name, seen, f"{_LOG}, and see the area models")
        return
    yield ok(entry.name, states)
    yield _loaded(entry, versions, wanted)
    for each in available:
        yield _described(client, deployment, entry, each)
    for label, version in entry.labels:
        yield _labelled(client, entry.name, label, version)


def _wanted(deployment: Deployment, entry: ModelEntry) -> dict[int, Path]:
    """The folders of the published versions that the server should load, newest first."""
    folder = published_folder(deployment.home.models_dir, entry)
    loaded = entry.loaded(published_versions(folder))
    return {version: folder / str(version) for version in loaded}


def _start_remedy(error: KennelError, wanted: Mapping[int, Path]) -> str:
    remedy = "start it (kennel up, docker compose up -d), correct MODEL_SERVER"
    is_shut = isinstance(error, ModelUnavailableError)
    if not wanted or not is_shut or isinstance(error, ModelOverloadedError):
        return remedy
    return (
        f"{remedy}; if it runs, it may still be loading {_listed(wanted)}: TensorFlow "
        "Serving opens its port when all are loaded, and keeps it shut while it "
        "repeats the load of one that cannot be loaded; its log says which"
    )


def _loaded(
    entry: ModelEntry, versions: list[VersionStatus], wanted: Mapping[int, Path]
) -> Finding:
    check = f"{entry.name} loaded"
    available = {each.version for each in versions if each.state == AVAILABLE}
    missing = {each: wanted[each] for each in wanted if each not in available}
    if missing:
        reasons = "; ".join(_reasons(versions, missing))
        seen = f"{_listed(missing)} to be served, but not AVAILABLE: {reasons}"
        if any(each.error for each in versions if each.version in missing):
            return fail(check, seen, "export it again, or move its folder away")
        remedy = f"wait a minute for its load; then {_LOG}, memory and disk"
        return warn(check, seen, remedy)
    if extra := sorted(available - set(wanted)):
        seen = f"{_listed(extra)} served, but not to be by models.config and folders"
        return warn(check, seen, "wait a minute; then see which MODELS_DIR it reads")
    return ok(check, "what is published and configured is what is served")


def _reasons(
    versions: list[VersionStatus], wanted: Mapping[int, Path]
) -> Iterator[str]:
    """Why each of the *wanted* versions is away, as far as the server says."""
    states = {each.version: each for each in versions}
    for version, folder in wanted.items():
        status = states.get(version)
        if status is None:
            yield f"version {version} is not known to the model server (yet)"
        elif status.problem:
            yield status.problem
        elif status.state in LOADING_STATES:
            age = time.time() - folder.stat().st_ctime
            yield f"version {version} is {status.state}, published {_age(age)} ago"
        else:
            yield f"version {version} is {status.state}"


def _age(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def _labelled(
    client: ModelServerClient, name: str, label: str, version: int
) -> Finding:
    check = f"{name} {label}"
    remedy = f"kennel label {name} {label}={version}; the server reads it in seconds"
    try:
        answering = client.describe(ModelRef(name, label=label)).version
    except KennelError as error:
        return fail(check, f"the label does not answer: {error}", remedy)
    if answering != version:
        return fail(check, f"is {answering}, not {version} as configured", remedy)
    return ok(check, f"is {version}")


def _listed(versions: Iterable[int]) -> str:
    return f"version {', '.join(map(str, sorted(versions)))}"


def _described(
    client: ModelServerClient,
    deployment: Deployment,
    entry: ModelEntry,
    served: VersionStatus,
) -> Finding:
    check = f"{entry.name} {served.version}"
    folder = published_folder(deployment.home.models_dir, entry) / str(served.version)
    try:
        said = client.describe(ModelRef(entry.name, version=served.version))
    except KennelError as error:
        return fail(check, f"it does not describe itself: {error}", "export it again")
    try:
        published = read_card(folder)
    except ModelContractError as error:
        return unknown(f"{check} card", str(error), "see the area models")
    different = _differences(said, published)
    if different:
        seen = f"it says another {', '.join(different)} than {folder / 'card.json'}"
        remedy = "the server reads another folder, or files were changed: export again"
        return fail(check, seen, remedy)
    return ok(check, "describes itself as its card does")


def _differences(said: ModelCard, published: ModelCard) -> list[str]:
    return [n for n in _SAME if getattr(said, n) != getattr(published, n)]
