"""The predictor: from images to probabilities, across hot swaps of a model's version.

Images are decoded to the size of the version that answered last. An answer names its version.
If that is another one, its card is fetched; if its image size or preprocessing differs too, the
images are decoded again and the call is repeated for exactly that version: networks that pool
take any size, and an answer for wrong pixels is discarded. If a shared batch of the model server
failed because it held two sizes, the call is repeated with the version's number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol, TypeAlias, TypeVar

from models.backoff import Backoff
from models.contract import ModelCard
from models.errors import (
    InvalidImageError,
    KennelError,
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

ImageRows: TypeAlias = tuple[int | InvalidImageError, ...]
"""For each image its row number in the prediction, or what is wrong with it."""

MIXED_BATCH_REPEATS: Final = 7
_MIXED_BATCH_BACKOFF: Final = Backoff(first_seconds=0.0125, longest_seconds=0.8)
"""A client that has the old image size learns the new one from its next answer; until
then it can spoil the repeats as well."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ImageResults:
    """The result of each image of a request, in its order.

    Attributes:
        card: of the version that answered.
        images: where each image's answer is in *prediction*.
        prediction: None when no image could be decoded.
    """

    card: ModelCard
    images: ImageRows
    prediction: Prediction | None

    @property
    def good(self) -> int:
        """How many images could be decoded."""
        return 0 if self.prediction is None else len(self.prediction.probabilities)


class ImagePredictor(Protocol):
    """The interface of `Predictor` and of the rollouts' gateway in front of it."""

    @property
    def catalog(self) -> Catalog:
        """The served models."""
        ...

    def predict(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        accept: Callable[[ModelCard], None],
        budget: Budget,
    ) -> ImageResults:
        """As `Predictor.predict`."""
        ...


@dataclass(frozen=True)
class Predictor:
    """Predicts with the served models; shared by all threads."""

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
        return call_current_version(attempt.run, model, self.catalog, budget)


def call_current_version(
    call: Callable[[ModelRef, ModelCard], _Result],
    model: ModelRef,
    catalog: Catalog,
    budget: Budget,
    outdated: tuple[type[KennelError], ...] = (ModelContractError,),
) -> _Result:
    """The result of *call* for *model* and the card of the version that serves it.

    The card in memory may be that of the previous version. If *call* then fails with
    one of *outdated*, or because that version is gone, it is repeated with the current
    version's number and card.

    Raises:
        KennelError: as *call* and `Catalog.describe`.
    """
    card = catalog.card(model, budget.left())
    try:
        return _repeat_mixed_batches(call, model, card, catalog, budget)
    except NotFoundError:
        # Perhaps the version that answered was unloaded before we read its card.
        current = catalog.describe(model, budget.left())
    except outdated:
        current = catalog.describe(model, budget.left())
        if current == card:
            raise
    pinned = ModelRef(model.name, version=current.version)
    return _repeat_mixed_batches(call, pinned, current, catalog, budget)


def _repeat_mixed_batches(
    call: Callable[[ModelRef, ModelCard], _Result],
    model: ModelRef,
    card: ModelCard,
    catalog: Catalog,
    budget: Budget,
) -> _Result:
    for attempt in range(MIXED_BATCH_REPEATS):
        try:
            return call(model, card)
        except MixedBatchError:
            with budget.measure("queue"):
                pause = _MIXED_BATCH_BACKOFF.jittered(attempt)
                time.sleep(min(pause, budget.left()))
        if model.version is None:
            card = catalog.describe(model, budget.left())
            model = ModelRef(model.name, version=card.version)
    return call(model, card)


@dataclass(frozen=True)
class _Attempt:
    predictor: Predictor
    images: Sequence[bytes]
    accept: Callable[[ModelCard], None]
    budget: Budget

    def run(self, model: ModelRef, card: ModelCard) -> ImageResults:
        self.accept(card)
        batcher = self.predictor.batcher
        with batcher.expect(self.images, model, card.image_size) as arrival:
            rows, pixels = self._decode(card)
            if not pixels:
                return ImageResults(card, rows, None)
            prediction = self._infer(pixels, model, arrival)
        if prediction.version == card.version:
            return _checked(card, rows, prediction)
        newer = self.predictor.catalog.card_of_answer(
            model, prediction.version, self.budget.left()
        )
        if not newer.takes_pixels_of(card):
            return self.run(ModelRef(model.name, version=newer.version), newer)
        self.accept(newer)
        return _checked(newer, rows, prediction)

    def _decode(self, card: ModelCard) -> tuple[ImageRows, list[Pixels]]:
        with self.budget.measure("decode"):
            decoder = self.predictor.decoder
            decoded = decoder.decode(self.images, card, self.budget)
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
        batcher, catalog = self.predictor.batcher, self.predictor.catalog
        try:
            return batcher.predict(pixels, model, self.budget, arrival)
        except NotFoundError as error:
            raise catalog.interpret(error, model, self.budget.left()) from error


def _checked(card: ModelCard, rows: ImageRows, prediction: Prediction) -> ImageResults:
    card.check_columns(prediction.probabilities.shape[1])
    return ImageResults(card, rows, prediction)
