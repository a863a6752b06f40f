"""Which versions are loaded: folders are polled, new versions swapped in, old ones let go.

A new version is loaded and warmed up before an old one goes, so no request fails in
between; requests that hold the old one finish on it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import grpc
import tensorflow as tf

from models.errors import InvalidRequestError
from models.server.batching import Batching
from models.server.loaded import LoadedModel, VersionState
from models.server.servable import Servable
from models.server.serving_error import ServingError
from models.wire.config import ModelEntry

log = logging.getLogger(__name__)

MAX_LOAD_ATTEMPTS = 5
LOAD_RETRY_SECONDS = 60.0
"""TensorFlow Serving's ``max_num_load_retries`` and its interval."""

_LOAD_ERRORS: Final = (
    OSError,
    ValueError,
    tf.errors.OpError,
    ServingError,
    InvalidRequestError,
)


class VersionManager:
    """All models of a server; `poll` does the loading, the rest only look."""

    def __init__(
        self,
        entries: Callable[[], Sequence[ModelEntry]],
        batching: Batching,
    ) -> None:
        """Serve what *entries* returns; it is asked again at each poll."""
        self._entries = entries
        self._batching = batching
        self._models: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()

    def poll(self) -> None:
        """Look once at the configuration and the folders; load and unload."""
        entries = {entry.name: entry for entry in self._entries()}
        with self._lock:
            for name in set(self._models) - set(entries):
                log.info("model %s: no longer served", name)
                del self._models[name]
            for name, entry in entries.items():
                self._models.setdefault(name, LoadedModel(entry)).entry = entry
            models = list(self._models.values())
        for model in models:
            self._update(model)

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
        wanted = model.wanted_versions()
        if not wanted and model.servables:
            return  # the storage looks empty: what is loaded goes on answering
        for version in wanted:
            with self._lock:
                model.states.setdefault(version, VersionState("START"))
        for version in wanted:
            if version not in model.servables:
                self._load(model, version)
        self._swap(model, wanted)

    def _swap(self, model: LoadedModel, wanted: Sequence[int]) -> None:
        # In one step: no request is answered by a version that is on its way out.
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
        exhausted = state.attempts > MAX_LOAD_ATTEMPTS
        if exhausted or time.monotonic() < state.next_attempt:
            return
        name = model.entry.name
        self._set(model, version, VersionState("LOADING", attempts=state.attempts))
        began = time.monotonic()
        try:
            folder = model.entry.base_path / str(version)
            batching = self._batching.of_version(folder)
            servable = Servable(name, version, folder, batching)
            warmed = servable.warm_up()
        except _LOAD_ERRORS as error:
            self._failed(model, version, state.attempts + 1, error)
            return
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

    def _failed(
        self, model: LoadedModel, version: int, attempts: int, error: Exception
    ) -> None:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        next_attempt = time.monotonic() + LOAD_RETRY_SECONDS
        self._set(model, version, VersionState("END", reason, attempts, next_attempt))
        log.error("model %s version %d: %s", model.entry.name, version, reason)

    def _set(self, model: LoadedModel, version: int, state: VersionState) -> None:
        with self._lock:
            model.states[version] = state
