"""What is served: names, cards and versions, learnt from the model server over the wire.

Cards are kept per (model, version), which never changes once published. Which version
is the current one is only *assumed* from the last answer; the predictor checks it
against the version that really answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from models.card import ModelCard
from models.errors import (
    KennelError,
    ModelContractError,
    ModelUnavailableError,
    NotFoundError,
)
from models.wire.model_ref import ModelRef
from models.wire.model_server import ModelServer
from models.wire.version_status import VersionStatus

AVAILABLE: Final = "AVAILABLE"
_PRESENT: Final = frozenset({"START", "LOADING", AVAILABLE})


class Catalog:
    """Names and cards of the served models; thread-safe."""

    def __init__(
        self,
        client: ModelServer,
        names: Callable[[], tuple[str, ...]],
        default: str | None = None,
    ) -> None:
        """Ask *client* about the models that *names* knows."""
        self._client = client
        self._names = names
        self._default = default
        self._lock = threading.Lock()
        self._cards: dict[tuple[str, int], ModelCard] = {}
        self._assumed: dict[tuple[str, str | None], ModelCard] = {}

    def names(self) -> tuple[str, ...]:
        """The models that we answer for, the configured order."""
        return self._names()

    def default_name(self) -> str:
        """The model that answers when a request names none.

        Raises:
            ModelUnavailableError: no model is known yet.
        """
        name = self._default or next(iter(self.names()), None)
        if name is None:
            raise ModelUnavailableError(
                "no model is known: publish one and set MODEL_NAMES or "
                "MODEL_CONFIG_FILE"
            )
        return name

    def find(self, name: str | None) -> str:
        """*name* if we answer for it, the default for None.

        Raises:
            NotFoundError: there is no model of that name.
            ModelUnavailableError: no model is known yet.
        """
        if name is None:
            return self.default_name()
        if name not in self.names() and name != self._default:
            message = f"no model {name!r}: GET /v1/models lists what is served"
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
            raise self.explain(error, model, timeout_seconds) from error
        self.assume(model, card)
        return card

    def assume(self, model: ModelRef, card: ModelCard) -> None:
        """Remember *card*, and that its version was the last to answer for *model*."""
        with self._lock:
            self._cards[(model.name, card.version)] = card
            if model.version is None:
                self._assumed[(model.name, model.label)] = card

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

        Raises:
            ModelUnavailableError, ModelContractError: as `describe`.
        """
        try:
            return self._client.versions(name, timeout_seconds)
        except NotFoundError:
            return []

    def explain(
        self, error: NotFoundError, model: ModelRef, timeout_seconds: float
    ) -> KennelError:
        """What the model server's *error* means for a model whose name we know.

        A server that has just started says "not found" of what it is still loading, and
        one of several of what the others have loaded before it: that is "not now", and
        the client should try again.
        """
        versions = self.versions(model.name, timeout_seconds)
        coming = [each.version for each in versions if each.state in _PRESENT]
        served = any(each.state == AVAILABLE for each in versions)
        if served and model.is_exact and model.version not in coming:
            return error
        return ModelUnavailableError(f"model {model} is not loaded yet: try again")
