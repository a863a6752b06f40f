"""POST /v1/predict: images in, labels and probabilities out, in the same order.

An unknown query parameter is refused by name: ignoring it would answer another question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, jsonify, request
from numpy.typing import NDArray
from werkzeug.datastructures import MultiDict

from models.contract import ModelCard
from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    ModelContractError,
)
from models.probabilities import check_clip_bound, clip, parse_clip
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget, read_budget
from service.http.parameters import once_each, read_positive
from service.http.problems import STATUSES
from service.predict.admission import Reception, note_answer, with_headers
from service.predict.bodies import UploadedImage, read_images
from service.predict.catalog import Catalog, read_model
from service.predict.predictor import ImagePredictor, ImageResults

PREDICT_PARAMETERS: Final = ("model", "version", "label", "clip", "top")


@dataclass(frozen=True)
class PredictionViews:
    """The view of predictions, and what it uses."""

    requests: ImageRequests

    def blueprint(self) -> Blueprint:
        """The route /v1/predict."""
        routes = Blueprint("predictions", __name__)
        routes.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        return routes

    def predict(self) -> Response:
        """Answer the images of one request."""
        query = read_query(request.args, self.requests.catalog)
        timeout = self.requests.reception.receive(query.model)
        uploads = read_images(request, self.requests.max_images)
        images = [upload.image for upload in uploads]
        results, budget = self.requests.predict(
            images, query.model, timeout, query.accept
        )
        response = jsonify(render_answer(results, uploads, query))
        return with_headers(response, results.card, budget)


@dataclass(frozen=True)
class ImageRequests:
    """Answers requests with images in every protocol; shared by all threads."""

    predictor: ImagePredictor
    reception: Reception
    max_images: int

    @property
    def catalog(self) -> Catalog:
        """The served models."""
        return self.predictor.catalog

    def budget(self) -> Budget:
        """The time that the request in work, which sends no images, may take from now on.

        Raises:
            InvalidRequestError: its timeout header is no number.
        """
        return read_budget(request.headers, self.reception.timeout_seconds)

    def predict(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        timeout: float,
        accept: Callable[[ModelCard], None] = lambda _: None,
    ) -> tuple[ImageResults, Budget]:
        """The results for *images* within *timeout*, if *accept* lets the card pass.

        Raises:
            ModelOverloadedError: too many are in work already.
            NotFoundError, ModelUnavailableError, ModelContractError: the model's part.
        """
        with self.reception.admit(images, timeout) as budget:
            results = self.predictor.predict(images, model, accept, budget)
        note_answer(results.card, results.good, results.prediction)
        return results, budget

    def predict_all(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        timeout: float,
        accept: Callable[[ModelCard], None] = lambda _: None,
    ) -> Outputs:
        """The model's outputs for *images*, of which none may be bad; else as `predict`.

        Raises:
            InvalidImageError: an image cannot be decoded; the message says which one.
        """
        results, budget = self.predict(images, model, timeout, accept)
        for number, image in enumerate(results.images):
            if isinstance(image, InvalidImageError):
                message = f"image {number}: {image}"
                raise InvalidImageError(message, code=image.code)
        if results.prediction is None:
            raise ModelContractError("no image was bad, and none was answered")
        return Outputs(results.card, results.prediction, budget)


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for all images of a request, with the card and the time spent."""

    card: ModelCard
    prediction: Prediction
    budget: Budget

    def send(self, response: Response) -> Response:
        """*response* with the headers of a prediction."""
        return with_headers(response, self.card, self.budget)


def render_numbers(values: NDArray[np.float32]) -> Any:
    """*values* as lists, each number with the fewest digits that read back as it."""
    return values.astype(str).astype(np.float64).tolist()


def render_answer(
    results: ImageResults, uploads: Sequence[UploadedImage], query: PredictionQuery
) -> dict[str, Any]:
    """The JSON of an answer.

    Raises:
        RejectedImagesError: not one of the images could be decoded.
    """
    names = [upload.name for upload in uploads]
    # An upload with an error of its own has an empty image; that error says more.
    pairs = zip(uploads, results.images, strict=True)
    images = [upload.error or image for upload, image in pairs]
    rejected = [each for each in images if isinstance(each, InvalidImageError)]
    if results.prediction is None:
        raise RejectedImagesError(list(zip(names, rejected, strict=True)))
    rows = _render_rows(results.card, results.prediction, query)
    return {
        "model": results.card.name,
        "version": results.card.version,
        "labels": results.card.labels,
        "predictions": [
            {"name": name, **_entry(image, rows)}
            for name, image in zip(names, images, strict=True)
        ],
    }


