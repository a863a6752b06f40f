"""`kennel rollout`: send a new version a share of the requests, then all or none."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import Final

import click

from kennel.commands.options import (
    JSON_OPTION,
    KEY_OPTION,
    URL_OPTION,
    note,
    open_client,
)
from kennel.commands.versions import (
    change_of_answers,
    pinned_versions,
    print_served,
    warn_of_stranded_jobs,
)
from kennel.settings import KennelSettings

WATCH_SECONDS: Final = 2.0
_PERCENT: Final = click.FloatRange(0, 100)
_MODEL = click.argument("name")


@click.group(
    epilog="Examples: kennel rollout start pets 4 --percent 5; kennel rollout abort pets"
)
def rollout() -> None:
    """Try a new version on a share of the requests; then promote or abort it."""


@rollout.command(
    epilog="Examples: kennel rollout start pets 4; "
    "kennel rollout start pets 4 --percent 1 --mirror 50"
)
@_MODEL
@click.argument("version", type=click.IntRange(min=1))
@click.option(
    "--percent",
    type=_PERCENT,
    default=5.0,
    show_default=True,
    help="VERSION's share of the requests that name no version.",
)
@click.option(
    "--mirror",
    type=_PERCENT,
    default=10.0,
    show_default=True,
    help="Percent of the canary's requests that the other version answers as well.",
)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(1, 3600),
    default=300.0,
    show_default=True,
    help="Seconds within which VERSION must be loaded and warm.",
)
@URL_OPTION
@KEY_OPTION
def start(name: str, version: int, url: str, key: str | None, **shares: float) -> None:
    """Load VERSION of the model NAME and send it a share of the requests.

    Only requests that name neither version nor label are shared out. VERSION has to be
    exported with --hold, or rolled back from. Once it is loaded, it is labelled canary;
    the version that answers is labelled stable.
    """
    from kennel.rollout import StartOptions, start_rollout

    settings = KennelSettings.from_env(os.environ)
    with open_client(url, key) as client:
        options = StartOptions(name, version, **shares)
        pinned = partial(pinned_versions, settings, name)
        start_rollout(settings.models_dir, client, options, pinned, note)
    print_served(settings, name)


@rollout.command(
    "set",
    epilog="Examples: kennel rollout set pets --percent 50; "
    "kennel rollout set pets --percent 50 --mirror 1",
)
@_MODEL
@click.option("--percent", type=_PERCENT, required=True, help="The canary's share.")
@click.option("--mirror", type=_PERCENT, help="As for start; default: unchanged.")
def set_percent(name: str, percent: float, mirror: float | None) -> None:
    """Give the canary of the model NAME another share of the requests.

    Clients that were sent to the canary stay with it while its share grows.
    """
    from export.publication.rollouts import set_shares

    settings = KennelSettings.from_env(os.environ)
    set_shares(settings.models_dir, name, percent, mirror)
    print_served(settings, name)


@rollout.command(
    epilog="Examples: kennel rollout promote pets; KENNEL_HOME=/srv/kennel kennel "
    "rollout promote pets"
)
@_MODEL
def promote(name: str) -> None:
    """Let the canary of the model NAME answer; the version before it stays loaded."""
    from export.publication.rollouts import promote_canary

    settings = KennelSettings.from_env(os.environ)
    with change_of_answers(settings.models_dir, name):
        promoted = promote_canary(settings.models_dir, name)
    warn_of_stranded_jobs(settings, name)
    click.echo(f"Back again: kennel rollback {name} {promoted.stable}")


@rollout.command(
    epilog="Examples: kennel rollout abort pets; KENNEL_HOME=/srv/kennel kennel "
    "rollout abort pets"
)
@_MODEL
def abort(name: str) -> None:
    """Send the canary of the model NAME no more requests, and unload it."""
    from export.publication.rollouts import abort_rollout

    settings = KennelSettings.from_env(os.environ)
    abort_rollout(settings.models_dir, name)
    print_served(settings, name)


@rollout.command(
    epilog="Examples: kennel rollout status pets --watch; "
    "kennel rollout status pets --json"
)
@_MODEL
@click.option("--watch", is_flag=True, help="Repeat until the rollout is over.")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def status(name: str, watch: bool, url: str, key: str | None, as_json: bool) -> None:
    """Show how the canary of the model NAME compares with the version that answers."""
    from kennel.rollout import last_rollout, render_rollout

    settings = KennelSettings.from_env(os.environ)
    with open_client(url, key) as client:
        while True:
            found = last_rollout(client, settings.models_dir, name)
            if watch and not as_json:
                click.clear()
            click.echo(json.dumps(found) if as_json else render_rollout(found))
            if not watch or found["state"] not in {"starting", "running"}:
                return
            time.sleep(WATCH_SECONDS)
