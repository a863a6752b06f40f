"""The catalog of served models: names, cards and versions, learnt from the model server.

Cards are kept per (model, version), which never changes once published. Which version
is the current one is only *assumed* from the last answer; the predictor checks it
against the version that really answered.

Names come from the settings and from the model server's own configuration file, which
is read again whenever it changes: a newly published model appears without a restart.
GET /v1/models shows the catalog to clients.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, jsonify, request

from models.contract import ModelCard
from models.errors import (
    InvalidRequestError,
    KennelError,
    ModelContractError,
    ModelUnavailableError,
    NotFoundError,
    quoted,
    quoted_names,
)
from models.files import WatchedFile
from models.wire.client import ModelServer
from models.wire.config import read_model_config
from models.wire.messages import AVAILABLE, LOADING_STATES, ModelRef, VersionStatus
from service.http.budget import Budget, read_budget
from service.http.parameters import WORD, read_positive

LOAD_FAILED: Final = "the model server's log says why"
"""Shown instead of the server's message, which holds paths and TensorFlow's sources."""

CONFIG_LOOK_SECONDS: Final = 0.5
"""Between two checks of the configuration file: each releases the interpreter's lock."""

PROBE_SECONDS: Final = 2.0
"""The longest wait of a readiness probe for the model server."""

logger = logging.getLogger(__name__)


