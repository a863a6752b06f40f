"""What the protocols share: images in, the model's outputs or the first error out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Request, Response
from numpy.typing import NDArray

from models.contract import ModelCard
from models.errors import InvalidImageError, ModelContractError
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget, read_budget
from service.predict.admission import Reception, note_answer, with_headers
from service.predict.catalog import Catalog
from service.rollout.gateway import Gateway


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for all images of a request, and what the answer says of them."""

    card: ModelCard
    prediction: Prediction
    budget: Budget

    def send(self, response: Response) -> Response:
        """*response* with the headers of a prediction."""
        return with_headers(response, self.card, self.budget)


@dataclass(frozen=True)
class ProtocolClassifier:
    """Classifies for clients of other protocols; shared by all threads."""

    predictor: Gateway
    reception: Reception
    max_images: int

    @property
    def catalog(self) -> Catalog:
        """What is served."""
        return self.predictor.catalog

    def budget(self, request: Request) -> Budget:
        """The time that *request*, which asks about a model, may take from now on.

        Raises:
            InvalidRequestError: its header is no number.
        """
        return read_budget(request.headers, self.reception.timeout_seconds)

    def classify(
        self,
        images: list[bytes],
        model: ModelRef,
        timeout: float,
        accept: Callable[[ModelCard], None] = lambda _: None,
    ) -> Outputs:
        """The outputs for *images* within *timeout*, if *accept* lets the card pass.

        Raises:
            InvalidImageError: an image cannot be decoded; the message says which one.
            ModelOverloadedError: too many are in work already.
            NotFoundError, ModelUnavailableError, ModelContractError: the model's part.
        """
        with self.reception.admit(images, timeout) as budget:
            answer = self.predictor.predict(images, model, accept, budget)
        note_answer(answer.card, answer.good, answer.prediction)
        for number, image in enumerate(answer.images):
            if isinstance(image, InvalidImageError):
                message = f"image {number}: {image}"
                raise InvalidImageError(message, code=image.code)
        if answer.prediction is None:
            raise ModelContractError("no image was bad, and none was answered")
        return Outputs(answer.card, answer.prediction, budget)


def numbers(values: NDArray[np.float32]) -> Any:
    """*values* as lists, each number with the fewest digits that give it again."""
    return values.astype(str).astype(np.float64).tolist()
