"""From one image to where a model sees a class in it, across hot swaps.

The class is a column of one version's labels, so the whole answer must be that version's:
when another one answered than was assumed, it is asked again by its number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contract import MOST_PROBABLE, ModelCard
from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    ModelContractError,
    NotFoundError,
    quoted,
)
from models.images.codec import Pixels
from models.text import normal_name
from models.wire.client import Cancellation, ModelServer
from models.wire.messages import Explanation, ModelRef
from service.budget import Budget
from service.predictions.batching import breaking_off
from service.predictions.decoding import Decoder
from service.predictions.predictor import repeat_mixed_batches
from service.predictions.query import PredictionQuery
from service.predictions.rejected import RejectedImagesError
from service.predictions.uploads import Upload
from service.served.catalog import Catalog


@dataclass(frozen=True)
class ExplanationQuery:
    """What to explain: of which prediction, and which label (None: the best)."""

    prediction: PredictionQuery
    label: str | None = None

    def column(self, card: ModelCard) -> int:
        """The class to ask *card*'s version for.

        Raises:
            InvalidRequestError: it has no such label, or the clip bound does not fit.
        """
        self.prediction.accept(card)
        if self.label is None:
            return MOST_PROBABLE
        label = normal_name(self.label)
        if label not in card.labels:
            known = ", ".join(card.labels)
            message = (
                f"class={quoted(self.label)}: {card.name!r} has the labels {known}"
            )
            raise InvalidRequestError(message)
        return card.labels.index(label)


@dataclass(frozen=True)
class Explainer:
    """Explains with the models that are served; shared by all threads."""

    client: ModelServer
    catalog: Catalog
    decoder: Decoder

    def explain(
        self, upload: Upload, query: ExplanationQuery, budget: Budget
    ) -> tuple[ModelCard, Explanation]:
        """The explanation of one image, and the card of the version that gave it.

        Raises:
            RejectedImagesError: the image cannot be decoded.
            InvalidRequestError: the query does not fit the model's labels.
            MissingSignatureError: the version explains nothing.
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, budget spent).
            ModelContractError: the model server's answer cannot be used.
        """
        attempt = _Attempt(self, upload, query, budget)
        model = query.prediction.model
        card = self.catalog.card(model, budget.left())
        try:
            return self._settled(attempt, model, card)
        except (ModelContractError, NotFoundError, InvalidRequestError):
            # Perhaps the card is that of the previous version, or the version that
            # answered was unloaded before we read its card.
            current = self.catalog.describe(model, budget.left())
            if current == card:
                raise
        pinned = ModelRef(model.name, version=current.version)
        return self._settled(attempt, pinned, current)

    def _settled(
        self, attempt: _Attempt, model: ModelRef, card: ModelCard
    ) -> tuple[ModelCard, Explanation]:
        return repeat_mixed_batches(
            attempt.run, model, card, self.catalog, attempt.budget
        )


@dataclass(frozen=True)
class _Attempt:
    explainer: Explainer
    upload: Upload
    query: ExplanationQuery
    budget: Budget

    def run(self, model: ModelRef, card: ModelCard) -> tuple[ModelCard, Explanation]:
        classes = np.array([self.query.column(card)], np.int32)
        with self.budget.measure("decode"):
            [pixels] = self.explainer.decoder.decode(
                [self.upload.image], card.image_size, self.budget
            )
        if isinstance(pixels, InvalidImageError):
            # An upload that was no image to begin with came out as an empty one.
            raise RejectedImagesError([(self.upload.name, self.upload.error or pixels)])
        with self.budget.measure("infer"):
            explanation = self._ask(pixels[None], classes, model)
        if explanation.version == card.version:
            card.check_columns(explanation.probabilities.shape[1])
            return card, explanation
        if model.version is not None:
            message = f"asked for {model}, version {explanation.version} answered"
            raise ModelContractError(message)
        answered = ModelRef(model.name, version=explanation.version)
        catalog = self.explainer.catalog
        newer = catalog.card(answered, self.budget.left())
        catalog.assume(model, newer)
        return self.run(answered, newer)

    def _ask(
        self, batch: Pixels, classes: NDArray[np.int32], model: ModelRef
    ) -> Explanation:
        client, catalog = self.explainer.client, self.explainer.catalog
        try:
            cancellation = Cancellation()
            with breaking_off(self.budget, cancellation):
                left = self.budget.left()
                return client.explain(batch, classes, model, left, cancellation)
        except NotFoundError as error:
            raise catalog.explain(error, model, self.budget.left()) from error
