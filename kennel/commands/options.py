"""What commands share: options, a client of the API, notes on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kennel.client import Client


URL_OPTION = click.option(
    "--url",
    envvar="KENNEL_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="The API (or KENNEL_URL).",
)
KEY_OPTION = click.option(
    "--key",
    envvar="KENNEL_API_KEY",
    help="The API key, where one is asked for (better: KENNEL_API_KEY).",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
MODEL_OPTION = click.option("--model", help="Which model; default: the API's default.")
VERSION_OPTION = click.option("--version", help="Which version; default: the newest.")
LABEL_OPTION = click.option("--label", help="The version with this label: canary.")
CLIP_OPTION = click.option(
    "--clip", help="Clip bound, or off; default: the model card's."
)


def open_client(url: str, key: str | None, **limits: Any) -> Client:
    """A client of the API at *url*; made here so that help needs no HTTP.

    Raises:
        InvalidRequestError: the address or the key cannot be one.
    """
    from kennel.client import Client

    return Client(url, api_key=key, **limits)


def note(sentence: str) -> None:
    """Print *sentence* to stderr."""
    click.echo(f"kennel: {sentence}", err=True)
