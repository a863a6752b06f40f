"""Options, the API client and notes on stderr that commands share."""

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
    help="The API's address (or KENNEL_URL).",
)
KEY_OPTION = click.option(
    "--key",
    envvar="KENNEL_API_KEY",
    help="The API key, if the API requires one (better: KENNEL_API_KEY).",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
MODEL_OPTION = click.option("--model", help="Model; default: the API's default model.")
VERSION_OPTION = click.option("--version", help="Version; default: the newest.")
LABEL_OPTION = click.option(
    "--label", help="The version with this label, such as canary."
)
CLIP_OPTION = click.option(
    "--clip", help="Clip bound, or off; default: the model card's."
)


def open_client(url: str, key: str | None, **limits: Any) -> Client:
    """A client of the API at *url*; HTTP is imported only here, so that help is quick.

    Raises:
        InvalidRequestError: the address or the key is malformed.
    """
    from kennel.client import Client

    return Client(url, api_key=key, **limits)


def note(sentence: str) -> None:
    """Print *sentence* to stderr."""
    click.echo(f"kennel: {sentence}", err=True)
