"""POST /v1/explain: the prediction for one image, and a heat map of one class in it.

The class is a column of one version's labels, so the whole answer must come from that version:
if another version answered than was assumed, the call is repeated with that version's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flask import Blueprint, Response, jsonify, request
from numpy.typing import NDArray
from werkzeug.datastructures import MultiDict

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
from models.wire.messages import Explanation, ModelRef, Prediction
from service.http.budget import Budget
from service.predict.admission import Reception, note_answer, with_headers
from service.predict.batching import cancelled_on_disconnect
from service.predict.bodies import UploadedImage, read_images
from service.predict.catalog import Catalog
from service.predict.decoding import Decoder
from service.predict.predictor import ImageResults, call_current_version
from service.predict.views import (
    PredictionQuery,
    RejectedImagesError,
    read_query,
    render_answer,
)

METHOD: Final = "grad-cam"
EXPLAIN_PARAMETERS: Final = ("model", "version", "label", "class", "clip")
DECIMALS: Final = 3
"""Of a value of a heat map: finer steps cannot be seen."""


@dataclass(frozen=True)
class ExplanationViews:
    """The view of explanations, and what it uses."""

    explainer: Explainer
    reception: Reception

    def blueprint(self) -> Blueprint:
        """The route /v1/explain."""
        routes = Blueprint("explanations", __name__)
        routes.add_url_rule("/v1/explain", view_func=self.explain, methods=["POST"])
        return routes

    def explain(self) -> Response:
        """Explain the one image of a request."""
        query = read_explanation_query(request.args, self.explainer.catalog)
        timeout = self.reception.receive(query.prediction.model)
        [upload] = read_images(request, max_images=1)
        with self.reception.admit([upload.image], timeout) as budget:
            card, explanation = self.explainer.explain(upload, query, budget)
        note_answer(card, 1)
        response = jsonify(render_explanation(card, explanation, upload, query))
        return with_headers(response, card, budget)


def read_explanation_query(
    arguments: MultiDict[str, str], catalog: Catalog
) -> ExplanationQuery:
    """The query in the URL's *arguments*.

    Raises:
        InvalidRequestError, NotFoundError, ModelUnavailableError: as `read_query`.
    """
    prediction = read_query(arguments, catalog, EXPLAIN_PARAMETERS)
    return ExplanationQuery(prediction, arguments.get("class"))


def render_explanation(
    card: ModelCard,
    explanation: Explanation,
    upload: UploadedImage,
    query: ExplanationQuery,
) -> dict[str, Any]:
    """The JSON of the explanation of one image by *card*'s version."""
    prediction = Prediction(
        explanation.probabilities, explanation.logits, explanation.version
    )
    answer = render_answer(
        ImageResults(card, (0,), prediction), [upload], query.prediction
    )
    [answer["prediction"]] = answer.pop("predictions")
    return {
        **answer,
        "explained": card.labels[int(explanation.classes[0])],
        "heatmap": _render_heatmap(explanation.heatmaps[0]),
    }


def _render_heatmap(heatmap: NDArray[np.float32]) -> dict[str, Any]:
    height, width = heatmap.shape
    values = heatmap.astype(np.float64).round(DECIMALS).tolist()
    return {"method": METHOD, "height": height, "width": width, "values": values}


@dataclass(frozen=True)
class ExplanationQuery:
    """The model to use, and the label to explain (None: the most probable)."""

    prediction: PredictionQuery
    label: str | None = None

    def column(self, card: ModelCard) -> int:
        """The column of the label to explain, in *card*'s version.

        Raises:
            InvalidRequestError: the version has no such label, or the clip bound does not fit.
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
    """Explains with the served models; shared by all threads."""

    client: ModelServer
    catalog: Catalog
    decoder: Decoder

    def explain(
        self, upload: UploadedImage, query: ExplanationQuery, budget: Budget
    ) -> tuple[ModelCard, Explanation]:
        """The explanation of one image, and the card of the version that gave it.

        Raises:
            RejectedImagesError: the image cannot be decoded.
            InvalidRequestError: the query does not fit the model's labels.
            MissingSignatureError: the version cannot explain.
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, budget spent).
            ModelContractError: the model server's answer cannot be used.
        """
        attempt = _ExplainAttempt(self, upload, query, budget)
        # The label may be one that only the current version has.
        return call_current_version(
            attempt.run,
            query.prediction.model,
            self.catalog,
            budget,
            outdated=(ModelContractError, InvalidRequestError),
        )


@dataclass(frozen=True)
class _ExplainAttempt:
    explainer: Explainer
    upload: UploadedImage
    query: ExplanationQuery
    budget: Budget

    def run(self, model: ModelRef, card: ModelCard) -> tuple[ModelCard, Explanation]:
        classes = np.array([self.query.column(card)], np.int32)
        with self.budget.measure("decode"):
            [pixels] = self.explainer.decoder.decode(
                [self.upload.image], card, self.budget
            )
        if isinstance(pixels, InvalidImageError):
            # An upload with an error of its own has an empty image; that error says more.
            raise RejectedImagesError([(self.upload.name, self.upload.error or pixels)])
        with self.budget.measure("infer"):
            explanation = self._call(pixels[None], classes, model)
        if explanation.version == card.version:
            card.check_columns(explanation.probabilities.shape[1])
            return card, explanation
        newer = self.explainer.catalog.card_of_answer(
            model, explanation.version, self.budget.left()
        )
        return self.run(ModelRef(model.name, version=newer.version), newer)

    def _call(
        self, batch: Pixels, classes: NDArray[np.int32], model: ModelRef
    ) -> Explanation:
        client, catalog = self.explainer.client, self.explainer.catalog
        try:
            cancellation = Cancellation()
            with cancelled_on_disconnect(self.budget, cancellation):
                left = self.budget.left()
                return client.explain(batch, classes, model, left, cancellation)
        except NotFoundError as error:
            raise catalog.interpret(error, model, self.budget.left()) from error
