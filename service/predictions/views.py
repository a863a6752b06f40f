"""POST /v1/predict: images in, labels and probabilities out, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Response, jsonify, request
from flask_smorest import Blueprint
from numpy.typing import NDArray

from models.contract import ModelCard
from models.errors import InvalidImageError
from models.probabilities import clip
from models.wire.messages import Prediction
from service.documents.operations import documented
from service.documents.predictions import PREDICT
from service.predictions.json_images import read_images
from service.predictions.predictor import Answer
from service.predictions.query import PredictionQuery, read_query
from service.predictions.reception import Reception, note_answer, with_headers
from service.predictions.rejected import RejectedImagesError
from service.predictions.uploads import Upload
from service.rollout.gateway import Gateway


@dataclass(frozen=True)
class PredictionViews:
    """The views of predictions and what they work with."""

    predictor: Gateway
    reception: Reception
    max_images: int

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("predictions", __name__)
        routes.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        return routes

    @documented(PREDICT)
    def predict(self) -> Response:
        """Answer the images of one request."""
        query = read_query(request.args, self.predictor.catalog)
        timeout = self.reception.receive(query.model)
        uploads = read_images(request, self.max_images)
        images = [upload.image for upload in uploads]
        with self.reception.admit(images, timeout) as budget:
            answer = self.predictor.predict(images, query.model, query.accept, budget)
        note_answer(answer.card, answer.good, answer.prediction)
        response = jsonify(render_answer(answer, uploads, query))
        return with_headers(response, answer.card, budget)


def render_answer(
    answer: Answer, uploads: Sequence[Upload], query: PredictionQuery
) -> dict[str, Any]:
    """The JSON of an answer.

    Raises:
        RejectedImagesError: not one of the images could be decoded.
    """
    names = [upload.name for upload in uploads]
    # An upload that was no image to begin with came out as an empty one.
    pairs = zip(uploads, answer.images, strict=True)
    images = [upload.error or image for upload, image in pairs]
    rejected = [each for each in images if isinstance(each, InvalidImageError)]
    if answer.prediction is None:
        raise RejectedImagesError(list(zip(names, rejected, strict=True)))
    rows = _render_rows(answer.card, answer.prediction, query)
    return {
        "model": answer.card.name,
        "version": answer.card.version,
        "labels": answer.card.labels,
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
