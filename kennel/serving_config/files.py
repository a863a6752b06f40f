"""TensorFlow Serving's files for a machine: rendered, written, checked.

The folder ``templates`` has the files, each value below its reason. Sources: TensorFlow
Serving's batching guide (tensorflow_serving/batching/README.md), and measurements with
VGG16 (docs/sizing.md).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from google.protobuf import text_format
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.files import write_atomically
from models.wire.config import (
    PER_MODEL_FILE,
    BatchingParameters,
    check_model_name,
    parse_batching_parameters,
    published_models,
    published_versions,
    read_batching_parameters,
)
from models.wire.protos import MonitoringConfigMessage
from service.settings import ServiceSettings
from worker.yielding import FULL_LOAD

BATCHING_FILE: Final = "batching.config"
MONITORING_FILE: Final = "monitoring.config"
FLAGS_FILE: Final = "flags"

LARGEST_BATCH: Final = 256
"""39 MB of pixels for VGG16; larger batches come near the limit of a message."""

_FILES: Final = (BATCHING_FILE, MONITORING_FILE, FLAGS_FILE)
_MODEL_KEYS: Final = ("max_batch", "latency_budget")
_OTHER_CALLS: Final = 16
"""Probes, model cards and states, which also take a thread."""

Device: TypeAlias = Literal["cpu", "gpu"]


@dataclass(frozen=True)
class ServingOptions:
    """The input of the files: the server's machine, its clients, its latency budget.

    Attributes:
        cores: of the model server's machine or container.
        max_batch: images that the model computes at once.
        latency_budget_ms: for a request inside the model server, when it is busy.
        api_processes: of all API containers together.
        workers: job workers, each with as many calls as it makes at full load.
    """

    device: Device = "cpu"
    cores: int = 1
    max_batch: int = MAX_BATCH_SIZE
    latency_budget_ms: float = 1000.0
    api_processes: int = ServiceSettings.web_workers
    workers: int = 16

    def __post_init__(self) -> None:
        """Refuse an impossible batch size.

        Raises:
            InvalidRequestError: the message says what to use.
        """
        if not 2 <= self.max_batch <= LARGEST_BATCH:
            message = (
                f"a batch of {self.max_batch} images is not possible: use 2 to "
                f"{LARGEST_BATCH} (a lone image is computed by other kernels than a "
                "batch, with other last digits)"
            )
            raise InvalidRequestError(message)
        if self.device == "gpu" and self.max_batch not in powers_of_two(LARGEST_BATCH):
            message = f"a GPU's batch must be a power of two, not {self.max_batch}"
            raise InvalidRequestError(message)

    @property
    def calls(self) -> int:
        """Calls that the clients can make at the same time."""
        api = self.api_processes * ServiceSettings.web_threads
        return api + self.workers * FULL_LOAD.calls + _OTHER_CALLS

    @property
    def images(self) -> int:
        """Images that the clients can have sent at the same time."""
        api = self.api_processes * ServiceSettings.max_in_flight
        return api + self.workers * FULL_LOAD.calls * MAX_BATCH_SIZE

    @property
    def batch_threads(self) -> int:
        """Batches that are computed at the same time."""
        return min(2, self.cores) if self.device == "gpu" else max(1, self.cores // 8)

    @property
    def threads_per_batch(self) -> int:
        """Cores for one batch; 0: TensorFlow may use all."""
        shared = self.device == "cpu" and self.batch_threads > 1
        return self.cores // self.batch_threads if shared else 0


@dataclass(frozen=True)
class ModelOptions:
    """One model's own values; None: as for all other models."""

    name: str
    max_batch: int | None = None
    latency_budget_ms: float | None = None

    def applied_to(self, options: ServingOptions) -> ServingOptions:
        """*options* with this model's own values.

        Raises:
            InvalidRequestError: the values are impossible.
        """
        return replace(
            options,
            max_batch=self.max_batch or options.max_batch,
            latency_budget_ms=self.latency_budget_ms or options.latency_budget_ms,
        )


def serving_files(
    options: ServingOptions, *, per_model: bool = False
) -> dict[str, str]:
    """The text of each file by its name, checked as the server checks it.

    With *per_model*, the server is told that versions have batching files of their own.
    """
    texts = {name: _render(name, options, per_model=per_model) for name in _FILES}
    check_serving_files(texts)
    return texts


def model_files(
    models_dir: Path, options: ServingOptions, own: Iterable[ModelOptions]
) -> dict[str, str]:
    """The batching files of all published models by their paths in *models_dir*.

    Models without *own* values get a file, too: without one they would not be batched.
    A model's file lies in each of its version folders, and beside them, from where
    `kennel export` copies it into each new version.

    Raises:
        InvalidRequestError: a model's values are impossible.
    """
    by_name = {each.name: each for each in own}
    texts: dict[str, str] = {}
    for name in published_models(models_dir):
        values = by_name.get(name, ModelOptions(name)).applied_to(options)
        text = _render(BATCHING_FILE, values, model=name)
        parse_batching_parameters(text, name)
        texts |= dict.fromkeys(_model_paths(models_dir, name), text)
    return texts


