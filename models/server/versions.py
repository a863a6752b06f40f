"""The loaded versions: folders are polled, new versions swapped in, old ones unloaded.

A new version is loaded and warmed up before an old one is unloaded, so no request fails in
between; requests that hold the old one finish on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

import grpc
import tensorflow as tf

from models.errors import InvalidRequestError
from models.server.servable import (
    FRIENDLY,
    Batching,
    NoAnswerError,
    Servable,
    ServingError,
    Strictness,
)
from models.wire.config import ModelEntry, published_versions

log = logging.getLogger(__name__)

_FIRST_LOADERS: Final = 64

_LOAD_ERRORS: Final = (
    OSError,
    ValueError,
    tf.errors.OpError,
    ServingError,
    NoAnswerError,
    InvalidRequestError,
)


@dataclass(frozen=True)
class LoadRetries:
    """How often, and how soon, a failed load is tried again.

    Attributes:
        count: TensorFlow Serving's ``--max_num_load_retries``.
        interval_seconds: its ``--load_retry_interval_micros``.
    """

    count: int = 5
    interval_seconds: float = 60.0


class VersionManager:
    """All models of a server; `poll` and `load_all` load versions, the rest only reads."""

    def __init__(
        self,
        entries: Callable[[], Sequence[ModelEntry]],
        batching: Batching,
        retries: LoadRetries = LoadRetries(),
        strictness: Strictness = FRIENDLY,
        stopping: threading.Event | None = None,
    ) -> None:
        """Serve the models that *entries* returns; each poll calls it again.

        Waiting for a retry ends when *stopping* is set.
        """
        self._entries = entries
        self._batching = batching
        self._retries = retries
        self._strictness = strictness
        self._stopping = stopping or threading.Event()
        self._loading = threading.Lock()
        self._models: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()

    def poll(self) -> None:
        """Read the configuration and the folders once; load and unload.

        Raises:
            InvalidRequestError: the configuration cannot be read.
        """
        for model in self._follow_entries():
            self._update(model)

    def load_all(self, poll_seconds: float) -> None:
        """Load all versions of all models at once, before any request is answered.

        Returns when each model has a version and no load is running, retries included; the
        folders of models without one are polled every *poll_seconds*.

        Raises:
            InvalidRequestError: a version had failed for good before each model had
                one; the server cannot start then.
        """
        loads: dict[tuple[str, int], Future[None]] = {}
        models: list[LoadedModel] = []
        with ThreadPoolExecutor(_FIRST_LOADERS) as pool:
            while not self._stopping.is_set():
                models = self._follow_entries()
                for model, version in self._unseen(models):
                    key = (model.entry.name, version)
                    loads[key] = pool.submit(self._load, model, version)
                if self._all_started(models):
                    break
                waiting = [each for each in loads.values() if not each.done()]
                if waiting:
                    wait(waiting, poll_seconds, FIRST_COMPLETED)
                else:
                    self._stopping.wait(poll_seconds)
        for model in models:
            self._swap(model, self._wanted(model))

    def _unseen(
        self, models: Sequence[LoadedModel]
    ) -> Iterator[tuple[LoadedModel, int]]:
        for model in models:
            for version in self._wanted(model):
                if version not in model.states:
                    self._set(model, version, VersionState("START"))
                    yield model, version

    def _all_started(self, models: Sequence[LoadedModel]) -> bool:
        with self._lock:
            outcomes = {each.entry.name: each.first_outcome() for each in models}
        found = {name: each for name, each in outcomes.items() if each is not None}
        if len(found) < len(outcomes):
            return False
        # load_servables_fast.cc: a version that has failed by now ends the server, even if
        # an older one is loaded.
        for name, (version, state) in found.items():
            if state.state == "END":
                message = (
                    f"model {name} version {version} cannot be loaded: {state.error}. "
                    "TensorFlow Serving does not start if a version's retries are over "
                    "before every model has one: remove the version, or raise "
                    "--load_retry_interval_micros"
                )
                raise InvalidRequestError(message)
        return True

    def _wanted(self, model: LoadedModel) -> list[int]:
        return model.wanted_versions(whole=self._strictness.waits_for_whole_versions)

    def _follow_entries(self) -> list[LoadedModel]:
        entries = {entry.name: entry for entry in self._entries()}
        with self._lock:
            for name in set(self._models) - set(entries):
                log.info("model %s: no longer served", name)
                del self._models[name]
            for name, entry in entries.items():
                self._models.setdefault(name, LoadedModel(entry)).entry = entry
            return list(self._models.values())

    def find(self, name: str, version: int | None, label: str | None) -> Servable:
        """The version that answers; without version or label the newest.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        with self._lock:
            model = self._models.get(name)
            servables = dict(model.servables) if model else {}
            labels = dict(model.labels) if model else {}
        if model is not None and label is not None:
            if label not in labels:
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {label}",
                )
            version = labels[label]
        number = max(servables, default=0) if version is None else version
        if number not in servables:
            wanted = "Latest" if version is None else f"Specific({version})"
            message = f"Servable not found for request: {wanted}({name})"
            raise ServingError(grpc.StatusCode.NOT_FOUND, message)
        return servables[number]

    def states(self, name: str, version: int | None) -> dict[int, VersionState]:
        """The states of a model's versions, or of one.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._lock:
            model = self._models.get(name)
            states = dict(model.states) if model else {}
        if not states:
            message = f"Could not find any versions of model {name}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, message)
        if version is None:
            return states
        if version not in states:
            message = f"Could not find version {version} of model {name}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, message)
        return {version: states[version]}

    def _update(self, model: LoadedModel) -> None:
        wanted = self._wanted(model)
        if not wanted and model.servables:
            return  # the storage looks empty: loaded versions stay
        for version in wanted:
            with self._lock:
                model.states.setdefault(version, VersionState("START"))
        for version in wanted:
            if version not in model.servables:
                self._load(model, version)
        self._swap(model, wanted)

    def _swap(self, model: LoadedModel, wanted: Sequence[int]) -> None:
        # In one step: no request is answered by a version that is being unloaded.
        with self._lock:
            loaded = [version for version in wanted if version in model.servables]
            model.labels = model.effective_labels()
            leaving = set(model.servables) - set(wanted) if loaded else set()
            for version in leaving:
                del model.servables[version]
                model.states[version] = VersionState("END")
        for version in sorted(leaving):
            log.info("model %s version %d: unloaded", model.entry.name, version)

    def _load(self, model: LoadedModel, version: int) -> None:
        state = model.states[version]
        attempts = state.attempts
        if time.monotonic() < state.next_attempt:
            return
        while attempts <= self._retries.count:
            self._set(model, version, VersionState("LOADING", attempts=attempts))
            error = self._attempt(model, version)
            if error is None:
                return
            attempts += 1
            if self._strictness.serves_while_loading or attempts > self._retries.count:
                self._failed(model, version, attempts, error)
                return
            # loader_harness.cc: the loading thread waits, and no status says why.
            log.error("model %s version %d: %s", model.entry.name, version, error)
            if self._stopping.wait(self._retries.interval_seconds):
                return
            if not self._still_wanted(model, version):
                self._failed(model, version, attempts, "no longer wanted")
                return

    def _still_wanted(self, model: LoadedModel, version: int) -> bool:
        try:
            self._follow_entries()
        except InvalidRequestError:
            log.warning("the configuration cannot be read; the one before it is kept")
        return version in self._wanted(model)

    def _attempt(self, model: LoadedModel, version: int) -> str | None:
        """Load a version; returns the reason if that fails, else None."""
        name = model.entry.name
        began = time.monotonic()
        try:
            folder = model.entry.base_path / str(version)
            batching = self._batching.of_version(folder)
            with self._loading:
                servable = Servable(name, version, folder, batching, self._strictness)
                warmed = servable.warm_up()
        except _LOAD_ERRORS as error:
            return str(error).splitlines()[0] if str(error) else type(error).__name__
        with self._lock:
            model.servables[version] = servable
            model.states[version] = VersionState("AVAILABLE")
        seconds = time.monotonic() - began
        log.info(
            "model %s version %d: available after %.1f s, %d warm-up requests",
            name,
            version,
            seconds,
            warmed,
        )
        return None

    def _failed(
        self, model: LoadedModel, version: int, attempts: int, reason: str
    ) -> None:
        next_attempt = time.monotonic() + self._retries.interval_seconds
        self._set(model, version, VersionState("END", reason, attempts, next_attempt))
        log.error("model %s version %d: %s", model.entry.name, version, reason)

    def _set(self, model: LoadedModel, version: int, state: VersionState) -> None:
        with self._lock:
            model.states[version] = state


@dataclass
class VersionState:
    """One version in GetModelStatus."""

    state: str
    error: str = ""
    attempts: int = 0
    next_attempt: float = 0.0


@dataclass
class LoadedModel:
    """One model: its versions, their states, its labels; the manager's lock guards changes."""

    entry: ModelEntry
    servables: dict[int, Servable] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    states: dict[int, VersionState] = field(default_factory=dict)

    def wanted_versions(self, *, whole: bool) -> list[int]:
        """Versions on the disk that the entry's policy loads, newest first.

        *whole*: folders without a graph are ignored.
        """
        base = self.entry.base_path
        return self.entry.loaded(
            version
            for version in published_versions(base)
            if not whole or (base / str(version) / "saved_model.pb").exists()
        )

    def first_outcome(self) -> tuple[int, VersionState] | None:
        """The newest version that is available or failed; None: all are being loaded."""
        for version, state in sorted(self.states.items(), reverse=True):
            if state.state in {"AVAILABLE", "END"}:
                return version, state
        return None

    def effective_labels(self) -> dict[str, int]:
        """The entry's labels; each keeps its old version until its new one is loaded."""
        return {
            label: version
            if version in self.servables
            else self.labels.get(label, version)
            for label, version in self.entry.labels
        }
