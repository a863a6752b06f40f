"""The flags of TensorFlow Serving's command, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Final

from kennel.serving_config.setting import Setting, flag
from kennel.serving_config.wishes import Wishes

FOLDER: Final = "/etc/kennel"
"""Where a container finds the files."""

LOAD_RETRIES: Final = 6
LOAD_RETRY_SECONDS: Final = 10

BATCHING_FILE: Final = "batching.config"
MONITORING_FILE: Final = "monitoring.config"


def flag_settings(wishes: Wishes, *, per_model: bool) -> list[Setting]:
    """The flags in the order to read them; *per_model*: versions have their own files."""
    return [*_models(), *_batching(per_model), *_threads(wishes), *_monitoring()]


def _models() -> Iterator[Setting]:
    yield flag(
        "model_config_file",
        "/models/models.config",
        "Which models and versions are served; `kennel export` writes it.",
    )
    yield flag(
        "model_config_file_poll_wait_seconds",
        10,
        "It is read again, so that new models and labels need no restart.",
    )
    yield flag(
        "file_system_poll_wait_seconds",
        5,
        "A new version is noticed this soon. The default, 1, asks a network disk for "
        "a listing of every model each second.",
    )
    yield flag(
        "allow_version_labels_for_unavailable_models",
        "true",
        "Without it, the server does not start with a labelled model: it looks at "
        "the labels before it has loaded anything.",
    )
    yield flag(
        "num_load_threads",
        1,
        "With 0, the default, a version is loaded in the loop that also serves the "
        "configuration. One thread of its own delays nobody, and the file cache is "
        "still flushed after a load, which it is not with more.",
    )
    yield flag(
        "max_num_load_retries",
        LOAD_RETRIES,
        "A version that cannot be loaded is given up after these tries, a minute with "
        "the next flag and five with the defaults. Until then newer versions are not "
        "loaded, and at a start the port stays shut.",
    )
    yield flag(
        "load_retry_interval_micros",
        LOAD_RETRY_SECONDS * 1_000_000,
        "Ten seconds. Times the tries above it must be longer than all models take to "
        "load and warm up (VGG16: 29 s on two busy cores): a version that was given up "
        "before each model had one ends the server's start.",
    )


def _batching(per_model: bool) -> Iterator[Setting]:
    yield flag("enable_batching", "true", "Without it the next file is refused.")
    yield flag("batching_parameters_file", f"{FOLDER}/{BATCHING_FILE}", "See there.")
    if per_model:
        yield flag(
            "enable_per_model_batching_parameters",
            "true",
            "batching_params.pbtxt in each version's folder says how; of the file "
            "above only the threads count, and a version without one is not batched.",
        )


def _threads(wishes: Wishes) -> Iterator[Setting]:
    clients = wishes.clients
    yield flag(
        "grpc_max_threads",
        64 * ceil(clients.calls / 64),
        "A call holds a thread until its batch is done. The default, 4 x cores, "
        'answers RESOURCE_EXHAUSTED "Server Threadpool Exhausted" to an API under '
        f"load: {clients.api_processes} API processes and {clients.workers} workers "
        f"make up to {clients.calls} calls.",
    )
    if wishes.threads_per_batch:
        yield flag(
            "tensorflow_intra_op_parallelism",
            wishes.threads_per_batch,
            "Cores of one operation: num_batch_threads of them at once fill the machine.",
        )
        yield flag(
            "tensorflow_inter_op_parallelism",
            wishes.batch_threads,
            "The layers of these networks come one after the other, so one operation "
            "a batch.",
        )


def _monitoring() -> Iterator[Setting]:
    yield flag(
        "monitoring_config_file",
        f"{FOLDER}/{MONITORING_FILE}",
        "Metrics are off without it. They are on the REST port (8501; the image's "
        "entry point sets it), which only Prometheus needs to reach.",
    )