def parse_model_options(texts: Iterable[str], models_dir: Path) -> list[ModelOptions]:
    """The options in *texts*, for example ``solar:max_batch=8,latency_budget=300``.

    Raises:
        InvalidRequestError: a text is malformed, or its model is not published.
    """
    options = [_parse_model(text) for text in texts]
    published = published_models(models_dir)
    for each in options:
        if each.name not in published:
            message = f"--model {each.name}: {models_dir} has no such model"
            raise InvalidRequestError(f"{message}, only {published}")
    return options


def write_files(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write *texts* into *folder*; returns the paths of the files.

    Raises:
        OSError: the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text)
        # A container reads the files as another user.
        path.chmod(0o644)
    return paths


def read_files(folder: Path) -> dict[str, str]:
    """The texts of the files in *folder*, by name.

    Raises:
        InvalidRequestError: a file is missing or not UTF-8.
    """
    texts = {}
    for name in _FILES:
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = (
                f"{folder / name} cannot be read: {error}. `kennel serving-config "
            )
            raise InvalidRequestError(
                f"{message}--output {folder}` writes it"
            ) from error
    return texts


def flags_in(text: str) -> list[str]:
    """The flags in a file of them, without its comments."""
    return shlex.split(text, comments=True)


def check_serving_files(texts: Mapping[str, str]) -> BatchingParameters:
    """Check that a server accepts the files, and our calls; the batching parameters.

    Raises:
        InvalidRequestError: it would not; the message names file, value and remedy.
    """
    parameters = parse_batching_parameters(texts[BATCHING_FILE], BATCHING_FILE)
    if parameters.max_batch_size < MAX_BATCH_SIZE:
        message = (
            f"{BATCHING_FILE}: max_batch_size {parameters.max_batch_size} would refuse "
            f"calls of the API and the workers: use at least {MAX_BATCH_SIZE}, and "
            "max_execution_batch_size for smaller parts"
        )
        raise InvalidRequestError(message)
    if parameters.enable_large_batch_splitting:
        _check_parts(parameters)
    try:
        text_format.Parse(texts[MONITORING_FILE], MonitoringConfigMessage())
    except text_format.ParseError as error:
        raise InvalidRequestError(f"{MONITORING_FILE}: {error}") from error
    return parameters


def check_model_files(models_dir: Path) -> None:
    """Check that a server accepts the batching files of the published models.

    Raises:
        InvalidRequestError: it would not; the message names file, value and remedy.
    """
    for name in published_models(models_dir):
        for path in _model_paths(models_dir, name):
            if (models_dir / path).exists():
                read_batching_parameters(models_dir / path)


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 ... up to *largest*."""
    return [1 << power for power in range(largest.bit_length())]


def _render(
    name: str, options: ServingOptions, *, model: str = "", per_model: bool = False
) -> str:
    environment = Environment(
        loader=PackageLoader(__package__),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    values = {
        each: getattr(options, each)
        for each in dir(options)
        if not each.startswith("_")
    }
    return environment.get_template(name).render(
        values,
        model=model,
        per_model=per_model,
        largest_call=MAX_BATCH_SIZE,
        allowed_batch_sizes=_allowed_batch_sizes(options),
        batch_timeout_micros=_batch_timeout_micros(options),
        grpc_threads=64 * ceil(options.calls / 64),
        # Room for all images that the clients can send: a refused call would only be
        # repeated. Twice, because calls are not split to fill a batch.
        waiting_batches=ceil(2 * options.images / options.max_batch),
    )


def _batch_timeout_micros(options: ServingOptions) -> int:
    if options.device == "cpu":
        return 0
    return min(2000, int(1000 * options.latency_budget_ms / 10))


def _allowed_batch_sizes(options: ServingOptions) -> list[int]:
    steps = powers_of_two(options.max_batch)
    if options.max_batch >= MAX_BATCH_SIZE:
        return steps if options.device == "gpu" else []
    parts = range(2, options.max_batch + 1) if options.device == "cpu" else steps[1:]
    return [*parts, MAX_BATCH_SIZE]


def _check_parts(parameters: BatchingParameters) -> None:
    sizes = parameters.allowed_batch_sizes
    if 1 in (sizes or (1,)):
        message = (
            f"{BATCHING_FILE}: split calls must not leave a lone image, whose last "
            "digits differ: let allowed_batch_sizes begin with 2"
        )
        raise InvalidRequestError(message)
    if parameters.computed_at_once not in sizes:
        message = (
            f"{BATCHING_FILE}: full parts of {parameters.computed_at_once} images "
            f"would be padded to more: add {parameters.computed_at_once}, which is "
            "max_execution_batch_size, to allowed_batch_sizes"
        )
        raise InvalidRequestError(message)


def _model_paths(models_dir: Path, name: str) -> list[str]:
    versions = published_versions(models_dir / name)
    folders = (name, *(f"{name}/{version}" for version in versions))
    return [f"{folder}/{PER_MODEL_FILE}" for folder in folders]


def _parse_model(text: str) -> ModelOptions:
    name, _, rest = text.partition(":")
    given: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in _MODEL_KEYS or not value.isdecimal() or not int(value):
            keys = ", ".join(_MODEL_KEYS)
            message = f"--model {text}: {part!r} is none of {keys}=NUMBER"
            raise InvalidRequestError(message)
        given[key] = int(value)
    return ModelOptions(check_model_name(name), *map(given.get, _MODEL_KEYS))
