"""Commands about published models: list, default; roll back, label, prune."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

import click

from kennel.settings import KennelSettings
from models.errors import InvalidRequestError

_ASSIGNMENT = re.compile(r"([A-Za-z0-9._-]{1,64})=([1-9][0-9]{0,17})?")
_MODEL_SERVER = "127.0.0.1:8500"
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(epilog="Examples: kennel models; kennel models pets --json")
@click.argument("name", required=False)
@_JSON
def models(name: str | None, as_json: bool) -> None:
    """List the published versions of all models, or of NAME, and the default model.

    answers: takes requests that name no version. canary: takes a share of them. loaded:
    takes requests that name it. rolled back: newer than the one that answers, and not
    loaded (also: exported with --hold). kept: older, only on the disk. If a model server
    answers at MODEL_SERVER, versions are named that it should have loaded and has not.
    """
    from export.publication.listing import list_versions
    from kennel.default_model import find_default
    from kennel.version_table import as_json as version_as_json
    from kennel.version_table import render_table, versions_away
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
    click.echo(f"kennel: {default_model.sentence()}", err=True)


@click.command(epilog="Examples: kennel default; kennel default pets")
@click.argument("name", required=False)
def default(name: str | None) -> None:
    """Let the model NAME answer requests and jobs that name no model.

    Without NAME, show which model does. Exporting another model never changes it.
    """
    from export.publication.served import make_default
    from kennel.default_model import describe_models, find_default

    folder = KennelSettings.from_env(os.environ).models_dir
    if name is not None:
        make_default(folder, name)
    found = find_default(os.environ, folder)
    click.echo(found.sentence())
    if name not in {None, found.name}:
        click.echo(
            f"kennel: {name} is first in models.config now, but {found.decided_by} "
            f"decides: set it to {name}, or unset it, and restart the API",
            err=True,
        )
    if name is None and found.served:
        click.echo(f"served: {describe_models(folder)}")


@click.command(epilog="Examples: kennel rollback pets 3; kennel rollback pets 4")
@click.argument("name")
@click.argument("version", type=click.IntRange(min=1))
def rollback(name: str, version: int) -> None:
    """Let VERSION of the model NAME answer requests that name no version.

    Newer versions are unloaded, and their labels move to VERSION. The next export
    answers again; so does the newest version after a rollback to it.
    """
    from export.publication.operations import (
        answering_card,
        describe_label_change,
        roll_back_model,
    )
    from export.publication.served import served_model

    settings = KennelSettings.from_env(os.environ)
    card = answering_card(settings.models_dir, name)
    before = dict(served_model(settings.models_dir, name)[0].labels)
    entry = roll_back_model(settings.models_dir, name, version)
    _print_served(settings, name)
    now = answering_card(settings.models_dir, name)
    if change := describe_label_change(card, now):
        click.echo(f"kennel: {change}", err=True)
    for label in sorted(set(before) - set(dict(entry.labels))):
        click.echo(
            f"kennel: label {label} is gone: {name} version {version} was not loaded; "
            f"once it answers, kennel label {name} {label}={version}",
            err=True,
        )
    _warn_of_stranded_jobs(settings, name)


@click.command(
    epilog="Examples: kennel label pets canary=4 stable=3; kennel label pets canary="
)
@click.argument("name")
@click.argument("assignments", nargs=-1, metavar="LABEL=VERSION...")
def label(name: str, assignments: tuple[str, ...]) -> None:
    """Give labels to served versions of the model NAME; LABEL= takes one away.

    Clients ask by label: POST /v1/predict?label=canary. Without assignments, the
    labels are shown.
    """
    from export.publication.operations import label_model

    settings = KennelSettings.from_env(os.environ)
    changes = _parse_assignments(assignments)
    if changes:
        label_model(settings.models_dir, name, changes)
    _print_served(settings, name)
    _warn_of_stranded_jobs(settings, name)


@click.command(
    epilog="Examples: kennel prune pets --keep 3 --dry-run; kennel prune pets --keep 1"
)
@click.argument("name")
@click.option(
    "--keep", required=True, type=click.IntRange(min=1), help="How many of the newest."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(name: str, keep: int, dry_run: bool) -> None:
    """Remove old versions of the model NAME, and what killed exports left.

    Versions that are served, labelled or needed by an unfinished job stay.
    """
    from export.publication.pruning import prune as remove
    from kennel.pinned_jobs import unfinished_jobs
    from kennel.version_table import format_size

    settings = KennelSettings.from_env(os.environ)
    pinned = {job.version: job.id for job in unfinished_jobs(settings, name)}
    plan = remove(settings.models_dir, name, keep, pinned, dry_run)
    verb = "would remove" if dry_run else "removed"
    for version, size in plan.removed.items():
        click.echo(f"{verb} {name} version {version} ({format_size(size)})")
    for path, size in plan.leftovers.items():
        click.echo(f"{verb} {path} ({format_size(size)}, unfinished)")
    for version, reason in plan.kept.items():
        click.echo(f"kept {name} version {version}: {reason}")


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


def _print_served(settings: KennelSettings, name: str) -> None:
    from export.publication.operations import describe_served

    click.echo(describe_served(settings.models_dir, name))


def _warn_of_stranded_jobs(settings: KennelSettings, name: str) -> None:
    from kennel.pinned_jobs import stranded_jobs

    for sentence in stranded_jobs(settings, name):
        click.echo(f"kennel: {sentence}", err=True)
