"""TensorFlow Serving's files: ``models.config`` and the batching parameters.

Kennel writes both; its own server reads them too, and refuses what TensorFlow Serving would
refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any, Final

from google.protobuf import text_format

from models.contract import MAX_BATCH_SIZE
from models.environment import usable_processors
from models.errors import InvalidRequestError, quoted
from models.wire.protos import BatchingParametersMessage, ModelServerConfig

VERSIONS_KEPT: Final = 2
"""Both servers keep the two newest versions loaded, so that a job pinned to the previous
one can finish during a rollout."""

_MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALL: Final = 10**9


@dataclass(frozen=True)
class ModelEntry:
    """One model of a server: its folder, the versions to load, and their labels.

    Attributes:
        versions_kept: the number of newest versions that are loaded.
        specific_versions: if any, these are loaded instead.
        labels: other names of versions, for requests that name a label.
    """

    name: str
    base_path: Path
    versions_kept: int = 1
    specific_versions: tuple[int, ...] = ()
    labels: tuple[tuple[str, int], ...] = ()

    def loaded(self, versions: Iterable[int]) -> list[int]:
        """The ones of *versions* that a server loads, newest first.

        The first one answers requests without a version.
        """
        newest = sorted(versions, reverse=True)
        if self.specific_versions:
            return [each for each in newest if each in self.specific_versions]
        return newest[: self.versions_kept]


def check_model_name(name: str) -> str:
    """*name*, if it can be a folder and part of a URL.

    Raises:
        InvalidRequestError: *name* has other characters, or too many.
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
        InvalidRequestError: a name is not possible; the message names the variable.
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
    # TensorFlow Serving refuses a file without a list, and keeps its old configuration.
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
        InvalidRequestError: the file cannot be read, is no ``models.config``, or
            TensorFlow Serving would refuse it.
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
    for refusal in _model_refusals(models):
        raise InvalidRequestError(f"{path}: {refusal}")
    return [_entry(each) for each in models]


def _model_refusals(models: Iterable[Any]) -> Iterator[str]:
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
        return VERSIONS_KEPT  # used once no version is named any more
    return int(policy.latest.num_versions or 1)


PER_MODEL_FILE: Final = "batching_params.pbtxt"
"""Read in each version's folder with ``--enable_per_model_batching_parameters``. A version
without it is not batched at all then (GetPerModelBatchingParams in bundle_factory_util.cc).
"""


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are batched (tensorflow/serving, batching guide).

    Attributes:
        max_batch_size: images in one request; a larger one is refused.
        num_batch_threads: batches that run at once; with one, all cores compute one batch.
        batch_timeout_micros: how long an incomplete batch waits; 0: it runs as soon as a
            thread is free, so an idle server adds no delay.
        max_enqueued_batches: batches that wait; beyond them requests are refused.
        allowed_batch_sizes: sizes to which batches are padded; empty: no padding, which
            is best on a CPU, where padding is pure cost. The last is *max_batch_size*.
        enable_large_batch_splitting: whether a request may be computed in parts.
        max_execution_batch_size: images in one part; 0: *max_batch_size*.
    """

    max_batch_size: int = MAX_BATCH_SIZE
    batch_timeout_micros: int = 0
    num_batch_threads: int = 1
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def computed_at_once(self) -> int:
        """The largest batch that the model ever sees."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def check(self, where: str) -> None:
        """Accept the parameters if TensorFlow Serving would load a version with them.

        Raises:
            InvalidRequestError: it would not; the message begins with *where*.
        """
        for reason in self._refusals():
            raise InvalidRequestError(f"{where}: {reason}")

    def _refusals(self) -> Iterator[str]:
        # shared_batch_scheduler.h, Create and AddQueue.
        for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                yield f"{name} {getattr(self, name)} must be at least 1"
        if self.batch_timeout_micros < 0:
            yield (
                f"batch_timeout_micros {self.batch_timeout_micros} must not be "
                "negative; 0 sends a batch as soon as a thread is free"
            )
        if not 1 <= self.computed_at_once <= self.max_batch_size:
            yield (
                f"max_execution_batch_size {self.computed_at_once} must be from 1 to "
                f"max_batch_size, {self.max_batch_size}"
            )
        yield from self._padding_refusals()

    def _padding_refusals(self) -> Iterator[str]:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        listed = ", ".join(map(str, sizes))
        if sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            yield f"allowed_batch_sizes {listed} must increase, from 1 on"
        if sizes[-1] != self.max_batch_size:
            # WrapSessionForBatching in bundle_factory_util.cc: also if calls are split.
            larger = sizes[-1] > self.max_batch_size
            remedy = "end with" if larger else "append"
            yield (
                f"the last of allowed_batch_sizes {listed} must be max_batch_size, "
                f"{self.max_batch_size}, also if calls are split: {remedy} "
                f"{self.max_batch_size}, or make max_batch_size {sizes[-1]}"
            )


def serving_defaults() -> BatchingParameters:
    """TensorFlow Serving's values for what a file does not state."""
    # shared_batch_scheduler.h
    return BatchingParameters(
        max_batch_size=1000,
        num_batch_threads=usable_processors(),
        max_enqueued_batches=10,
    )


def check_batching_flags(enable_batching: bool, parameters_file: Path | None) -> None:
    """Accept these two of TensorFlow Serving's flags if it would start with them.

    Raises:
        InvalidRequestError: it would not.
    """
    if parameters_file is not None and not enable_batching:
        # server.cc, BuildAndStart
        message = (
            f"--batching_parameters_file={parameters_file} needs "
            "--enable_batching=true beside it"
        )
        raise InvalidRequestError(message)


def read_batching_parameters(path: Path) -> BatchingParameters:
    """The parameters in a ``--batching_parameters_file``.

    Raises:
        InvalidRequestError: the file cannot be read, or TensorFlow Serving would refuse
            it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"batching parameters file {path} cannot be read: {error}"
        raise InvalidRequestError(message) from error
    return parse_batching_parameters(text, f"batching parameters file {path}")


def parse_batching_parameters(text: str, where: str) -> BatchingParameters:
    """The parameters that *text* states; an error's message begins with *where*.

    Raises:
        InvalidRequestError: *text* cannot be parsed, or TensorFlow Serving would refuse it.
    """
    try:
        message = text_format.Parse(text, BatchingParametersMessage())
    except text_format.ParseError as error:
        raise InvalidRequestError(f"{where}: {error}") from error
    stated = {field.name: value for field, value in message.ListFields()}
    parameters = serving_defaults()
    for field in fields(BatchingParameters):
        if field.name in stated:
            wrapped: dict[str, Any] = {field.name: _value(stated[field.name])}
            parameters = replace(parameters, **wrapped)
    _check_splitting(parameters, stated, where)
    parameters.check(where)
    return parameters


def _value(value: Any) -> Any:
    return value.value if hasattr(value, "value") else tuple(value)


def _check_splitting(
    parameters: BatchingParameters, stated: Mapping[str, Any], where: str
) -> None:
    # GetQueueOptions in bundle_factory_util.h takes unstated values as 0.
    if not parameters.enable_large_batch_splitting:
        return
    executed = parameters.max_execution_batch_size
    if "max_execution_batch_size" in stated and executed < 1:
        message = f"max_execution_batch_size {executed} must be at least 1"
        raise InvalidRequestError(f"{where}: {message}")
    if not {"max_execution_batch_size", "max_batch_size"} & set(stated):
        message = (
            "enable_large_batch_splitting without sizes computes parts of no image: "
            "state max_batch_size and max_execution_batch_size"
        )
        raise InvalidRequestError(f"{where}: {message}")
