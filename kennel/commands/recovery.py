"""Commands for the worst day: backup, restore."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kennel.commands.api_options import JSON_OPTION
from kennel.settings import KennelSettings

if TYPE_CHECKING:
    from kennel.backup.backup import Backup

_PLACE = click.Path(path_type=Path)
_MEGABYTE = 1e6
_NAMED = 5


def _roots() -> dict[str, Path]:
    settings = KennelSettings.from_env(os.environ)
    return {"models": settings.models_dir, "runs": settings.runs_dir}


@click.command(
    epilog="Examples: kennel backup /backups/kennel --keep 30; "
    "kennel backup /backups/kennel --check"
)
@click.argument("target", type=_PLACE)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="Remove what is older than the newest N, unless this one is much smaller.",
)
@click.option(
    "--accept",
    is_flag=True,
    help="These are the right models and runs, however they differ from the last backup.",
)
@click.option("--full", is_flag=True, help="Copy every file, link none.")
@click.option("--check", is_flag=True, help="Make none; compare the newest's sha256.")
@JSON_OPTION
def backup(
    target: Path,
    keep: int | None,
    accept: bool,
    full: bool,
    check: bool,
    as_json: bool,
) -> None:
    """Put a new backup of models and runs into the folder TARGET, while jobs run.

    Unchanged files are hard links to the last backup's. A killed one is gone on with.
    Models and runs that are not those of the last backup are refused (exit 2). If fewer
    than half of its files or bytes are left, none is removed (exit 1).
    Photos below INPUT_ROOT, API keys and .env are not in it; Redis need not be: the
    reconciler fills an empty one from the runs.
    """
    if check:
        _check(target, as_json)
        return
    from kennel.backup.backup import SmallerBackupError, make_backup

    roots = _roots()
    made = make_backup(target, roots, full=full, accept=accept, keep=keep)
    for path in made.tally.skipped[:_NAMED]:
        click.echo(f"kennel: not a plain file, not in the backup: {path}", err=True)
    for name in made.without:
        click.echo(f"kennel: {roots[name]} has no files to back up", err=True)
    _print_backup(made, as_json)
    if made.loss:
        message = f"{made.folder} has {made.loss}: nothing was removed"
        remedy = "see that nothing is missing; if it was deleted on purpose, --accept"
        raise SmallerBackupError(f"{message}; {remedy}")


def _print_backup(made: Backup, as_json: bool) -> None:
    tally = made.tally
    if as_json:
        content = {"backup": str(made.folder), **vars(tally)}
        content |= {"loss": made.loss, "removed": made.removed}
        click.echo(json.dumps(content))
        return
    click.echo(
        f"{made.folder}: {tally.files} files, {tally.size / _MEGABYTE:.1f} MB; copied "
        f"{tally.copied_files} ({tally.copied_size / _MEGABYTE:.1f} MB), linked the rest"
    )
    for name in made.removed:
        click.echo(f"removed {name}")


def _check(target: Path, as_json: bool) -> None:
    from kennel.backup.checking import DamagedBackupError, find_damage
    from kennel.backup.listing import read_head
    from kennel.backup.shelf import find_backup

    found = find_backup(target)
    head, damage = read_head(found), list(find_damage(found))
    if as_json:
        content = {"backup": str(found), **vars(head), "damage": damage}
        click.echo(json.dumps(content))
    else:
        for sentence in damage:
            click.echo(sentence)
    if damage:
        message = f"{found}: {len(damage)} files are damaged: kennel backup --full"
        raise DamagedBackupError(message)
    if head.smaller_than:
        message = f"kennel: {found} has far less than {head.smaller_than}"
        click.echo(f"{message}: see that nothing is missing in it", err=True)
    if not as_json:
        click.echo(f"{found}: {head.files} files are as they were written")


@click.command(
    epilog="Examples: kennel restore /backups/kennel; "
    "KENNEL_HOME=/srv/kennel kennel restore /backups/kennel/2026-11-21T020000.000000Z"
)
@click.argument("source", type=_PLACE)
@click.option(
    "--force", is_flag=True, help="Replace the models and runs that are there."
)
@click.option("--only", type=click.Choice(["models", "runs"]), help="Not the others.")
@JSON_OPTION
def restore(source: Path, force: bool, only: str | None, as_json: bool) -> None:
    """Put the backup SOURCE, or the newest in it, into MODELS_DIR and RUNS_DIR.

    Stop the stack first. Every file's sha256 is compared before anything is changed.
    Jobs that were unfinished go on at the next start, with an empty Redis too.
    """
    from kennel.backup.restoring import restore_backup
    from kennel.backup.running import check_stopped
    from kennel.backup.shelf import find_sound_backup

    found = find_sound_backup(source)
    check_stopped(os.environ, KennelSettings.from_env(os.environ).home)
    roots = {name: root for name, root in _roots().items() if only in {None, name}}
    head = restore_backup(found, roots, replace=force)
    if as_json:
        click.echo(json.dumps({"backup": str(found), **vars(head)}))
        return
    where = ", ".join(map(str, roots.values()))
    click.echo(f"{found} of {head.created} is back in {where}")
