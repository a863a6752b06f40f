"""From images to probabilities, across hot swaps, in one call to the model server.

The image size is that of the version which answered last. The answer says which version
gave it; when that is another one, its own card is fetched, and if the pixels had the
wrong size they are made again for exactly that version: networks that pool take any size,
and their answer for a wrong one is thrown away. When a shared batch of the model server
failed because it held two sizes, the version is asked again by its number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeAlias, TypeVar

from models.contract import ModelCard
from models.errors import (
    InvalidImageError,
    MixedBatchError,
    ModelContractError,
    NotFoundError,
)
from models.images.codec import Pixels
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget
from service.predict.batching import Arrival, Batcher
from service.predict.catalog import Catalog
from service.predict.decoding import Decoder

Rows: TypeAlias = tuple[int | InvalidImageError, ...]
"""For each image its row number in the prediction, or what is wrong with it."""

MIXED_BATCH_PAUSES: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each repeat. A client that has the old image size learns the new one from
its next answer; until then it can spoil the repeats as well."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ImageResults:
    """What became of each image of a request, in its order.

    Attributes:
        card: of the version that answered.
        images: where each image's answer is in *prediction*.
        prediction: None when no image could be decoded.
    """

    card: ModelCard
    images: Rows
    prediction: Prediction | None

    @property
    def good(self) -> int:
        """How many images could be decoded."""
        return 0 if self.prediction is None else len(self.prediction.probabilities)


@dataclass(frozen=True)
class Predictor:
    """Predicts with the models that are served; shared by all threads."""

    batcher: Batcher
    catalog: Catalog
    decoder: Decoder

    def predict(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        accept: Callable[[ModelCard], None],
        budget: Budget,
    ) -> ImageResults:
        """The answer of *model* for *images*, if *accept* lets its card pass.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, budget spent).
            ModelContractError: the model server's answer cannot be used.
        """
        attempt = _Attempt(self, images, accept, budget)
        card = self.catalog.card(model, budget.left())
        try:
            return self._settled(attempt, model, card)
        except ModelContractError:
            # Perhaps the current version expects pixels of another size by now.
            fresh = self.catalog.describe(model, budget.left())
            if fresh == card:
                raise
        except NotFoundError:
            # Perhaps the version that answered was unloaded before we read its card.
            fresh = self.catalog.describe(model, budget.left())
        return self._settled(
            attempt, ModelRef(model.name, version=fresh.version), fresh
        )

    def _settled(
        self, attempt: _Attempt, model: ModelRef, card: ModelCard
    ) -> ImageResults:
        return repeat_mixed_batches(
            attempt.run, model, card, self.catalog, attempt.budget
        )


def repeat_mixed_batches(
    ask: Callable[[ModelRef, ModelCard], _Result],
    model: ModelRef,
    card: ModelCard,
    catalog: Catalog,
    budget: Budget,
) -> _Result:
    """What *ask* gives for *model* and the *card* whose image size it takes.

    While it meets images of another size in a batch of the model server, it is called
    again, a few times within *budget*, with the current version's number and card.

    Raises:
        MixedBatchError: so did the last call.
        KennelError: as *ask* and `Catalog.describe`.
    """
    for pause in MIXED_BATCH_PAUSES:
        try:
            return ask(model, card)
        except MixedBatchError:
            with budget.measure("queue"):
                time.sleep(min(pause, budget.left()))
        if model.version is None:
            card = catalog.describe(model, budget.left())
            model = ModelRef(model.name, version=card.version)
    return ask(model, card)


@dataclass(frozen=True)
class _Attempt:
    predictor: Predictor
    images: Sequence[bytes]
    accept: Callable[[ModelCard], None]
    budget: Budget

    def run(self, model: ModelRef, card: ModelCard) -> ImageResults:
        self.accept(card)
        batcher, size = self.predictor.batcher, card.image_size
        with batcher.expect(self.images, model, size) as arrival:
            rows, pixels = self._decode(size)
            if not pixels:
                return ImageResults(card, rows, None)
            prediction = self._infer(pixels, model, arrival)
        if prediction.version == card.version:
            return ImageResults(card, rows, _checked(prediction, card))
        newer = self._card_of(prediction.version, model)
        if newer.image_size != card.image_size:
            return self.run(ModelRef(model.name, version=newer.version), newer)
        self.accept(newer)
        return ImageResults(newer, rows, _checked(prediction, newer))

    def _decode(self, size: tuple[int, int]) -> tuple[Rows, list[Pixels]]:
        with self.budget.measure("decode"):
            decoder = self.predictor.decoder
            decoded = decoder.decode(self.images, size, self.budget)
        good = [each for each in decoded if not isinstance(each, InvalidImageError)]
        numbers = count()
        rows = tuple(
            each if isinstance(each, InvalidImageError) else next(numbers)
            for each in decoded
        )
        return rows, good

    def _infer(
        self, pixels: list[Pixels], model: ModelRef, arrival: Arrival | None
    ) -> Prediction:
        batcher = self.predictor.batcher
        try:
            return batcher.predict(pixels, model, self.budget, arrival)
        except NotFoundError as error:
            catalog = self.predictor.catalog
            raise catalog.explain(error, model, self.budget.left()) from error

    def _card_of(self, version: int, model: ModelRef) -> ModelCard:
        if model.version is not None:
            message = f"asked for {model}, the model server answered with {version}"
            raise ModelContractError(message)
        catalog = self.predictor.catalog
        card = catalog.card(ModelRef(model.name, version=version), self.budget.left())
        catalog.assume(model, card)
        return card


def _checked(prediction: Prediction, card: ModelCard) -> Prediction:
    card.check_columns(prediction.probabilities.shape[1])
    return prediction
