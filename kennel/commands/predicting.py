"""`kennel predict`: photos to the API, labels to the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kennel.commands.api_options import (
    CLIP_OPTION,
    JSON_OPTION,
    KEY_OPTION,
    LABEL_OPTION,
    MODEL_OPTION,
    URL_OPTION,
    VERSION_OPTION,
    open_client,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kennel.api.answers import Answer, Prediction


@click.command(
    epilog="Examples: kennel predict rex.jpg; kennel predict *.jpg --clip off --top 3"
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@MODEL_OPTION
@VERSION_OPTION
@LABEL_OPTION
@CLIP_OPTION
@click.option(
    "--top", type=click.IntRange(min=1), help="Only the most probable labels."
)
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def predict(
    files: tuple[Path, ...],
    url: str,
    key: str | None,
    as_json: bool,
    top: int | None,
    **choice: str | None,
) -> None:
    """Ask the API what is on some photos, any number of them.

    Which model and version answered goes to stderr.

    Exits with 1 if one of them could not be used; the others are answered all the same.
    """
    with open_client(url, key) as client:
        answer = client.predict(files, top=top, **choice)
    if answer.model is not None:
        click.echo(_answered(answer, choice), err=True)
    if as_json:
        click.echo(json.dumps(answer.to_json()))
    else:
        for prediction in answer.predictions:
            click.echo(_line(prediction), err=prediction.error is not None)
    if any(each.error is not None for each in answer.predictions):
        click.get_current_context().exit(1)


def _answered(answer: Answer, choice: Mapping[str, str | None]) -> str:
    label = f", label {choice['label']}" if choice["label"] else ""
    default = "" if choice["model"] else " (the default model: --model names another)"
    return f"by {answer.model} version {answer.version}{label}{default}"


def _line(prediction: Prediction) -> str:
    if prediction.error is not None:
        return f"{prediction.name}: {prediction.error.detail}"
    values = prediction.probabilities.items()
    shown = ", ".join(f"{label} {value:.4f}" for label, value in values)
    return f"{prediction.name}: {prediction.label} ({shown})"
