"""The three files of a model server: rendered, written, checked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from kennel.serving_config.batching import batching_settings
from kennel.serving_config.flags import BATCHING_FILE, MONITORING_FILE, flag_settings
from kennel.serving_config.setting import Setting, render
from kennel.serving_config.wishes import Wishes
from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.files import write_atomically
from models.wire.config import BatchingParameters, parse_batching_parameters
from models.wire.protos import MonitoringConfigMessage

FLAGS_FILE: Final = "flags"
METRICS_PATH: Final = "/monitoring/prometheus/metrics"
"""TensorFlow Serving's own default."""

_COMMAND: Final = "kennel serving-config"
_MONITORING: Final = (
    Setting(
        "prometheus_config",
        METRICS_PATH,
        f'prometheus_config {{ enable: true path: "{METRICS_PATH}" }}',
        "Requests by status, latencies and time in the batching queue of each model.",
    ),
)


@dataclass(frozen=True)
class ServingConfig:
    """All settings of a model server."""

    batching: tuple[Setting, ...]
    monitoring: tuple[Setting, ...]
    flags: tuple[Setting, ...]

    def texts(self) -> dict[str, str]:
        """The text of each file, by its name."""
        return {
            BATCHING_FILE: render(
                f"How requests are gathered into batches; written by `{_COMMAND}`.",
                self.batching,
            ),
            MONITORING_FILE: render(
                f"What the model server tells Prometheus; written by `{_COMMAND}`.",
                self.monitoring,
            ),
            FLAGS_FILE: render(
                "The model server's flags, one a line; written by "
                f"`{_COMMAND}`. By hand: tensorflow_model_server "
                f"$(grep -v '^#' {FLAGS_FILE})",
                self.flags,
            ),
        }


def serving_config(wishes: Wishes, *, per_model: bool = False) -> ServingConfig:
    """The settings for *wishes*, checked as the server checks them."""
    config = ServingConfig(
        tuple(batching_settings(wishes)),
        _MONITORING,
        tuple(flag_settings(wishes, per_model=per_model)),
    )
    check_texts(config.texts())
    return config


def write_files(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Put *texts* into *folder*; the paths of the files.

    Raises:
        OSError: the disk is full or read-only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_atomically(path, text.encode())
        # A container reads them as another user.
        path.chmod(0o644)
    return paths


def read_files(folder: Path) -> dict[str, str]:
    """The texts of the files in *folder*.

    Raises:
        InvalidRequestError: one is missing or no text.
    """
    texts = {}
    for name in (BATCHING_FILE, MONITORING_FILE, FLAGS_FILE):
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            message = f"{folder / name} cannot be read: {error}. `{_COMMAND} --output "
            raise InvalidRequestError(f"{message}{folder}` writes it") from error
    return texts


def check_texts(texts: Mapping[str, str]) -> BatchingParameters:
    """Return the batching parameters if a server takes the files, and our calls.

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


def flags_in(text: str) -> list[str]:
    """The flags in a file of them, without its comments."""
    return shlex.split(text, comments=True)
