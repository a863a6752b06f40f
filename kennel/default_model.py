"""The default model: which one answers requests that name no model, and what decides it.

The API takes DEFAULT_MODEL, else the first of MODEL_NAMES, else the first model in
models.config. Commands read the same variables: set them alike for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from export.publication.published import answering_version
from export.publication.served import CONFIG_FILE, find_rollout, read_served
from kennel.api.errors import ApiError
from models.errors import ConflictError
from models.wire.config import published_versions, read_model_names

if TYPE_CHECKING:
    from kennel.client import Client

_VARIABLES: Final = ("DEFAULT_MODEL", "MODEL_NAMES")
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class DefaultModel:
    """The default model beside the others.

    Attributes:
        name: of the default model; None: no model is published.
        decided_by: the variable that names it, or models.config.
        served: all published models, in the order of models.config.
    """

    name: str | None
    decided_by: str
    served: tuple[str, ...]

    @property
    def others(self) -> list[str]:
        """The published models that are not the default model."""
        return [each for each in self.served if each != self.name]

    @property
    def is_missing(self) -> bool:
        """Whether a variable names a model that is not published."""
        return self.name is not None and self.name not in self.served

    def sentence(self, exported: str | None = None) -> str:
        """Which model answers requests that name no model, and what changes that.

        *exported* is the model that was exported just now.
        """
        if self.name is None:
            return "no model is published yet: kennel train, then kennel export"
        variable = f"{self.decided_by}={self.name}"
        if self.is_missing:
            there = ", ".join(self.served) or "none"
            return (
                f"{variable} names no published model (there are: {there}): requests "
                f"that name no model are refused until {self.decided_by} is changed"
            )
        is_other = exported not in {None, self.name}
        still = "still " if is_other else ""
        answers = f"{self.name} {still}answers requests that name no model"
        if self.decided_by in _VARIABLES:
            return f"{answers}, because {self.decided_by} says so"
        if self.others:
            other = exported if is_other else "NAME"
            return f"{answers}; kennel default {other} changes that"
        return answers


def find_default(env: Mapping[str, str], models_dir: Path) -> DefaultModel:
    """The default model of an API that has the variables *env* and serves *models_dir*.

    Raises:
        InvalidRequestError: a variable holds an impossible name, or models.config is
            broken.
    """
    served = tuple(read_served(models_dir))
    for variable in _VARIABLES:
        if names := read_model_names(env, variable):
            return DefaultModel(names[0], variable, served)
    return DefaultModel(next(iter(served), None), CONFIG_FILE, served)


def wait_until_loaded(
    client: Client, name: str, seconds: float, tell: Callable[[str], None]
) -> None:
    """Return when a version of the model *name* answers, as the API sees it.

    Also when the API cannot be asked or does not know the model; *tell* hears of a wait.

    Raises:
        ConflictError: no version is loaded within *seconds*.
    """
    deadline = time.monotonic() + seconds
    told = False
    while states := _states(client, name):
        if "AVAILABLE" in states:
            return
        if time.monotonic() > deadline:
            message = (
                f"{name} is not loaded after {seconds:g} s ({', '.join(states)}): "
                "requests that name no model would fail, so nothing was changed; look "
                "at the model server's log"
            )
            raise ConflictError(message)
        if not told:
            tell(f"waiting until {name} is loaded")
            told = True
        time.sleep(_POLL_SECONDS)


def _states(client: Client, name: str) -> list[str]:
    try:
        versions = client.model(name)["versions"]
    except ApiError:
        return []
    return [str(each["state"]) for each in versions] or ["no version yet"]


def describe_models(models_dir: Path) -> str:
    """The served models, each with the version that answers and its labels.

    Raises:
        InvalidRequestError: models.config or rollouts.json is broken.
    """
    parts = []
    for name, entry in read_served(models_dir).items():
        # A model may lie elsewhere, if somebody wrote the file by hand.
        here, there = models_dir / name, entry.base_path
        loaded = entry.loaded(published_versions(here) or published_versions(there))
        answering = answering_version(loaded, find_rollout(models_dir, name))
        labels = ", ".join(f"{label}={version}" for label, version in entry.labels)
        version = f"version {answering}" if answering else "no version"
        parts.append(f"{name} {version}" + (f" ({labels})" if labels else ""))
    return ", ".join(parts)
