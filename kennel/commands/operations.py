"""Commands for operators: `kennel demo`, `keys`, `doctor`, `backup`, `restore`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Final

import click

from kennel.commands.options import JSON_OPTION, note
from kennel.settings import KennelSettings

_KEY_FILE = click.option(
    "--file",
    "path",
    envvar="API_KEYS_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key file (or API_KEYS_FILE); default: KENNEL_HOME/api-keys.",
)
_PLACE = click.Path(path_type=Path)
_MEGABYTE: Final = 1e6
_NAMED: Final = 5


@click.command(epilog="Examples: kennel demo; QUICK=1 kennel demo; kennel demo --quick")
@click.option(
    "--quick", is_flag=True, envvar="QUICK", help="Use a seeded subset of 400 photos."
)
@click.option(
    "--model-only",
    is_flag=True,
    help="Stop once the model is published; start no server.",
)
def demo(quick: bool, model_only: bool) -> None:
    """Train, serve and score a model on real photos; leaves a CSV and a report."""
    from kennel.demo import Demo

    job = Demo(KennelSettings.from_env(os.environ), click.echo, quick=quick)
    if model_only:
        job.publish_model()
    else:
        job.run()


@click.group(epilog="Examples: kennel keys add phone-app; kennel keys list")
def keys() -> None:
    """Make, list, replace or remove the API keys in a key file.

    The service asks for keys when it is started with API_KEYS_FILE, and sees changes of
    the file at once. Folder jobs belong to the NAME of the key that submitted them:
    give a name to one user only.
    """


@keys.command(
    epilog="Examples: kennel keys add phone-app --scopes predict --rate 600/minute; "
    "kennel keys add ops --scopes admin"
)
@click.argument("name")
@click.option(
    "--scopes",
    default="predict,jobs",
    show_default=True,
    help="What it allows: some of predict, jobs, admin (which allows everything).",
)
@click.option(
    "--rate", help="The key's rate limit, as 600/minute; default: the service's."
)
@_KEY_FILE
def add(name: str, scopes: str, rate: str | None, path: Path | None) -> None:
    """Make a key called NAME and print it once: only its hash is kept."""
    from service.auth.keys import add_key, create_key, read_rate

    file = _key_file(path)
    key, secret = create_key(name, scopes.split(","), read_rate(rate) if rate else None)
    add_key(file, key)
    click.echo(secret)
    note(f"its hash is in {file}; the key is shown only now")
    if path is None:
        note(f"start the service with API_KEYS_FILE={file}")


@keys.command("list", epilog="Examples: kennel keys list; kennel keys list --json")
@_KEY_FILE
@JSON_OPTION
def list_keys(path: Path | None, as_json: bool) -> None:
    """List the keys' names, scopes and rates; the keys themselves are not stored."""
    from service.auth.keys import read_keys, render_rate

    found = [
        {
            "name": key.name,
            "scopes": sorted(key.scopes),
            "rate": render_rate(key.rate) if key.rate else None,
        }
        for key in read_keys(_key_file(path))
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        scopes = ",".join(each["scopes"] or ())
        click.echo(f"{each['name']}  {scopes}  {each['rate'] or 'default rate'}")


@keys.command(epilog="Examples: kennel keys rotate phone-app; kennel keys rotate ops")
@click.argument("name")
@_KEY_FILE
def rotate(name: str, path: Path | None) -> None:
    """Replace the key called NAME by a new one, which is printed once.

    Scopes, rate and folder jobs stay; the old key and its sessions end at once.
    """
    from service.auth.keys import create_key, find_key, replace_key

    file = _key_file(path)
    old = find_key(file, name)
    key, secret = create_key(name, old.scopes, old.rate)
    replace_key(file, key)
    click.echo(secret)
    note(f"its hash is in {file}; the key is shown only now")


@keys.command(epilog="Examples: kennel keys remove phone-app; kennel keys remove ops")
@click.argument("name")
@_KEY_FILE
def remove(name: str, path: Path | None) -> None:
    """Remove the key called NAME; requests and sessions with it are refused at once."""
    from service.auth.keys import remove_key

    file = _key_file(path)
    remove_key(file, name)
    click.echo(f"removed {name} from {file}")


def _key_file(given: Path | None) -> Path:
    return given or KennelSettings.from_env(os.environ).home / "api-keys"


@click.command(
    epilog="Examples: kennel doctor; kennel doctor --problems; "
    "kennel doctor redis jobs --json"
)
@click.argument("areas", nargs=-1)
@click.option("--problems", is_flag=True, help="Show only what is not ok.")
@JSON_OPTION
@click.pass_context
def doctor(
    ctx: click.Context, areas: tuple[str, ...], problems: bool, as_json: bool
) -> None:
    """Check this machine and deployment; say what is wrong, and the remedy.

    AREAS: settings, machine, secrets, folders, redis, jobs, models, model-server, api;
    default: all, in the order in which trouble spreads: begin with the first that
    failed. It reads the variables that the services read, changes nothing, and exits
    with 1 if a check failed.
    """
    from kennel.doctor.examination import (
        AREAS,
        as_json_text,
        as_text,
        examine,
        is_sound,
        problems_of,
    )

    for area in areas:
        if area not in AREAS:
            raise click.BadParameter(f"{area!r} is none of {', '.join(AREAS)}")
    report = examine(os.environ, areas)
    sound = is_sound(report)
    if problems:
        report = problems_of(report)
    click.echo(as_json_text(report, sound) if as_json else as_text(report))
    ctx.exit(0 if sound else 1)


@click.command(
    epilog="Examples: kennel backup /backups/kennel --keep 30; "
    "kennel backup /backups/kennel --check"
)
@click.argument("target", type=_PLACE)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    help="Remove all but the newest N backups, unless the new one is much smaller.",
)
@click.option(
    "--accept",
    is_flag=True,
    help="Do not compare with the last backup: these are the right models and runs.",
)
@click.option("--full", is_flag=True, hidden=True)  # ignored: all are
@click.option(
    "--check", is_flag=True, help="Only check the newest backup's sha256 sums."
)
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

    A backup is one tar archive, which appears complete or not at all. Models and runs
    of another installation than the last backup's are refused (exit 2). A backup with
    less than half of the last one's files or bytes is kept, but no older one is removed
    (exit 1). Photos below INPUT_ROOT, API keys and .env are not in it, nor is Redis:
    the reconciler fills an empty Redis from the runs.
    """
    if check:
        _check(target, as_json)
        return
    from kennel.backup import SmallerBackupError, make_backup

    roots = _roots()
    made = make_backup(target, roots, accept=accept, keep=keep)
    for path in made.skipped[:_NAMED]:
        note(f"not a plain file, not in the backup: {path}")
    for name in made.without:
        note(f"{roots[name]} has no files to back up")
    if as_json:
        content = {"backup": str(made.archive), **dataclasses.asdict(made)}
        content |= {"copied_files": made.files, "copied_size": made.size}
        del content["archive"], content["without"]
        click.echo(json.dumps(content))
    else:
        size = f"{made.size / _MEGABYTE:.1f} MB"
        click.echo(f"{made.archive}: {made.files} files, {size}")
        for name in made.removed:
            click.echo(f"removed {name}")
    if made.loss:
        message = f"{made.archive} has {made.loss}: nothing was removed"
        remedy = "see that nothing is missing; if it was deleted on purpose, --accept"
        raise SmallerBackupError(f"{message}; {remedy}")


def _check(target: Path, as_json: bool) -> None:
    from kennel.backup import DamagedBackupError, find_backup, read_backup

    found = find_backup(target)
    contents = read_backup(found)
    if as_json:
        click.echo(json.dumps({"backup": str(found), **dataclasses.asdict(contents)}))
    else:
        for sentence in contents.damage:
            click.echo(sentence)
    if contents.damage:
        message = f"{found}: {len(contents.damage)} files are damaged"
        raise DamagedBackupError(f"{message}: make another backup")
    if contents.smaller_than:
        message = f"{found} has far less than {contents.smaller_than}"
        note(f"{message}: see that nothing is missing in it")
    if not as_json:
        click.echo(f"{found}: {contents.files} files are as they were written")


@click.command(
    epilog="Examples: kennel restore /backups/kennel; KENNEL_HOME=/srv/kennel kennel "
    "restore /backups/kennel/2026-11-21T020000.000000Z.tar"
)
@click.argument("source", type=_PLACE)
@click.option(
    "--force", is_flag=True, help="Replace the models and runs that are there."
)
@click.option(
    "--only", type=click.Choice(["models", "runs"]), help="Restore only these."
)
@JSON_OPTION
def restore(source: Path, force: bool, only: str | None, as_json: bool) -> None:
    """Put the backup SOURCE, or the newest in it, into MODELS_DIR and RUNS_DIR.

    Stop the stack first. Every file's sha256 is compared before anything is changed.
    Jobs that were unfinished go on at the next start, with an empty Redis too.
    """
    from kennel.backup import find_backup, restore_backup
    from kennel.doctor.jobs import check_stopped

    found = find_backup(source, sound=True)
    check_stopped(os.environ, KennelSettings.from_env(os.environ).home)
    roots = {name: root for name, root in _roots().items() if only in {None, name}}
    contents = dataclasses.asdict(restore_backup(found, roots, replace=force))
    if as_json:
        del contents["damage"]
        click.echo(json.dumps({"backup": str(found), **contents}))
        return
    where = ", ".join(map(str, roots.values()))
    click.echo(f"{found} of {contents['created']} is back in {where}")


def _roots() -> dict[str, Path]:
    settings = KennelSettings.from_env(os.environ)
    return {"models": settings.models_dir, "runs": settings.runs_dir}
