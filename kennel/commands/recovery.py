"""Commands for the worst day: backup, restore."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from kennel.commands.api_options import JSON_OPTION
from kennel.settings import KennelSettings

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
@click.option("--keep", type=click.IntRange(min=1), help="Remove all but the newest N.")
@click.option("--full", is_flag=True, help="Copy every file, link none.")
@click.option("--check", is_flag=True, help="Make none; compare the newest's sha256.")
@JSON_OPTION
def backup(
    target: Path, keep: int | None, full: bool, check: bool, as_json: bool
) -> None:
    """Put a new backup of models and runs into the folder TARGET, while jobs run.

    Unchanged files are hard links to the last backup's. A killed one is gone on with.
    Photos below INPUT_ROOT, API keys and .env are not in it; Redis need not be: the
    reconciler fills an empty one from the runs.
    """
    if check:
        _check(target, as_json)
        return
    from kennel.backup.backup import make_backup
    from kennel.backup.shelf import Shelf

    made = make_backup(target, _roots(), full=full)
    removed = Shelf(target).keep_newest(keep) if keep else []
    tally = made.tally
    for path in tally.skipped[:_NAMED]:
        click.echo(f"kennel: not a plain file, not in the backup: {path}", err=True)
    if as_json:
        content = {"backup": str(made.folder), **vars(tally), "removed": removed}
        click.echo(json.dumps(content))
        return
    click.echo(
        f"{made.folder}: {tally.files} files, {tally.size / _MEGABYTE:.1f} MB; copied "
        f"{tally.copied_files} ({tally.copied_size / _MEGABYTE:.1f} MB), linked the rest"
    )
    for name in removed:
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
    from kennel.backup.shelf import find_backup

    found = find_backup(source)
    check_stopped(os.environ, KennelSettings.from_env(os.environ).home)
    roots = {name: root for name, root in _roots().items() if only in {None, name}}
    head = restore_backup(found, roots, replace=force)
    if as_json:
        click.echo(json.dumps({"backup": str(found), **vars(head)}))
        return
    where = ", ".join(map(str, roots.values()))
    click.echo(f"{found} of {head.created} is back in {where}")
