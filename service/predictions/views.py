"""POST /v1/predict: images in, labels and probabilities out, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Response, jsonify, request
from flask_smorest import Blueprint
from numpy.typing import NDArray

from models.card import ModelCard
from models.errors import InvalidImageError
from models.probabilities import clip
from models.wire.client import Prediction
from service.budget import TIMEOUT_HEADER, Budget, read_timeout
from service.documents.operations import documented
from service.documents.predictions import PREDICT
from service.observation.record import current_record
from service.predictions.admission import Admission
from service.predictions.predictor import Answer, Predictor
from service.predictions.query import PredictionQuery, read_query
from service.predictions.uploads import Upload, read_uploads
from service.problems import RejectedImagesError
from service.protection.quota import charge_images
from service.settings import ServiceSettings


@dataclass(frozen=True)
class PredictionViews:
    """The views of predictions and what they work with."""

    settings: ServiceSettings
    predictor: Predictor
    admission: Admission

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("predictions", __name__)
        routes.add_url_rule("/v1/predict", view_func=self.predict, methods=["POST"])
        return routes

    @documented(PREDICT)
    def predict(self) -> Response:
        """Answer the images of one request."""
        default_timeout = self.settings.request_timeout_seconds
        timeout = read_timeout(request.headers.get(TIMEOUT_HEADER), default_timeout)
        query = read_query(request.args, self.predictor.catalog)
        record = current_record()
        record.model = query.model.name
        self.admission.check_room(timeout)
        uploads = read_uploads(request, self.settings.max_images)
        charge_images(len(uploads))
        images = [upload.image for upload in uploads]
        # From here on: how long an upload takes is up to its sender's line.
        budget = record.budget = Budget(timeout)
        record.images = len(images)
        with self.admission.enter(len(images), budget):
            answer = self.predictor.predict(images, query.model, query.accept, budget)
        record.note_answer(answer.card.version, answer.good)
        response = jsonify(render_answer(answer, uploads, query))
        response.headers["X-Model-Name"] = answer.card.name
        response.headers["X-Model-Version"] = str(answer.card.version)
        response.headers["Server-Timing"] = budget.server_timing()
        return response


def render_answer(
    answer: Answer, uploads: Sequence[Upload], query: PredictionQuery
) -> dict[str, Any]:
    """The JSON of an answer.

    Raises:
        RejectedImagesError: not one of the images could be decoded.
    """
    rejected = [each for each in answer.images if isinstance(each, InvalidImageError)]
    names = [upload.name for upload in uploads]
    if answer.prediction is None:
        raise RejectedImagesError(list(zip(names, rejected, strict=True)))
    rows = _render_rows(answer.card, answer.prediction, query)
    return {
        "model": answer.card.name,
        "version": answer.card.version,
        "labels": answer.card.labels,
        "predictions": [
            {"name": name, **_entry(image, rows)}
            for name, image in zip(names, answer.images, strict=True)
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
