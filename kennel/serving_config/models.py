"""Parameters of single models: ``--model NAME[:max_batch=N,latency_budget=MS]``.

The file lies beside a model's versions, from where `kennel export` puts it into each new
one, and in the versions that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kennel.serving_config.batching import batching_settings
from kennel.serving_config.files import write_files
from kennel.serving_config.setting import render
from kennel.serving_config.wishes import Wishes
from models.errors import InvalidRequestError
from models.wire.config import (
    PER_MODEL_FILE,
    check_model_name,
    parse_batching_parameters,
    published_models,
    published_versions,
    read_batching_parameters,
)

_KEYS: Final = ("max_batch", "latency_budget")


@dataclass(frozen=True)
class ModelWish:
    """What one model is to have; None: as all others."""

    name: str
    max_batch: int | None = None
    latency_budget_ms: float | None = None

    def applied_to(self, wishes: Wishes) -> Wishes:
        """*wishes* with this model's own values.

        Raises:
            InvalidRequestError: they cannot be.
        """
        return replace(
            wishes,
            max_batch=self.max_batch or wishes.max_batch,
            latency_budget_ms=self.latency_budget_ms or wishes.latency_budget_ms,
        )


def parse_model_wishes(texts: Iterable[str], models_dir: Path) -> list[ModelWish]:
    """The wishes in *texts*, for example ``solar:max_batch=8,latency_budget=300``.

    Raises:
        InvalidRequestError: one is no such text, or its model is not published.
    """
    wishes = [_parse(text) for text in texts]
    published = published_models(models_dir)
    for wish in wishes:
        if wish.name not in published:
            message = f"--model {wish.name}: {models_dir} has no such model"
            raise InvalidRequestError(f"{message}, only {published}")
    return wishes


def _parse(text: str) -> ModelWish:
    name, _, rest = text.partition(":")
    given = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in _KEYS or not value.isdecimal() or not int(value):
            message = f"--model {text}: {part!r} is none of {', '.join(_KEYS)}=NUMBER"
            raise InvalidRequestError(message)
        given[key] = int(value)
    return ModelWish(
        check_model_name(name), given.get("max_batch"), given.get("latency_budget")
    )


def model_texts(
    models_dir: Path, wishes: Wishes, single: Iterable[ModelWish]
) -> dict[str, str]:
    """The file of each published model, by its name.

    Also of those that are not *single*: without a file a model would not be batched.

    Raises:
        InvalidRequestError: a model's values cannot be.
    """
    own = {wish.name: wish for wish in single}
    texts = {}
    for name in published_models(models_dir):
        wish = own.get(name, ModelWish(name))
        text = render(
            f"How requests to {name} are gathered; written by `kennel serving-config`. "
            "num_batch_threads is not used here: all models share the threads.",
            batching_settings(wish.applied_to(wishes)),
        )
        parse_batching_parameters(text, name)
        texts[name] = text
    return texts


def check_model_files(models_dir: Path) -> None:
    """Return if a server takes the files that the published models have.

    Raises:
        InvalidRequestError: it would not; the message names file, value and remedy.
    """
    for name in published_models(models_dir):
        base = models_dir / name
        for folder in (base, *(base / str(each) for each in published_versions(base))):
            if (folder / PER_MODEL_FILE).exists():
                read_batching_parameters(folder / PER_MODEL_FILE)


def write_model_files(models_dir: Path, texts: Mapping[str, str]) -> list[Path]:
    """Put each model's file beside and into its versions; the paths.

    Raises:
        OSError: the disk is full or read-only.
    """
    paths = []
    for name, text in texts.items():
        base = models_dir / name
        versions = [base / str(each) for each in published_versions(base)]
        for folder in (base, *versions):
            paths += write_files({PER_MODEL_FILE: text}, folder)
    return paths
