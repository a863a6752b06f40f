"""Checks of models: in MODELS_DIR, at the model server, at the API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from kennel.client import Client
from kennel.client.errors import ApiBusyError, ApiError
from kennel.doctor.deployment import CheckResult, Deployment, fail, ok, unknown, warn
from models import VERSION
from models.contract import (
    FLOAT16_REMEDY,
    KNOWN_ANSWERS_FILE,
    KnownAnswers,
    ModelCard,
    Tolerance,
    tolerance_of,
)
from models.errors import (
    InvalidRequestError,
    KennelError,
    ModelContractError,
    ModelOverloadedError,
    ModelUnavailableError,
)
from models.wire.client import ModelServerClient
from models.wire.config import (
    ModelEntry,
    default_entry,
    published_models,
    published_versions,
    read_model_config,
)
from models.wire.messages import AVAILABLE, LOADING_STATES, ModelRef, VersionStatus
from service.auth.origins import is_loopback
from service.settings import GPU, ServiceSettings

_GPU_REMEDY: Final = f"{FLOAT16_REMEDY} (MODEL_SERVER_DEVICE=cpu)"
_CONFIG: Final = "models.config"
_AGAIN: Final = "export it again: kennel export RUN"

_MODEL_SERVER_SECONDS: Final = 3.0
_KNOWN_PHOTOS_SECONDS: Final = 30.0
"""For four photos on a busy machine: VGG16 computes 3 a second there."""
_LOG: Final = "see its log, which says why a version does not load"
_SAME: Final = (
    *("labels", "image_size", "preprocessing", "temperature", "clip_bound"),
    "created",
)
_API_SECONDS: Final = 5.0


def check_models(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of models.config and of each published version in MODELS_DIR."""
    models_dir = deployment.home.models_dir
    if not published_models(models_dir):
        remedy = "kennel train, then kennel export; or kennel demo; or set MODELS_DIR"
        yield warn("models", f"no model is published in {models_dir}", remedy)
        return
    try:
        entries = _configured_entries(models_dir)
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
        folder = _published_folder(models_dir, entry)
        yield from _entry(entry, folder, _is_on_gpu(deployment))


def _is_on_gpu(deployment: Deployment) -> bool:
    return deployment.service.model_server_device == GPU


def _default(settings: ServiceSettings, configured: list[str]) -> Iterator[CheckResult]:
    known = [*settings.model_names, *configured]
    default = settings.default_model or next(iter(known), None)
    if default in known:
        yield ok("default model", f"{default} answers requests that name no model")
    elif default is not None:
        there = ", ".join(known) or "none"
        remedy = f"set DEFAULT_MODEL to a served model ({there}), or unset it"
        yield fail("default model", f"DEFAULT_MODEL={default} is not served", remedy)


def _configured_entries(models_dir: Path) -> dict[str, ModelEntry]:
    """The entries of models.config by model name; without it, all published models.

    Raises:
        InvalidRequestError: the configuration is broken.
    """
    path = models_dir / _CONFIG
    if not path.exists():
        names = published_models(models_dir)
        return {name: default_entry(name, models_dir) for name in names}
    return {entry.name: entry for entry in read_model_config(path)}


def _published_folder(models_dir: Path, entry: ModelEntry) -> Path:
    """The model's folder on this machine; models.config may name a container's."""
    return entry.base_path if entry.base_path.is_dir() else models_dir / entry.name


def _read_card(version_folder: Path) -> ModelCard:
    """The model card beside a published version.

    Raises:
        ModelContractError: it cannot be read.
    """
    try:
        return ModelCard.from_json((version_folder / "card.json").read_bytes())
    except OSError as error:
        message = f"card.json cannot be read ({error.strerror})"
        raise ModelContractError(message) from error


def _entry(entry: ModelEntry, folder: Path, on_gpu: bool) -> Iterator[CheckResult]:
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
        check = f"{entry.name} {version}"
        yield _published_version(check, folder / str(version), on_gpu)


def _published_version(check: str, folder: Path, on_gpu: bool) -> CheckResult:
    if not (folder / "saved_model.pb").is_file():
        return fail(check, "saved_model.pb is missing: it is incomplete", _AGAIN)
    try:
        card = _read_card(folder)
    except ModelContractError as error:
        return fail(check, str(error), _AGAIN)
    if on_gpu and card.gpu_refusal:
        return fail(check, card.gpu_refusal, _GPU_REMEDY)
    return ok(check, f"complete, labels {', '.join(card.labels)[:60]}")


