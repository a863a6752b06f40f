"""The model server: it answers, serves what is configured, and agrees with the cards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from kennel.doctor.published import configured_entries, published_folder, read_card
from models.card import ModelCard
from models.errors import InvalidRequestError, KennelError, ModelContractError
from models.wire.client import ModelServerClient
from models.wire.config import ModelEntry, default_entry, published_versions
from models.wire.model_ref import ModelRef
from models.wire.version_status import VersionStatus

_TIMEOUT_SECONDS: Final = 3.0
_AVAILABLE: Final = "AVAILABLE"
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
    remedy = "start it (kennel up, docker compose up -d), correct MODEL_SERVER"
    try:
        versions = client.versions(entry.name)
    except KennelError as error:
        yield fail(entry.name, f"{deployment.service.model_server}: {error}", remedy)
        return
    states = ", ".join(f"{each.version} {each.state}" for each in versions)
    available = [each for each in versions if each.state == _AVAILABLE]
    if not available:
        errors = "; ".join(each.error for each in versions if each.error)
        seen = f"no version is available ({states or 'none known'}) {errors}".rstrip()
        yield fail(entry.name, seen, "see its log, and the area models")
        return
    yield ok(entry.name, states)
    yield _loaded(deployment, entry, {each.version for each in available})
    for each in available:
        yield _described(client, deployment, entry, each)
    for label, version in entry.labels:
        yield _labelled(client, entry.name, label, version)


def _loaded(deployment: Deployment, entry: ModelEntry, available: set[int]) -> Finding:
    check = f"{entry.name} loaded"
    folder = published_folder(deployment.home.models_dir, entry)
    wanted = set(entry.loaded(published_versions(folder)))
    if missing := sorted(wanted - available):
        seen = f"{_listed(missing)} to be served, but not AVAILABLE"
        remedy = "wait a minute for its load; then see its log, memory and disk"
        return warn(check, seen, remedy)
    if extra := sorted(available - wanted):
        seen = f"{_listed(extra)} served, but not to be by models.config and folders"
        return warn(check, seen, "wait a minute; then see which MODELS_DIR it reads")
    return ok(check, "what is published and configured is what is served")


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


def _listed(versions: list[int]) -> str:
    return f"version {', '.join(map(str, versions))}"


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
