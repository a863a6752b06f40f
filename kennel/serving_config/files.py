"""TensorFlow Serving's files for a machine, every value with its reason as a comment.

Sources: TensorFlow Serving's batching guide (tensorflow_serving/batching/README.md) and
what was measured here with VGG16 (docs/sizing.md). A model's own file lies beside its
versions, from where `kennel export` puts it into each new one, and in the versions that
are there already.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Final, Literal, TypeAlias

from google.protobuf import text_format

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

Device: TypeAlias = Literal["cpu", "gpu"]

LARGEST_BATCH: Final = 256
"""At the size of VGG16, 39 MB of pixels: more comes near the limit of a message."""

_OTHER_CALLS: Final = 16
"""Probes, model cards and states, which also take a thread."""


@dataclass(frozen=True)
class Clients:
    """Who calls the model server; the defaults are the compose file's, with room.

    Attributes:
        api_processes: of all API containers together.
        workers: job workers, each with so many calls as it makes at full load.
    """

    api_processes: int = ServiceSettings.web_workers
    workers: int = 16

    @property
    def calls(self) -> int:
        """Calls that can be under way at the same time."""
        api = self.api_processes * ServiceSettings.web_threads
        return api + self.workers * FULL_LOAD.calls + _OTHER_CALLS

    @property
    def images(self) -> int:
        """Images that all clients together can have sent at the same time."""
        api = self.api_processes * ServiceSettings.max_in_flight
        return api + self.workers * FULL_LOAD.calls * MAX_BATCH_SIZE


@dataclass(frozen=True)
class ServingOptions:
    """What the files are computed from.

    Attributes:
        cores: of the model server's machine or container.
        max_batch: images that the model computes at once.
        latency_budget_ms: for a request inside the model server, when it is busy.
    """

    device: Device = "cpu"
    cores: int = 1
    max_batch: int = MAX_BATCH_SIZE
    latency_budget_ms: float = 1000.0
    clients: Clients = field(default_factory=Clients)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidRequestError: which value, and what to use.
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
    def splits(self) -> bool:
        """A call of the largest size is computed in parts."""
        return self.max_batch < MAX_BATCH_SIZE

    @property
    def batch_threads(self) -> int:
        """Batches that are computed at the same time."""
        return min(2, self.cores) if self.device == "gpu" else max(1, self.cores // 8)

    @property
    def threads_per_batch(self) -> int:
        """Cores for one batch; 0: TensorFlow may use all."""
        threads = self.batch_threads
        shared = self.device == "cpu" and threads > 1
        return self.cores // threads if shared else 0

    @property
    def waiting_batches(self) -> int:
        """Room for all that the clients can send: a refusal would only be repeated.

        Twice, because calls are not cut to fill a batch: it may be half full.
        """
        return ceil(2 * self.clients.images / self.max_batch)

    @property
    def batch_timeout_micros(self) -> int:
        """How long an incomplete batch waits for more, in microseconds."""
        if self.device == "cpu":
            return 0
        return min(2000, int(1000 * self.latency_budget_ms / 10))


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 ... up to *largest*."""
    return [1 << power for power in range(largest.bit_length())]


def batching_settings(wishes: ServingOptions) -> list[Setting]:
    """The fields of a batching parameters file, in the order to read them."""
    return [*_sizes(wishes), *_waiting(wishes), *_padding(wishes)]


def _sizes(wishes: ServingOptions) -> Iterator[Setting]:
    yield wrapped_field(
        "max_batch_size",
        _largest_request(wishes),
        "Images in one request; a larger one is refused with INVALID_ARGUMENT. The API "
        f"and the workers send up to {MAX_BATCH_SIZE}. Throughput is flat past 8 to 32 "
        "on a CPU (VGG16: 17 images/s at 8, 16 to 18 at 32) and past 16 to 32 on an "
        "A100 (ResNet-50: 2760 at 16, 2858 at 32, 2662 at 128).",
    )
    if wishes.splits:
        yield from _splitting(wishes)


def _largest_request(wishes: ServingOptions) -> int:
    return max(wishes.max_batch, MAX_BATCH_SIZE)


def _splitting(wishes: ServingOptions) -> Iterator[Setting]:
    yield wrapped_field(
        "enable_large_batch_splitting",
        True,
        "A request of more images than are computed at once is computed in parts.",
    )
    yield wrapped_field(
        "max_execution_batch_size",
        wishes.max_batch,
        "Images that are computed at once. It bounds how long a batch takes and its "
        "memory, not how long a request waits behind a folder job's call: parts are "
        "computed in the order in which calls came.",
    )


def _waiting(wishes: ServingOptions) -> Iterator[Setting]:
    yield wrapped_field(
        "batch_timeout_micros",
        wishes.batch_timeout_micros,
        _TIMEOUT[wishes.device],
    )
    yield wrapped_field("num_batch_threads", wishes.batch_threads, _why_threads(wishes))
    yield wrapped_field(
        "max_enqueued_batches",
        wishes.waiting_batches,
        "More than the clients can send at once "
        f"({wishes.clients.images} images: MAX_IN_FLIGHT of "
        f"{wishes.clients.api_processes} API processes and the calls of "
        f"{wishes.clients.workers} workers, in batches that may be half full): "
        "overload is refused by the API, which knows the budget of each request, not "
        "here with UNAVAILABLE.",
    )