class Catalog:
    """Names and cards of the served models; thread-safe."""

    def __init__(
        self,
        client: ModelServer,
        names: Callable[[], tuple[str, ...]],
        default: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Query *client* about the models that *names* returns.

        *clock*, in seconds, measures how long a version has been loading.
        """
        self._client = client
        self._names = names
        self._default = default
        self._lock = threading.Lock()
        self._cards: dict[tuple[str, int], ModelCard] = {}
        self._assumed: dict[tuple[str, str | None], ModelCard] = {}
        self._clock = clock
        self._coming: dict[str, dict[int, float]] = {}
        self._failed: dict[str, set[str]] = {}

    def names(self) -> tuple[str, ...]:
        """The served models, in the configured order."""
        names = self._names()
        return names if names or self._default is None else (self._default,)

    def default_name(self) -> str:
        """The model that answers when a request names none.

        Raises:
            ModelUnavailableError: no model is known yet, or DEFAULT_MODEL names none of
                those that are.
        """
        names = self.names()
        if not names:
            raise ModelUnavailableError(
                "no model is known: publish one and set MODEL_NAMES or "
                "MODEL_CONFIG_FILE",
                visitor_message="this service has no model yet: its operator has to "
                "publish one",
            )
        name = self._default or names[0]
        if name not in names:
            raise ModelUnavailableError(
                f"DEFAULT_MODEL={name} names no served model: change it to one of "
                f"{quoted_names(names)}, or unset it",
                visitor_message="no default model is served: name one of "
                f"{quoted_names(names)} in the request",
            )
        return name

    def find_default(self) -> str | None:
        """As `default_name`, but None where that raises."""
        try:
            return self.default_name()
        except ModelUnavailableError:
            return None

    def find(self, name: str | None) -> str:
        """*name* if it is a served model, the default for None.

        Raises:
            NotFoundError: there is no model of that name.
            ModelUnavailableError: as `default_name`.
        """
        if name is None:
            return self.default_name()
        if name not in self.names():
            message = f"no model {quoted(name)}: GET /v1/models lists what is served"
            raise NotFoundError(message, code="model_not_found")
        return name

    def card(self, model: ModelRef, timeout_seconds: float) -> ModelCard:
        """The card of *model*, from memory if it is there.

        For a model that is not pinned it may be that of the previous version.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `describe`.
        """
        with self._lock:
            if model.version is not None:
                known = self._cards.get((model.name, model.version))
            else:
                known = self._assumed.get((model.name, model.label))
        return known or self.describe(model, timeout_seconds)

    def describe(self, model: ModelRef, timeout_seconds: float) -> ModelCard:
        """The card of the version that serves *model* at this moment.

        Raises:
            NotFoundError: no such version or label.
            ModelUnavailableError: not now (also: not loaded yet).
            ModelContractError: the server's answer holds no card.
        """
        try:
            card = self._client.describe(model, timeout_seconds)
        except NotFoundError as error:
            raise self.interpret(error, model, timeout_seconds) from error
        self.assume(model, card)
        return card

    def assume(self, model: ModelRef, card: ModelCard) -> None:
        """Remember *card*, and that its version was the last to answer for *model*."""
        with self._lock:
            self._cards[(model.name, card.version)] = card
            if model.version is None:
                self._assumed[(model.name, model.label)] = card

    def card_of_answer(
        self, model: ModelRef, version: int, timeout_seconds: float
    ) -> ModelCard:
        """The card of *version*, which answered for *model* and so is its current one.

        Raises:
            ModelContractError: *model* is pinned to another version.
            NotFoundError, ModelUnavailableError: as `describe`.
        """
        if model.version is not None:
            message = f"asked for {model}, the model server answered with {version}"
            raise ModelContractError(message)
        card = self.card(ModelRef(model.name, version=version), timeout_seconds)
        self.assume(model, card)
        return card

    def published_card(
        self, name: str, version: int, timeout_seconds: float
    ) -> ModelCard | None:
        """The card of one version; None if it has none or was unloaded just now.

        Raises:
            ModelUnavailableError: the model server cannot answer now.
        """
        try:
            return self.card(ModelRef(name, version=version), timeout_seconds)
        except (ModelContractError, NotFoundError):
            return None

    def versions(self, name: str, timeout_seconds: float) -> list[VersionStatus]:
        """The versions of model *name*, newest first; none if the server has none.

        A loading version has the time for which this process has seen it load. The
        reason why a version cannot be loaded is logged once, and not sent to clients.

        Raises:
            ModelUnavailableError, ModelContractError: as `describe`.
        """
        try:
            versions = self._client.versions(name, timeout_seconds)
        except NotFoundError:
            versions = []
        self._log_failures(name, versions)
        return self._timed(name, versions)

    def interpret(
        self, error: NotFoundError, model: ModelRef, timeout_seconds: float
    ) -> KennelError:
        """The error that "not found" of the model server means for a served model.

        A server that has just started answers "not found" for versions that it is still
        loading, also if other servers have loaded them already: that is "not now", and
        the client should try again.
        """
        versions = self.versions(model.name, timeout_seconds)
        wanted = [each for each in versions if model.version in (None, each.version)]
        reasons = "; ".join(each.problem for each in wanted if each.problem)
        served = any(each.state == AVAILABLE for each in versions)
        present = any(each.state in {AVAILABLE, *LOADING_STATES} for each in wanted)
        if served and model.is_exact and not (model.version is not None and present):
            return NotFoundError(_joined(str(error), reasons), code=error.code)
        message = f"model {model} is not loaded yet: try again"
        return ModelUnavailableError(_joined(message, reasons))

    def _log_failures(self, name: str, versions: Sequence[VersionStatus]) -> None:
        problems = {each.problem for each in versions if each.error or each.refusal}
        with self._lock:
            new = problems - self._failed.get(name, set())
            self._failed[name] = problems
        for problem in sorted(new):
            logger.warning("model %s: %s", name, problem)

    def _timed(
        self, name: str, versions: Sequence[VersionStatus]
    ) -> list[VersionStatus]:
        now = self._clock()
        with self._lock:
            seen = self._coming.get(name, {})
            since = {
                each.version: seen.get(each.version, now)
                for each in versions
                if each.state in LOADING_STATES
            }
            self._coming[name] = since
        return [
            replace(
                each,
                error=LOAD_FAILED if each.error else "",
                loading_seconds=now - since.get(each.version, now),
            )
            for each in versions
        ]


def _joined(message: str, reasons: str) -> str:
    return f"{message} ({reasons})" if reasons else message


class ModelNames:
    """The names of the served models, in order, from settings and a file; thread-safe."""

    def __init__(
        self,
        fixed: tuple[str, ...],
        config_file: Path | None = None,
        look_seconds: float = CONFIG_LOOK_SECONDS,
    ) -> None:
        """The names *fixed* and those in *config_file*, which need not exist yet.

        The file is checked for changes every *look_seconds*.

        Raises:
            InvalidRequestError: the file is not a model server configuration.
        """
        self._fixed = fixed
        self._was_there = False
        self._configured = (
            WatchedFile(config_file, self._read, "model names", look_seconds)
            if config_file
            else None
        )

    def __call__(self) -> tuple[str, ...]:
        """The names now; while the file is broken or gone, the last good ones."""
        if self._configured is None:
            return self._fixed
        return tuple(dict.fromkeys([*self._fixed, *self._configured()]))

    def _read(self, config_file: Path) -> tuple[str, ...]:
        if not self._was_there and not config_file.exists():
            return ()
        names = tuple(entry.name for entry in read_model_config(config_file))
        self._was_there = True
        return names


def read_model(query: Mapping[str, str], catalog: Catalog) -> ModelRef:
    """The model that the parameters ``model``, ``version`` and ``label`` of *query* name.

    Raises:
        InvalidRequestError: impossible values, or a version and a label.
        NotFoundError: there is no such model.
        ModelUnavailableError: none is named and none is known yet.
    """
    version = read_positive(query, "version")
    label = query.get("label")
    if version is not None and label is not None:
        raise InvalidRequestError("version and label: use one of the two")
    if label is not None and not re.fullmatch(WORD, label):
        message = (
            f"label={quoted(label)}: use up to 64 letters, digits, '.', '_' and '-'"
        )
        raise InvalidRequestError(message)
    return ModelRef(catalog.find(query.get("model")), version, label)


def available_versions(
    catalog: Catalog, name: str, timeout_seconds: float
) -> list[int]:
    """The versions of model *name* that answer, newest first, at least one.

    Raises:
        ModelUnavailableError: there is none, or the model server is away.
        ModelContractError: the model server's answer cannot be used.
    """
    versions = catalog.versions(name, timeout_seconds)
    available = [each.version for each in versions if each.state == AVAILABLE]
    if not available:
        states = ", ".join(f"{each.version} {each.state}" for each in versions)
        problems = [each.problem for each in versions if each.problem]
        reasons = "; ".join([states or "none known", *problems])
        message = f"no version of {name!r} is available ({reasons})"
        raise ModelUnavailableError(message)
    return available


@dataclass(frozen=True)
class ModelViews:
    """The views of models, and what they use."""

    catalog: Catalog
    timeout_seconds: float

    def blueprint(self) -> Blueprint:
        """The routes /v1/models and /v1/models/{name}."""
        routes = Blueprint("models", __name__)
        routes.add_url_rule("/v1/models", view_func=self.all_models)
        routes.add_url_rule("/v1/models/<word:name>", view_func=self.one_model)
        return routes

    def all_models(self) -> Response:
        """Every model with its versions, and which one answers by default."""
        budget = self._budget()
        models = [
            self._render(name, self.catalog.versions(name, budget.left()), budget)
            for name in self.catalog.names()
        ]
        return jsonify(models=models, default_model=self.catalog.find_default())

    def one_model(self, name: str) -> Response:
        """One model with its versions, also in TensorFlow Serving's form."""
        budget = self._budget()
        versions = self.catalog.versions(self.catalog.find(name), budget.left())
        model = self._render(name, versions, budget)
        return jsonify(**model, model_version_status=model_version_status(versions))

    def _budget(self) -> Budget:
        return read_budget(request.headers, self.timeout_seconds)

    def _render(
        self, name: str, versions: list[VersionStatus], budget: Budget
    ) -> dict[str, Any]:
        return {
            "name": name,
            "versions": [self._version(name, each, budget) for each in versions],
        }

    def _version(
        self, name: str, status: VersionStatus, budget: Budget
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {"version": status.version, "state": status.state}
        if status.error:
            entry["error"] = status.error
        if status.state in LOADING_STATES:
            entry["loading_seconds"] = round(status.loading_seconds, 1)
        if status.problem:
            entry["problem"] = status.problem
        if status.state != AVAILABLE:
            return entry
        card = self.catalog.published_card(name, status.version, budget.left())
        return {**entry, "card": asdict(card)} if card else entry


def model_version_status(versions: Iterable[VersionStatus]) -> list[dict[str, Any]]:
    """The states of *versions* as TensorFlow Serving's REST API writes them."""
    return [
        {
            "version": str(each.version),
            "state": each.state,
            "status": {
                "error_code": "UNKNOWN" if each.error else "OK",
                "error_message": each.error,
            },
        }
        for each in versions
    ]
