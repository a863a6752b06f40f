"""Commands about published models: list, default, remove; roll back, label, prune."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kennel.commands.options import (
    JSON_OPTION,
    KEY_OPTION,
    URL_OPTION,
    note,
    open_client,
)
from kennel.settings import KennelSettings
from kennel.terminal import aligned
from models.errors import ConflictError, InvalidRequestError, KennelError, NotFoundError
from models.rollouts import SEEN_SECONDS

if TYPE_CHECKING:
    from export.publication.published import PublishedVersion
    from export.publication.served import DefaultModel
    from kennel.client import Client
    from kennel.client.answers import Job
    from worker.status import JobStatus

_ASSIGNMENT = re.compile(r"([A-Za-z0-9._-]{1,64})=([1-9][0-9]{0,17})?")
_MODEL_SERVER = "127.0.0.1:8500"
_ONE_TRY: Final = {"timeout_seconds": 10.0, "retries": 0}
"""These commands also work without an API, which is not worth retries."""

_POLL_SECONDS: Final = 0.5
_ASK_SECONDS: Final = 1.0
_HEADINGS: Final = (
    *("model", "version", "state", "labels"),
    *("accuracy", "log loss", "recipe", "created", "size", "default"),
)
_NAMED: Final = 5


@click.command(epilog="Examples: kennel models; kennel models pets --json")
@click.argument("name", required=False)
@JSON_OPTION
def models(name: str | None, as_json: bool) -> None:
    """List the published versions of all models, or of NAME, and the default model.

    States: answers: takes requests that name no version. canary: takes a share of them.
    loaded: takes requests that name it. rolled back: newer than the version that
    answers, and not loaded (also: exported with --hold). kept: older, only on the disk.
    If a model server answers at MODEL_SERVER, versions that it failed to load are
    listed.
    """
    from export.publication.published import list_versions
    from export.publication.served import find_default
    from models.environment import read_address

    folder = KennelSettings.from_env(os.environ).models_dir
    versions = list_versions(folder, name)
    default_model = find_default(os.environ, folder)
    if as_json:
        found = [version_as_json(each, default_model.name) for each in versions]
        click.echo(json.dumps(found))
        return
    if not versions:
        click.echo(f"No models in {folder}: kennel train, then kennel export.")
        return
    click.echo(render_table(versions, default_model.name))
    for each in versions:
        if each.problem:
            click.echo(f"{each.name} version {each.version}: {each.problem}", err=True)
    target = read_address(os.environ, "MODEL_SERVER", _MODEL_SERVER)
    for sentence in versions_away(target, versions):
        click.echo(sentence, err=True)
    note(default_model.sentence())


@click.command(epilog="Examples: kennel default; kennel default pets")
@click.argument("name", required=False)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0, 3600),
    default=60.0,
    show_default=True,
    help="Seconds within which NAME must be loaded, if the API can be reached.",
)
@URL_OPTION
@KEY_OPTION
def default(name: str | None, wait_seconds: float, url: str, key: str | None) -> None:
    """Let the model NAME answer requests and jobs that name no model.

    Without NAME, show which model does. Exporting another model never changes it.
    """
    from export.publication.published import describe_models
    from export.publication.served import find_default, make_default

    folder = KennelSettings.from_env(os.environ).models_dir
    if name is not None:
        with open_client(url, key, **_ONE_TRY) as client:
            wait_until_loaded(client, name, wait_seconds, note)
        make_default(folder, name)
    found = find_default(os.environ, folder)
    click.echo(found.sentence())
    if name not in {None, found.name}:
        note(
            f"{name} is first in models.config now, but {found.decided_by} decides: "
            f"set it to {name}, or unset it, and restart the API"
        )
    if name is None and found.served:
        click.echo(f"served: {describe_models(folder)}")


@click.command(epilog="Examples: kennel remove pets; kennel remove pets --yes")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@URL_OPTION
@KEY_OPTION
def remove(name: str, yes: bool, url: str, key: str | None) -> None:
    """Remove the model NAME with all its versions.

    Refused while an unfinished job or a rollout needs the model, and while it is the
    default model and others are there. Finished jobs stay as they are. If the model is
    exported again, its version numbers go on.
    """
    from export.publication.pruning import remove_model
    from export.publication.published import folder_size
    from export.publication.served import find_default, served_model

    settings = KennelSettings.from_env(os.environ)
    folder = settings.models_dir
    _, versions = served_model(folder, name)
    _check_not_default(find_default(os.environ, folder), name)
    size = format_size(folder_size(folder / name))
    what = f"{name} (versions {', '.join(map(str, versions))}; {size})"
    with open_client(url, key, **_ONE_TRY) as client:
        if unasked := check_unneeded(settings, name, client):
            known = f"only the jobs in {settings.runs_dir} were looked at"
            note(f"{known}: {unasked}")
        if not yes:
            click.confirm(f"Remove {what} from {folder}?", abort=True)

        def check_again() -> None:
            # Until the API sees the new models.config, it may accept another job.
            time.sleep(SEEN_SECONDS)
            check_unneeded(settings, name, client)

        remove_model(folder, name, check_again)
    click.echo(f"removed {what}")
    click.echo(find_default(os.environ, folder).sentence())


@click.command(epilog="Examples: kennel rollback pets 3; kennel rollback pets 4")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
def rollback(name: str, version: int) -> None:
    """Let VERSION of the model NAME answer requests that name no version.

    Newer versions are unloaded, and their labels move to VERSION. The next exported
    version answers again; so does the newest version after a rollback to it.
    """
    from export.publication.published import roll_back_model
    from export.publication.served import served_model

    settings = KennelSettings.from_env(os.environ)
    before = dict(served_model(settings.models_dir, name)[0].labels)
    with change_of_answers(settings.models_dir, name):
        entry = roll_back_model(settings.models_dir, name, version)
    for label in sorted(set(before) - set(dict(entry.labels))):
        note(
            f"label {label} is gone: {name} version {version} was not loaded; "
            f"once it answers, kennel label {name} {label}={version}"
        )
    warn_of_stranded_jobs(settings, name)


@click.command(
    epilog="Examples: kennel label pets canary=4 stable=3; kennel label pets canary="
)
@click.argument("name")
@click.argument("assignments", nargs=-1, metavar="LABEL=VERSION...")
def label(name: str, assignments: tuple[str, ...]) -> None:
    """Give labels to served versions of the model NAME; LABEL= removes a label.

    Clients choose a version by its label: POST /v1/predict?label=canary. Without
    assignments, the labels are printed.
    """
    from export.publication.published import label_model

    settings = KennelSettings.from_env(os.environ)
    changes = _parse_assignments(assignments)
    if changes:
        label_model(settings.models_dir, name, changes)
    print_served(settings, name)


@click.command(
    epilog="Examples: kennel prune pets --keep 3 --dry-run; kennel prune pets --keep 1"
)
@click.argument("name")
@click.option(
    "--keep",
    required=True,
    type=click.IntRange(min=1),
    help="Keep so many of the newest.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
def prune(name: str, keep: int, dry_run: bool) -> None:
    """Remove old versions of the model NAME, and the leftovers of killed exports.

    Versions that are served, labelled or needed by an unfinished job stay.
    """
    from export.publication.pruning import prune as remove

    settings = KennelSettings.from_env(os.environ)
    pinned = pinned_versions(settings, name)
    plan = remove(settings.models_dir, name, keep, pinned, dry_run)
    verb = "would remove" if dry_run else "removed"
    for version, size in plan.removed.items():
        click.echo(f"{verb} {name} version {version} ({format_size(size)})")
    for path, size in plan.leftovers.items():
        click.echo(f"{verb} {path} ({format_size(size)}, unfinished)")
    for version, reason in plan.kept.items():
        click.echo(f"kept {name} version {version}: {reason}")


@contextmanager
def change_of_answers(models_dir: Path, name: str) -> Iterator[None]:
    """After the block, print the served versions of *name*, and a change of labels."""
    from export.publication.published import (
        answering_card,
        describe_label_change,
        describe_served,
    )

    before = answering_card(models_dir, name)
    yield
    click.echo(describe_served(models_dir, name))
    if change := describe_label_change(before, answering_card(models_dir, name)):
        note(change)


def print_served(settings: KennelSettings, name: str) -> None:
    """Print the served versions of the model *name*, and its stranded jobs."""
    from export.publication.published import describe_served

    click.echo(describe_served(settings.models_dir, name))
    warn_of_stranded_jobs(settings, name)


def warn_of_stranded_jobs(settings: KennelSettings, name: str) -> None:
    """Print to stderr which unfinished jobs need a version that is not served."""
    for sentence in stranded_jobs(settings, name):
        note(sentence)


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
    from kennel.client.errors import ApiError

    try:
        versions = client.model(name)["versions"]
    except ApiError:
        return []
    return [str(each["state"]) for each in versions] or ["no version yet"]


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
    from export.publication.published import ANSWERS, LOADED, ON_TRIAL
    from models.wire.client import ModelServerClient
    from models.wire.messages import AVAILABLE

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
    from worker.records import JobRecords

    records = JobRecords(settings.runs_dir, settings.inputs)
    unfinished = (job for job in records.jobs() if job.state in {"queued", "running"})
    return [job for job in unfinished if job.model == name]


def pinned_versions(settings: KennelSettings, name: str) -> dict[int, str]:
    """The versions of the model *name* that unfinished jobs need, each with a job's id."""
    return {job.version: job.id for job in unfinished_jobs(settings, name)}


def stranded_jobs(settings: KennelSettings, name: str) -> list[str]:
    """A sentence for each unfinished job whose version of *name* is not served.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    from export.publication.served import served_model

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
    from kennel.client.errors import ApiError

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


def _check_not_default(default: DefaultModel, name: str) -> None:
    if default.name != name or not default.others:
        return
    remedy = f"kennel default {default.others[0]}"
    if default.decided_by != "models.config":
        remedy = f"set {default.decided_by} to another model"
    message = f"{name} answers requests that name no model: {remedy} first"
    raise ConflictError(message)


def _parse_assignments(assignments: Iterable[str]) -> dict[str, int | None]:
    changes: dict[str, int | None] = {}
    for text in assignments:
        found = _ASSIGNMENT.fullmatch(text)
        if not found:
            message = f"{text!r} is not LABEL=VERSION (canary=4), nor LABEL= to remove"
            raise InvalidRequestError(message)
        if found[1] in changes:
            raise InvalidRequestError(
                f"label {found[1]!r} is there twice: give it once"
            )
        changes[found[1]] = int(found[2]) if found[2] else None
    return changes


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
