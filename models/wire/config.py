"""TensorFlow Serving's ``models.config``: written for it, read by our own server too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Final

from google.protobuf import text_format

from models.errors import InvalidRequestError, quoted
from models.wire.messages import ModelServerConfig

VERSIONS_KEPT: Final = 2
"""Both servers keep the newest two loaded, so that a job pinned to the previous one can
finish during a rollout."""

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALL: Final = 10**9


@dataclass(frozen=True)
class ModelEntry:
    """One model of a server: where its versions lie, which are kept, their labels.

    Attributes:
        versions_kept: so many of the newest are loaded, if none is named.
        specific_versions: these are loaded and no others.
        labels: other names of versions, for clients that ask by label.
    """

    name: str
    base_path: Path
    versions_kept: int = 1
    specific_versions: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()

    def loaded(self, versions: Iterable[int]) -> list[int]:
        """Those of *versions* that a server loads, newest first.

        The first one answers requests that name no version.
        """
        newest = sorted(versions, reverse=True)
        if self.specific_versions:
            return [each for each in newest if each in self.specific_versions]
        return newest[: self.versions_kept]


def check_model_name(name: str) -> str:
    """Accept *name* as a folder and URL part.

    Raises:
        InvalidRequestError: it holds other characters, or too many.
    """
    if not _MODEL_NAME.fullmatch(name):
        message = (
            f"model name {quoted(name)} is not possible: use up to 64 letters, digits, "
            "'.', '_' and '-', beginning with a letter or digit"
        )
        raise InvalidRequestError(message)
    return name


def read_model_names(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    """The model names in *variable* of *env*, separated by commas; empty if unset.

    Raises:
        InvalidRequestError: one is not possible; the message names the variable.
    """
    names = [name.strip() for name in (env.get(variable) or "").split(",")]
    try:
        return tuple(check_model_name(name) for name in names if name)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{variable}: {error}") from error


def published_models(models_dir: Path) -> list[str]:
    """Names of the models in *models_dir* that have at least one version."""
    if not models_dir.is_dir():
        return []
    folders = (each for each in models_dir.iterdir() if each.is_dir())
    names = [each.name for each in folders if _MODEL_NAME.fullmatch(each.name)]
    return sorted(name for name in names if published_versions(models_dir / name))


def published_versions(base_path: Path) -> list[int]:
    """Version numbers below a model's folder, newest first."""
    if not base_path.is_dir():
        return []
    names = (each.name for each in base_path.iterdir() if each.is_dir())
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    return sorted((number for number in numbers if number > 0), reverse=True)


def default_entry(name: str, base: PurePath) -> ModelEntry:
    """The model *name* below *base*, its newest versions loaded."""
    return ModelEntry(name, Path(base / name), VERSIONS_KEPT)


def render_entries(entries: Iterable[ModelEntry]) -> str:
    """A ``models.config`` that serves *entries*, in their order.

    TensorFlow Serving ignores the order; to us the first model is the default model.
    """
    config = ModelServerConfig()
    # TensorFlow Serving refuses a file without a list, and goes on serving what it had.
    config.model_config_list.SetInParent()
    for entry in entries:
        message = config.model_config_list.config.add()
        message.name = entry.name
        message.base_path = str(entry.base_path)
        message.model_platform = "tensorflow"
        policy = message.model_version_policy
        if entry.specific_versions:
            policy.specific.versions.extend(entry.specific_versions)
        elif entry.versions_kept == _ALL:
            policy.all.SetInParent()
        else:
            policy.latest.num_versions = entry.versions_kept
        message.version_labels.update(dict(entry.labels))
    return str(text_format.MessageToString(config))


def read_model_config(path: Path) -> list[ModelEntry]:
    """The models in a ``models.config`` file.

    Raises:
        InvalidRequestError: the file cannot be read, is not such a file, or names
            what TensorFlow Serving refuses.
    """
    try:
        text = path.read_text(encoding="utf-8")
        config = text_format.Parse(text, ModelServerConfig())
    except (
        *(OSError, UnicodeDecodeError, text_format.ParseError),
        RecursionError,  # an Any may hold a configuration, that one another, ...
    ) as error:
        message = f"{path} is not a model server configuration: {error}"
        raise InvalidRequestError(message) from error
    models = config.model_config_list.config
    for refusal in _refusals(models):
        raise InvalidRequestError(f"{path}: {refusal}")
    return [_entry(each) for each in models]


def _refusals(models: Iterable[Any]) -> Iterator[str]:
    # server_core.cc, ValidateModelConfigList and GetPlatform.
    seen = set()
    for model in models:
        if model.name in seen:
            yield f"model {model.name!r} is listed twice: keep one of them"
        seen.add(model.name)
        if "://" not in model.base_path and not PurePath(model.base_path).is_absolute():
            yield (
                f"base_path {model.base_path!r} of model {model.name!r} must be "
                "absolute: begin it with /"
            )
        if not model.model_platform and not model.model_type:
            yield (
                f"model {model.name!r} has no platform: add "
                'model_platform: "tensorflow"'
            )


def _entry(config: Any) -> ModelEntry:
    return ModelEntry(
        name=config.name,
        base_path=Path(config.base_path),
        versions_kept=_versions_kept(config.model_version_policy),
        specific_versions=tuple(config.model_version_policy.specific.versions),
        labels=tuple(sorted(config.version_labels.items())),
    )


def _versions_kept(policy: Any) -> int:
    if policy.HasField("all"):
        return _ALL
    if policy.HasField("specific"):
        return VERSIONS_KEPT  # for when it is back to the newest
    return int(policy.latest.num_versions or 1)
