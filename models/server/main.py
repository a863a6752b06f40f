"""The embedded model server as a process: its options, its start, its shutdown."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from models.contract import MAX_MESSAGE_BYTES
from models.environment import host_and_port
from models.errors import InvalidRequestError, KennelError
from models.server.servable import FRIENDLY, STRICT, Batching, Strictness
from models.server.service import ModelService, PredictionService
from models.server.versions import LoadRetries, VersionManager
from models.wire import protos
from models.wire.config import (
    ModelEntry,
    check_batching_flags,
    check_model_name,
    read_batching_parameters,
    read_model_config,
)

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ServerOptions:
    """TensorFlow Serving's flags, by their names; *strict* is the only one of ours."""

    port: int = 8500
    host: str = "127.0.0.1"
    model_name: str = "default"
    model_base_path: Path | None = None
    model_config_file: Path | None = None
    model_config_file_poll_wait_seconds: float = 0.0
    file_system_poll_wait_seconds: float = 1.0
    enable_batching: bool = False
    batching_parameters_file: Path | None = None
    enable_per_model_batching_parameters: bool = False
    grpc_max_threads: int = 128
    grpc_channel_arguments: str = ""
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    strict: bool = False

    @property
    def strictness(self) -> Strictness:
        """How strictly the server behaves as TensorFlow Serving."""
        return STRICT if self.strict else FRIENDLY

    @property
    def load_retries(self) -> LoadRetries:
        """How often, and how soon, a load is tried again; a negative wait counts as 0."""
        seconds = max(0, self.load_retry_interval_micros) / 1e6
        return LoadRetries(self.max_num_load_retries, seconds)

    @property
    def channel_arguments(self) -> list[tuple[str, int | str]]:
        """The pairs of ``name=value,name=value``, whole numbers as integers.

        Raises:
            InvalidRequestError: the text has another form.
        """
        text = self.grpc_channel_arguments
        pairs = [each.partition("=") for each in text.split(",") if text]
        if not all(separator for _, separator, _ in pairs):
            message = f"--grpc_channel_arguments={text}: give name=value,name=value"
            raise InvalidRequestError(message)
        return [(name, int(v) if v.isdecimal() else v) for name, _, v in pairs]


def serve(options: ServerOptions) -> None:
    """Serve until SIGTERM or SIGINT, then let calls in flight finish.

    Raises:
        InvalidRequestError: an option or a file is invalid, or the port is taken.
    """
    stopping = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda _number, _frame: stopping.set())
    versions = make_versions(options, stopping)
    if not options.strictness.serves_while_loading:
        versions.load_all(options.file_system_poll_wait_seconds)
    server = start_server(versions, options)
    log.info("serving gRPC on %s", host_and_port(options.host, options.port))
    try:
        while not stopping.is_set():
            _poll(versions)
            stopping.wait(options.file_system_poll_wait_seconds)
    finally:
        server.stop(SHUTDOWN_SECONDS).wait()
    log.info("stopped")


def make_versions(options: ServerOptions, stopping: threading.Event) -> VersionManager:
    """The versions that *options* name, none of them loaded yet.

    Raises:
        InvalidRequestError: an option or a file is invalid.
    """
    return VersionManager(
        _entries(options),
        _batching(options),
        options.load_retries,
        options.strictness,
        stopping,
    )


def start_server(versions: VersionManager, options: ServerOptions) -> Any:
    """A started gRPC server that answers from *versions*.

    Raises:
        InvalidRequestError: the port is taken, or a channel argument is invalid.
    """
    server = grpc.server(
        ThreadPoolExecutor(options.grpc_max_threads, thread_name_prefix="grpc"),
        maximum_concurrent_rpcs=options.grpc_max_threads,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # Two servers on one port would answer in turns, with different models.
            ("grpc.so_reuseport", 0),
            *options.channel_arguments,
        ],
    )
    protos.prediction_service.add_PredictionServiceServicer_to_server(
        PredictionService(versions), server
    )
    protos.model_service.add_ModelServiceServicer_to_server(
        ModelService(versions), server
    )
    address = host_and_port(options.host, options.port)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        message = f"cannot listen on {address}: is something else using the port?"
        raise InvalidRequestError(message) from error
    server.start()
    return server


def _poll(versions: VersionManager) -> None:
    try:
        versions.poll()
    except KennelError as error:
        log.warning("%s; what is loaded goes on serving", error)


def _entries(options: ServerOptions) -> Callable[[], Sequence[ModelEntry]]:
    if options.model_config_file is None:
        if options.model_base_path is None:
            raise InvalidRequestError("give --model_base_path or --model_config_file")
        name = check_model_name(options.model_name)
        kept = options.strictness.versions_kept
        entry = ModelEntry(name, _base_path(options, options.model_base_path), kept)
        return lambda: [entry]
    path = options.model_config_file
    first = read_model_config(path)
    _check_labels(options, first)
    if options.model_config_file_poll_wait_seconds <= 0:
        return lambda: first
    return lambda: read_model_config(path)


def _base_path(options: ServerOptions, path: Path) -> Path:
    if options.strictness.resolves_base_path or path.is_absolute():
        return path.absolute()
    message = f"--model_base_path={path} must be absolute, as {path.absolute()} is"
    raise InvalidRequestError(message)


def _check_labels(options: ServerOptions, entries: Sequence[ModelEntry]) -> None:
    labelled = [entry.name for entry in entries if entry.labels]
    if labelled and not options.allow_version_labels_for_unavailable_models:
        # server_core.cc checks labels before it has loaded anything.
        message = (
            f"{options.model_config_file} has labels for {', '.join(labelled)}: "
            "TensorFlow Serving does not start with labels unless it is given "
            "--allow_version_labels_for_unavailable_models=true"
        )
        raise InvalidRequestError(message)


def _batching(options: ServerOptions) -> Batching:
    file = options.batching_parameters_file
    check_batching_flags(options.enable_batching, file)
    if not options.enable_batching:
        return Batching()
    default = options.strictness.default_batching
    parameters = read_batching_parameters(file) if file else default()
    return Batching(parameters, options.enable_per_model_batching_parameters)