def check_model_server(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of each model at the model server: versions, labels, card, known answers."""
    target = deployment.service.model_server
    entries = _entries(deployment)
    if not entries:
        why = f"no model to ask {target} for"
        yield unknown("models", why, "publish one, or set MODEL_NAMES")
        return
    with ModelServerClient(target, timeout_seconds=_MODEL_SERVER_SECONDS) as client:
        for entry in entries:
            yield from _model(client, deployment, entry)


def _entries(deployment: Deployment) -> list[ModelEntry]:
    models_dir = deployment.home.models_dir
    try:
        entries = _configured_entries(models_dir)
    except InvalidRequestError:
        entries = {}  # `check_models` reports it
    for name in deployment.service.model_names:
        entries.setdefault(name, default_entry(name, models_dir))
    return list(entries.values())


def _model(
    client: ModelServerClient, deployment: Deployment, entry: ModelEntry
) -> Iterator[CheckResult]:
    models_dir = deployment.home.models_dir
    wanted = _wanted(entry, _published_folder(models_dir, entry))
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
        problems = [each.problem for each in others if each.problem]
        reasons = "; ".join([*_reasons(versions, wanted), *problems])
        seen = f"no version is available ({states or 'none known'}) {reasons}".rstrip()
        yield fail(entry.name, seen, f"{_LOG}, and see the area models")
        return
    yield ok(entry.name, states)
    yield _loaded(entry, versions, wanted)
    yield from _not_served(entry, _published_folder(models_dir, entry), versions)
    for each in available:
        yield from _available(client, deployment, entry, each)
    for label, version in entry.labels:
        yield _labelled(client, entry.name, label, version)


def _wanted(entry: ModelEntry, folder: Path) -> dict[int, Path]:
    """The folders of the published versions that the server should load, newest first."""
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
) -> CheckResult:
    check = f"{entry.name} loaded"
    available = {each.version for each in versions if each.state == AVAILABLE}
    missing = {each: wanted[each] for each in wanted if each not in available}
    if missing:
        reasons = "; ".join(_reasons(versions, missing))
        seen = f"{_listed(missing)} should be served, but is not AVAILABLE: {reasons}"
        if any(each.error for each in versions if each.version in missing):
            return fail(check, seen, "export it again, or move its folder away")
        remedy = f"wait a minute for its load; then {_LOG}, memory and disk"
        return warn(check, seen, remedy)
    if extra := sorted(available - set(wanted)):
        seen = f"{_listed(extra)} served, but not in models.config and the folders"
        return warn(check, seen, "wait a minute; then see which MODELS_DIR it reads")
    return ok(check, "what is published and configured is what is served")


def _not_served(
    entry: ModelEntry, folder: Path, versions: list[VersionStatus]
) -> Iterator[CheckResult]:
    published = published_versions(folder)
    served = {each.version for each in versions if each.state == AVAILABLE}
    if idle := set(published) - {*served, *entry.loaded(published)}:
        seen = f"{_listed(idle)}: kennel rollback {entry.name} VERSION serves one again"
        yield ok(f"{entry.name} not served", seen)


def _reasons(
    versions: list[VersionStatus], wanted: Mapping[int, Path]
) -> Iterator[str]:
    """Why each of the *wanted* versions is not available, as far as is known."""
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
) -> CheckResult:
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


def _available(
    client: ModelServerClient,
    deployment: Deployment,
    entry: ModelEntry,
    served: VersionStatus,
) -> Iterator[CheckResult]:
    check = f"{entry.name} {served.version}"
    folder = _published_folder(deployment.home.models_dir, entry) / str(served.version)
    try:
        said = client.describe(ModelRef(entry.name, version=served.version))
    except KennelError as error:
        yield fail(check, f"it does not describe itself: {error}", "export it again")
        return
    on_gpu = _is_on_gpu(deployment)
    if on_gpu and said.gpu_refusal:
        yield fail(check, said.gpu_refusal, _GPU_REMEDY)
        return
    yield _described(check, said, folder)
    tolerance = tolerance_of(said.precision, on_gpu=on_gpu)
    yield _answers(f"{check} answers", client, said, folder, tolerance)


def _described(check: str, said: ModelCard, folder: Path) -> CheckResult:
    try:
        published = _read_card(folder)
    except ModelContractError as error:
        return unknown(f"{check} card", str(error), "see the area models")
    different = _differences(said, published)
    if different:
        seen = f"it says another {', '.join(different)} than {folder / 'card.json'}"
        remedy = "the server reads another folder, or files were changed: export again"
        return fail(check, seen, remedy)
    return ok(check, "describes itself as its card does")


def _answers(
    check: str,
    client: ModelServerClient,
    card: ModelCard,
    folder: Path,
    tolerance: Tolerance,
) -> CheckResult:
    """Whether a served version answers its known photos as it did when it was exported."""
    try:
        known = KnownAnswers.from_bytes((folder / KNOWN_ANSWERS_FILE).read_bytes())
    except FileNotFoundError:
        why = f"{folder} has no {KNOWN_ANSWERS_FILE}"
        return unknown(check, why, f"to have known answers, {_AGAIN}")
    except OSError as error:
        why = f"{folder / KNOWN_ANSWERS_FILE}: {error.strerror}"
        return unknown(check, why, "make the file readable for this user")
    except ModelContractError as error:
        return fail(check, f"{folder}: {error}", _AGAIN)
    model = ModelRef(card.name, version=card.version)
    try:
        answer = client.predict(known.pixels, model, _KNOWN_PHOTOS_SECONDS)
        worst = known.largest_deviation(answer.probabilities, answer.logits, tolerance)
    except KennelError as error:
        seen = f"it does not answer its known photos: {error}"
        return fail(check, seen, f"{_LOG}, and compare its MODELS_DIR with this one")
    differences = (
        f"by {worst.probability:.2g} in a probability ({tolerance.probability:g} is "
        f"allowed) and by {worst.logit:.2%} in a logit ({tolerance.logit:.2%})"
    )
    if worst.is_allowed:
        seen = f"{len(known.photos)} known photos differ at most {differences}"
        return ok(check, seen)
    seen = (
        f"{model} does not answer as it did at its export: photo {worst.photo} differs "
        f"{differences}. Its predictions cannot be trusted"
    )
    return fail(check, seen, _otherwise(card))


def _otherwise(card: ModelCard) -> str:
    tensorflow = card.libraries.get("tensorflow", "unknown")
    other = "" if card.precision == "float32" else ", or with --precision float32"
    return (
        "a file of the version was damaged or changed (restore it, or export it again), or "
        "the model server's processor or TensorFlow computes otherwise (exported with "
        f"TensorFlow {tensorflow}: compare; export it again on that machine{other})"
    )


def _differences(said: ModelCard, published: ModelCard) -> list[str]:
    return [n for n in _SAME if getattr(said, n) != getattr(published, n)]


def check_api(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of GET /readyz, GET /v1/models, and of the API's address and keys."""
    url = deployment.api_url
    yield _exposure(deployment.service)
    try:
        with Client(url, timeout_seconds=_API_SECONDS, retries=0) as client:
            readiness = client.readiness()
            yield _api_version(client)
        yield _versions_away(deployment)
    except ApiBusyError as error:
        seen = f"{url} answers {error.status}: it cannot predict now"
        yield fail("ready", seen, f"see model-server, and {url}/readyz")
        return
    except KennelError as error:
        yield fail("ready", str(error), "start it (kennel up), or set KENNEL_URL")
        return
    status = str(readiness.get("status"))
    if status == "ready":
        yield ok("ready", f"{url} is ready")
        return
    parts = readiness.get("parts", {})
    reasons = [str(part.get("detail")) for part in parts.values() if "detail" in part]
    yield warn("ready", f"{url} is {status}: {'; '.join(reasons)}", "see the parts")


def _versions_away(deployment: Deployment) -> CheckResult:
    """The published versions that the API reports as not loaded for long."""
    url, key = deployment.api_url, deployment.env.get("KENNEL_API_KEY")
    try:
        with Client(
            url, api_key=key, timeout_seconds=_API_SECONDS, retries=0
        ) as client:
            problems = [
                f"{model['name']} {version['problem']}"
                for model in client.models()
                for version in model["versions"]
                if "problem" in version
            ]
    except (KennelError, KeyError, TypeError) as error:
        return unknown("versions", str(error), "set KENNEL_API_KEY; see model-server")
    if problems:
        remedy = "export it again, or move its folder away; see model-server"
        return warn("versions", "; ".join(problems), remedy)
    return ok("versions", "no version has a problem")


def _exposure(service: ServiceSettings) -> CheckResult:
    if service.auth.api_keys_file is not None:
        return ok("exposure", "every request needs an API key")
    if is_loopback(service.host):
        return ok("exposure", f"open, but only to this machine (HOST={service.host})")
    seen = f"no API_KEYS_FILE: everyone who can reach HOST={service.host} may use it"
    return warn("exposure", seen, "kennel keys add NAME, then set API_KEYS_FILE")


def _api_version(client: Client) -> CheckResult:
    try:
        found = client.version()
    except ApiError as error:
        if error.code == "misdirected_request":
            return fail("version", str(error), "set ALLOWED_HOSTS where the API runs")
        return unknown("version", str(error), "see ready")
    except (KennelError, KeyError, TypeError) as error:
        return unknown("version", str(error), "see ready")
    if found != VERSION:
        remedy = "finish the upgrade: docker compose up -d --build"
        return warn("version", f"the API runs {found}, this is {VERSION}", remedy)
    return ok("version", f"the API runs {found}, as this does")