def _entry(
    image: int | InvalidImageError, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    if isinstance(image, InvalidImageError):
        return {"error": {"code": image.code, "detail": str(image)}}
    return rows[image]


def _render_rows(
    card: ModelCard, prediction: Prediction, query: PredictionQuery
) -> list[dict[str, Any]]:
    raw = prediction.probabilities
    clipped = clip(raw.astype(np.float64), query.bound(card)).astype(np.float32)
    return [
        _render_row(card.labels, *pair, query.top)
        for pair in zip(raw, clipped, strict=True)
    ]


def _render_row(
    labels: tuple[str, ...],
    raw: NDArray[np.float32],
    clipped: NDArray[np.floating],
    top: int | None,
) -> dict[str, Any]:
    columns = range(len(labels)) if top is None else _largest(raw, top)
    return {
        "label": labels[int(raw.argmax())],
        "probabilities": {labels[k]: _number(clipped[k]) for k in columns},
        "raw": {labels[k]: _number(raw[k]) for k in columns},
    }


def _largest(raw: NDArray[np.float32], count: int) -> list[int]:
    return [int(column) for column in np.argsort(-raw, kind="stable")[:count]]


def _number(value: np.floating) -> float:
    # The shortest digits that give the same float32: 0.95, not 0.949999988079071.
    return float(str(value))


@dataclass(frozen=True)
class PredictionQuery:
    """The query of a prediction; what depends on the card is checked against it."""

    model: ModelRef
    clip: str | None = None
    top: int | None = None

    def bound(self, card: ModelCard) -> float | None:
        """The clip bound that applies to *card*'s answers; None: no clipping.

        Raises:
            InvalidRequestError: the bound does not fit the number of labels.
        """
        bound = parse_clip(self.clip, card.clip_bound)
        if bound is not None:
            check_clip_bound(bound, len(card.labels))
        return bound

    def accept(self, card: ModelCard) -> None:
        """Accept *card* as the card of the version that answers this query.

        Raises:
            InvalidRequestError: ``clip`` or ``top`` does not fit its labels.
        """
        self.bound(card)
        if self.top is not None and self.top > len(card.labels):
            message = f"top={self.top}: {card.name!r} has {len(card.labels)} labels"
            raise InvalidRequestError(message)


def read_query(
    arguments: MultiDict[str, str],
    catalog: Catalog,
    known: tuple[str, ...] = PREDICT_PARAMETERS,
) -> PredictionQuery:
    """The query in the URL's *arguments*; *known* are the parameters that it may have.

    Raises:
        InvalidRequestError: unknown or repeated parameters, or impossible values.
        NotFoundError: there is no such model.
        ModelUnavailableError: none is named and none is known yet.
    """
    query = once_each(arguments, known)
    model = read_model(query, catalog)
    parse_clip(query.get("clip"), None)
    return PredictionQuery(model, query.get("clip"), read_positive(query, "top"))


class RejectedImagesError(InvalidImageError):
    """No image of a request could be decoded; ``errors`` says why, by file."""

    def __init__(self, rejected: list[tuple[str | None, InvalidImageError]]) -> None:
        """Take the file name and the error of each image, in the request's order."""
        reasons = [error for _, error in rejected]
        codes = {error.code for error in reasons}
        message = f"none of the {len(reasons)} images can be used: see errors"
        super().__init__(
            reasons[0].public if len(reasons) == 1 else message,
            code=codes.pop() if len(codes) == 1 else self._mixed(codes),
        )
        self.errors = [
            {"index": index, "name": name, "code": error.code, "detail": error.public}
            for index, (name, error) in enumerate(rejected)
        ]

    @staticmethod
    def _mixed(codes: set[str]) -> str:
        above_limits = all(STATUSES.get(code) == 413 for code in codes)
        return "too_large" if above_limits else InvalidImageError.code