_TIMEOUT: Final = {
    "cpu": "A batch goes as soon as a thread is free: an idle server adds no delay, a "
    "busy one gathers meanwhile (the guide's first value for a CPU).",
    "gpu": "A GPU is so fast that requests are worth waiting for: 2 ms, or a tenth of "
    "the latency budget if that is less (the guide: 1 to 10 ms).",
}


def _why_threads(wishes: ServingOptions) -> str:
    if wishes.device == "gpu":
        return "One batch computes while the next is copied. More only share the GPU."
    if wishes.batch_threads > 1:
        return (
            f"{wishes.cores} cores: one batch for each 8 of them (servers of 8 vCPU did "
            "best in TensorFlow's blog of July 2022; measure yours). Times "
            "--tensorflow_intra_op_parallelism it must not exceed the cores."
        )
    return (
        "One batch at a time gets all cores. TensorFlow Serving's default, one thread "
        "a core, makes batches small and lets them fight for the cores "
        "(tensorflow/serving issue 1529)."
    )


def _padding(wishes: ServingOptions) -> Iterator[Setting]:
    if wishes.splits:
        yield plain_field("allowed_batch_sizes", _parts(wishes), _PARTS)
    elif wishes.device == "gpu":
        sizes = powers_of_two(wishes.max_batch)
        yield plain_field("allowed_batch_sizes", sizes, _STEPS)
    yield plain_field(
        "pad_variable_length_inputs",
        [False],
        "All images of a version have one size; another one is an error to report.",
    )


def _parts(wishes: ServingOptions) -> list[int]:
    parts = list(range(2, wishes.max_batch + 1))
    if wishes.device == "gpu":
        parts = powers_of_two(wishes.max_batch)[1:]
    return [*parts, _largest_request(wishes)]


_PARTS: Final = (
    "Never one: the rest of a split call would be computed by other kernels than its "
    "other images, and the last digits of a folder job's CSV would depend on chance. A "
    "lone image is computed as two. The last one must be max_batch_size, or the server "
    "loads no version; no part is larger than max_execution_batch_size, so none is "
    "padded up to it."
)
_STEPS: Final = (
    "Each new size costs a GPU a set-up; padding up to a known one costs next to "
    "nothing. The last one must be max_batch_size."
)


FOLDER: Final = "/etc/kennel"
"""Where a container finds the files."""

LOAD_RETRIES: Final = 6
LOAD_RETRY_SECONDS: Final = 10

BATCHING_FILE: Final = "batching.config"
MONITORING_FILE: Final = "monitoring.config"


def flag_settings(wishes: ServingOptions, *, per_model: bool) -> list[Setting]:
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


def _threads(wishes: ServingOptions) -> Iterator[Setting]:
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


_KEYS: Final = ("max_batch", "latency_budget")


@dataclass(frozen=True)
class ModelOptions:
    """What one model is to have; None: as all others."""

    name: str
    max_batch: int | None = None
    latency_budget_ms: float | None = None

    def applied_to(self, wishes: ServingOptions) -> ServingOptions:
        """*wishes* with this model's own values.

        Raises:
            InvalidRequestError: they cannot be.
        """
        return replace(
            wishes,
            max_batch=self.max_batch or wishes.max_batch,
            latency_budget_ms=self.latency_budget_ms or wishes.latency_budget_ms,
        )


def parse_model_options(texts: Iterable[str], models_dir: Path) -> list[ModelOptions]:
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


def _parse(text: str) -> ModelOptions:
    name, _, rest = text.partition(":")
    given = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in _KEYS or not value.isdecimal() or not int(value):
            message = f"--model {text}: {part!r} is none of {', '.join(_KEYS)}=NUMBER"
            raise InvalidRequestError(message)
        given[key] = int(value)
    return ModelOptions(
        check_model_name(name), given.get("max_batch"), given.get("latency_budget")
    )


def model_texts(
    models_dir: Path, wishes: ServingOptions, single: Iterable[ModelOptions]
) -> dict[str, str]:
    """The file of each published model, by its name.

    Also of those that are not *single*: without a file a model would not be batched.

    Raises:
        InvalidRequestError: a model's values cannot be.
    """
    own = {wish.name: wish for wish in single}
    texts = {}
    for name in published_models(models_dir):
        wish = own.get(name, ModelOptions(name))
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


_WIDTH: Final = 88


@dataclass(frozen=True)
class Setting:
    """A value that TensorFlow Serving is given.

    Attributes:
        line: as the server's file has it.
        why: one or two sentences for whoever reads or changes it.
    """

    name: str
    value: str
    line: str
    why: str


def wrapped_field(name: str, value: int | bool, why: str) -> Setting:
    """A field of a message that is itself a message with one value."""
    text = str(value).lower()
    return Setting(name, text, f"{name} {{ value: {text} }}", why)


def plain_field(name: str, values: Iterable[int | bool], why: str) -> Setting:
    """A field with one or more values."""
    texts = [str(value).lower() for value in values]
    lines = "\n".join(f"{name}: {text}" for text in texts)
    return Setting(name, ",".join(texts), lines, why)


def flag(name: str, value: int | str, why: str) -> Setting:
    """A flag of the command."""
    return Setting(f"--{name}", str(value), f"--{name}={value}", why)


def render(title: str, settings: Iterable[Setting]) -> str:
    """A file that states *settings*, each below the reason for it."""
    blocks = [_comment(title)]
    blocks += [f"{_comment(each.why)}\n{each.line}" for each in settings]
    return "\n\n".join(blocks) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


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


def serving_config(wishes: ServingOptions, *, per_model: bool = False) -> ServingConfig:
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
