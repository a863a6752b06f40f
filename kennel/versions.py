"""Published models and versions: the default model, the table, the jobs pinned to them.

The API takes DEFAULT_MODEL, else the first of MODEL_NAMES, else the first model in
models.config. Commands read the same variables: set them alike for both.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from export.publication.published import (
    ANSWERS,
    LOADED,
    ON_TRIAL,
    PublishedVersion,
    answering_version,
)
from export.publication.served import (
    CONFIG_FILE,
    find_rollout,
    read_served,
    served_model,
)
from kennel.client import Client
from kennel.client.answers import Job
from kennel.client.errors import ApiError
from kennel.settings import KennelSettings
from kennel.terminal import aligned
from models.errors import ConflictError, KennelError, NotFoundError
from models.wire.client import ModelServerClient
from models.wire.config import published_versions, read_model_names
from models.wire.messages import AVAILABLE
from worker.records import JobRecords
from worker.status import JobStatus

_VARIABLES: Final = ("DEFAULT_MODEL", "MODEL_NAMES")
_POLL_SECONDS: Final = 0.5

_ASK_SECONDS: Final = 1.0
_HEADINGS: Final = (
    *("model", "version", "state", "labels"),
    *("accuracy", "log loss", "recipe", "created", "size", "default"),
)
_NAMED: Final = 5


@dataclass(frozen=True)
class DefaultModel:
    """The default model, and the other published ones.

    Attributes:
        name: of the default model; None: no model is published.
        decided_by: the variable that names it, or models.config.
        served: all published models, in the order of models.config.
    """

    name: str | None
    decided_by: str
    served: tuple[str, ...]

    @property
    def others(self) -> list[str]:
        """The published models that are not the default model."""
        return [each for each in self.served if each != self.name]

    @property
    def is_missing(self) -> bool:
        """Whether a variable names a model that is not published."""
        return self.name is not None and self.name not in self.served

    def sentence(self, exported: str | None = None) -> str:
        """A sentence: the default model, and what changes it.

        *exported* is the model that was exported just now.
        """
        if self.name is None:
            return "no model is published yet: kennel train, then kennel export"
        variable = f"{self.decided_by}={self.name}"
        if self.is_missing:
            there = ", ".join(self.served) or "none"
            return (
                f"{variable} names no published model (there are: {there}): requests "
                f"that name no model are refused until {self.decided_by} is changed"
            )
        is_other = exported not in {None, self.name}
        still = "still " if is_other else ""
        answers = f"{self.name} {still}answers requests that name no model"
        if self.decided_by in _VARIABLES:
            return f"{answers}, because {self.decided_by} says so"
        if self.others:
            other = exported if is_other else "NAME"
            return f"{answers}; kennel default {other} changes that"
        return answers


def find_default(env: Mapping[str, str], models_dir: Path) -> DefaultModel:
    """The default model of an API with the variables *env* that serves *models_dir*.

    Raises:
        InvalidRequestError: a variable holds an impossible name, or models.config is
            broken.
    """
    served = tuple(read_served(models_dir))
    for variable in _VARIABLES:
        if names := read_model_names(env, variable):
            return DefaultModel(names[0], variable, served)
    return DefaultModel(next(iter(served), None), CONFIG_FILE, served)


def wait_until_loaded(
    client: Client, name: str, seconds: float, tell: Callable[[str], None]
) -> None:
    """Wait until the API says that a version of the model *name* is loaded.

    Also returns if there is no API, or the API does not know the model; *tell* is
    called once if the model is not loaded yet.

    Raises:
        ConflictError: no version is loaded within *seconds*.
    """
    deadline = time.monotonic() + seconds
    reported = False
    while states := _states(client, name):
        if "AVAILABLE" in states:
            return
        if time.monotonic() > deadline:
            message = (
                f"{name} is not loaded after {seconds:g} s ({', '.join(states)}): "
                "requests that name no model would fail, so nothing was changed; look "
                "at the model server's log"
            )
            raise ConflictError(message)
        if not reported:
            tell(f"waiting until {name} is loaded")
            reported = True
        time.sleep(_POLL_SECONDS)


def _states(client: Client, name: str) -> list[str]:
    try:
        versions = client.model(name)["versions"]
    except ApiError:
        return []
    return [str(each["state"]) for each in versions] or ["no version yet"]


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


def render_table(
    versions: Sequence[PublishedVersion], default: str | None = None
) -> str:
    """A line for each of *versions* under a line of headings, columns aligned.

    The figures are the card's: on validation photos, calibrated, not clipped. The last
    column marks the model *default*, which answers requests that name no model.
    """
    return aligned([_HEADINGS, *(_row(each, default) for each in versions)])


def version_as_json(
    version: PublishedVersion, default: str | None = None
) -> dict[str, Any]:
    """A version's card and state as JSON; a broken version has no card.

    ``is_default``: whether its model is the model *default*.
    """
    found = dataclasses.asdict(version)
    card = found.pop("card") or {}
    return {**card, **found, "is_default": version.name == default}


def format_size(size_bytes: int) -> str:
    """A number of bytes as text: 812 B, 14.2 MB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def versions_away(target: str, versions: Sequence[PublishedVersion]) -> Iterator[str]:
    """A sentence for each of *versions* that the server at *target* failed to load.

    Versions that it need not load are skipped; there is no sentence if no server
    answers within a second.

    Raises:
        InvalidRequestError: *target* is no address.
    """
    with ModelServerClient(target, timeout_seconds=_ASK_SECONDS) as client:
        for name in dict.fromkeys(each.name for each in versions):
            try:
                found = {each.version: each for each in client.versions(name)}
            except NotFoundError:
                continue
            except KennelError:
                return
            for each in versions:
                status = found.get(each.version) if each.name == name else None
                if status is None or each.state not in {ANSWERS, LOADED, ON_TRIAL}:
                    continue
                if status.state != AVAILABLE:
                    said = status.problem or f"version {each.version} is {status.state}"
                    yield f"{name}: the model server says: {said} (kennel doctor)"


