"""`kennel predict`: photos to the API, labels to the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from kennel.commands.options import (
    CLIP_OPTION,
    JSON_OPTION,
    KEY_OPTION,
    LABEL_OPTION,
    MODEL_OPTION,
    URL_OPTION,
    VERSION_OPTION,
    note,
    open_client,
)
from kennel.terminal import progress_bars
from models.images.formats import START_BYTES, is_photo
from models.text import is_utf8, printable
from worker.items import natural_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kennel.client import Client
    from kennel.client.answers import Answer, ImagePrediction
    from kennel.client.errors import ApiError


LOADING_SECONDS: Final = 60.0
"""How long to wait for a model that was exported just now."""

_PAUSE_SECONDS: Final = 1.0


@click.command(
    epilog="Examples: kennel predict rex.jpg; kennel predict *.jpg --clip off --top 3; "
    "kennel predict photos/ --json"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@MODEL_OPTION
@VERSION_OPTION
@LABEL_OPTION
@CLIP_OPTION
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Print so many labels, most probable first.",
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
    """Predict any number of photos, in FILES or folders, through the API.

    Photos are sent a few at a time; answers are printed as they arrive, in the order of
    the photos. Folders inside a folder are not searched. The model and version that
    answered are printed to stderr.

    Exits with 1 if a photo could not be used; the others are answered all the same.
    """
    photos = [photo for each in files for photo in _photos(each)]
    _warn_of_names(photos)
    printed = _Output(choice, as_json)
    with (
        open_client(url, key) as client,
        progress_bars(lines=False) as progress,
        printed.completed(photos),
    ):
        if choice["model"] is not None:
            _await_loaded(client, choice["model"])
        progress("predict", 0, len(photos))
        for answer in client.predict_each(photos, top=top, **choice):
            printed.show(answer)
            progress("predict", printed.count, len(photos))
    if printed.is_incomplete:
        click.get_current_context().exit(1)


def _await_loaded(client: Client, model: str) -> None:
    until = time.monotonic() + LOADING_SECONDS
    if _is_loading(client, model):
        click.echo(f"Model {model} is being loaded: waiting", err=True)
        while time.monotonic() < until and _is_loading(client, model):
            time.sleep(_PAUSE_SECONDS)


def _is_loading(client: Client, model: str) -> bool:
    from kennel.client.errors import ApiError

    try:
        versions = client.model(model)["versions"]
    except ApiError:
        return False  # the prediction says what is wrong
    # None yet: the model server has not read its list of models again.
    return {each.get("state") for each in versions} <= {"START", "LOADING"}


class _Output:
    """Prints answers as they arrive, or one JSON document at the end."""

    def __init__(self, choice: Mapping[str, str | None], as_json: bool) -> None:
        self.count = 0
        self.is_incomplete = False
        self._choice = choice
        self._model: str | None = None
        self._kept: list[Answer] | None = [] if as_json else None

    def show(self, answer: Answer) -> None:
        if answer.model is not None and self._model is None:
            self._model = answer.model
            click.echo(_answered(answer, self._choice), err=True)
        self.count += len(answer.predictions)
        for each in answer.predictions:
            self.is_incomplete |= each.error is not None
            if self._kept is None:
                click.echo(_line(each), err=each.error is not None)
        if self._kept is not None:
            self._kept.append(answer)

    @contextmanager
    def completed(self, photos: Sequence[Path]) -> Iterator[None]:
        """At the end, print the JSON document, and which photos got no answer."""
        from kennel.client.answers import Answer
        from kennel.client.errors import ApiError

        try:
            yield
        except ApiError as error:
            if not self.count:
                raise
            self._add_unanswered(photos[self.count :], error)
        if self._kept is not None:
            click.echo(json.dumps(Answer.joined(self._kept).to_json()))

    def _add_unanswered(self, rest: Sequence[Path], error: ApiError) -> None:
        from kennel.client.answers import Answer
        from kennel.client.errors import problem_of
        from kennel.client.uploads import sent_name

        self.is_incomplete = True
        first = sent_name(rest[0])
        note(f"{error}\n{len(rest)} photos, from {first} on, got no answer")
        if self._kept is not None:
            names = map(sent_name, rest)
            self._kept.append(Answer.failed(problem_of(n, error) for n in names))


def _photos(given: Path) -> Iterator[Path]:
    if not given.is_dir():
        if not given.exists():
            raise click.BadParameter(_missing(given))
        yield given
        return
    inside = sorted(given.iterdir(), key=lambda path: natural_key(path.name))
    photos = [path for path in inside if _is_photo(path)]
    if not photos:
        raise click.BadParameter(
            f"the folder {printable(str(given))} holds no photo: name one that does, or "
            "the photos themselves"
        )
    yield from photos


def _missing(given: Path) -> str:
    name = printable(str(given))
    if any(letter in name for letter in "*?["):
        return f"no file matches {name}"
    return f"there is no file {name}"


def _is_photo(path: Path) -> bool:
    def read_start() -> bytes:
        try:
            with path.open("rb") as stream:
                return stream.read(START_BYTES)
        except OSError:
            return b""

    return path.is_file() and is_photo(path.name, read_start)


def _warn_of_names(photos: Sequence[Path]) -> None:
    from kennel.client.uploads import sent_name

    for photo in photos:
        if not is_utf8(photo.name):
            message = f"{printable(photo.name)} is not UTF-8"
            note(f"{message}: it is answered as {sent_name(photo)}")


def _answered(answer: Answer, choice: Mapping[str, str | None]) -> str:
    label = f", label {choice['label']}" if choice["label"] else ""
    default = "" if choice["model"] else " (the default model: --model names another)"
    return f"by {answer.model} version {answer.version}{label}{default}"


def _line(prediction: ImagePrediction) -> str:
    if prediction.error is not None:
        return f"{prediction.name}: {prediction.error.detail}"
    values = prediction.probabilities.items()
    shown = ", ".join(f"{label} {value:.4f}" for label, value in values)
    return f"{prediction.name}: {prediction.label} ({shown})"
