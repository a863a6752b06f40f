"""Commands about the API keys that the service asks for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from kennel.settings import KennelSettings

_FILE = click.option(
    "--file",
    "path",
    envvar="API_KEYS_FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key file (or API_KEYS_FILE); default: KENNEL_HOME/api-keys.",
)


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
@click.option("--rate", help="Its limit, as 600/minute; default: the service's.")
@_FILE
def add(name: str, scopes: str, rate: str | None, path: Path | None) -> None:
    """Make a key called NAME and print it, once: only its hash is kept."""
    from service.auth.keys import add_key, create_key, read_rate

    file = _file(path)
    key, secret = create_key(name, scopes.split(","), read_rate(rate) if rate else None)
    add_key(file, key)
    click.echo(secret)
    click.echo(f"kennel: its hash is in {file}; the key is shown only now", err=True)
    if path is None:
        click.echo(f"kennel: start the service with API_KEYS_FILE={file}", err=True)


@keys.command("list", epilog="Examples: kennel keys list; kennel keys list --json")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_keys(path: Path | None, as_json: bool) -> None:
    """List the keys by name; the keys themselves are not known any more."""
    from service.auth.keys import read_keys, render_rate

    found = [
        {
            "name": key.name,
            "scopes": sorted(key.scopes),
            "rate": render_rate(key.rate) if key.rate else None,
        }
        for key in read_keys(_file(path))
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        scopes = ",".join(each["scopes"] or ())
        click.echo(f"{each['name']}  {scopes}  {each['rate'] or 'default rate'}")


@keys.command(epilog="Examples: kennel keys rotate phone-app; kennel keys rotate ops")
@click.argument("name")
@_FILE
def rotate(name: str, path: Path | None) -> None:
    """Replace the key called NAME by a new one and print that, once.

    Scopes, rate and folder jobs stay; the old key and its sessions end at once.
    """
    from service.auth.keys import create_key, find_key, replace_key

    file = _file(path)
    old = find_key(file, name)
    key, secret = create_key(name, old.scopes, old.rate)
    replace_key(file, key)
    click.echo(secret)
    click.echo(f"kennel: its hash is in {file}; the key is shown only now", err=True)


@keys.command(epilog="Examples: kennel keys remove phone-app; kennel keys remove ops")
@click.argument("name")
@_FILE
def remove(name: str, path: Path | None) -> None:
    """Remove the key called NAME; requests and sessions with it are refused at once."""
    from service.auth.keys import remove_key

    file = _file(path)
    remove_key(file, name)
    click.echo(f"removed {name} from {file}")


def _file(given: Path | None) -> Path:
    return given or KennelSettings.from_env(os.environ).home / "api-keys"