def unfinished_jobs(settings: KennelSettings, name: str) -> list[JobStatus]:
    """Jobs of the model *name* that are queued or running, newest first."""
    records = JobRecords(settings.runs_dir, settings.inputs)
    unfinished = (job for job in records.jobs() if job.state in {"queued", "running"})
    return [job for job in unfinished if job.model == name]


def stranded_jobs(settings: KennelSettings, name: str) -> list[str]:
    """A sentence for each unfinished job whose version of *name* is not served.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    entry, versions = served_model(settings.models_dir, name)
    loaded = entry.loaded(versions)
    jobs = unfinished_jobs(settings, name)
    return [_stranded(job) for job in jobs if job.version not in loaded]


def check_unneeded(settings: KennelSettings, name: str, client: Client) -> str:
    """Check that no unfinished job is pinned to a version of the model *name*.

    Both RUNS_DIR and the API are searched for jobs: the API's runs may lie elsewhere.
    Returns why the API could not list its jobs; empty if it did.

    Raises:
        ConflictError: jobs are pinned to it; the message names the first of them.
    """
    jobs: dict[str, JobStatus | Job] = {
        job.id: job for job in unfinished_jobs(settings, name)
    }
    unasked = ""
    try:
        listed = [*client.jobs(state="queued"), *client.jobs(state="running")]
        jobs |= {job.id: job for job in listed if job.model == name}
    except ApiError as error:
        unasked = str(error)
    if jobs:
        raise ConflictError(_needed(name, list(jobs.values())))
    return unasked


def _row(version: PublishedVersion, default: str | None) -> tuple[str, ...]:
    card = version.card
    figures = card.metrics.get("validation", {}) if card else {}
    return (
        *(version.name, str(version.version), version.state),
        ", ".join(version.version_labels) or "-",
        _figure(figures.get("accuracy")),
        _figure(figures.get("log_loss_calibrated")),
        card.recipe if card else "-",
        card.created if card else "-",
        format_size(version.size_bytes),
        "yes" if version.name == default else "-",
    )


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "-"


def _needed(name: str, jobs: Sequence[JobStatus | Job]) -> str:
    named = ", ".join(
        f"{job.id} ({job.state}, version {job.version})" for job in jobs[:_NAMED]
    )
    more = f" and {len(jobs) - _NAMED} more" if len(jobs) > _NAMED else ""
    return (
        f"unfinished jobs need {name}: {named}{more}; wait for them, or kennel jobs "
        "cancel JOB"
    )


def _stranded(job: JobStatus) -> str:
    return (
        f"job {job.id} ({job.state}) is pinned to version {job.version}, which is not "
        f"served any more: it will fail; submit {job.input} again, or kennel rollback "
        f"{job.model} {job.version} and kennel jobs retry {job.id}"
    )
