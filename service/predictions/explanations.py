"""POST /v1/explain: one image in, its prediction and where in it a class is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flask import Response, jsonify, request
from flask_smorest import Blueprint
from numpy.typing import NDArray
from werkzeug.datastructures import MultiDict

from models.contract import ModelCard
from models.wire.messages import Explanation, Prediction
from service.documents.explanations import EXPLAIN
from service.documents.operations import documented
from service.predictions.explainer import Explainer, ExplanationQuery
from service.predictions.json_images import read_images
from service.predictions.predictor import Answer
from service.predictions.query import read_query
from service.predictions.reception import Reception, note_answer, with_headers
from service.predictions.uploads import Upload
from service.predictions.views import render_answer
from service.served.catalog import Catalog

METHOD: Final = "grad-cam"
PARAMETERS: Final = ("model", "version", "label", "class", "clip")
DECIMALS: Final = 3
"""Of a heat value: finer steps cannot be seen."""


@dataclass(frozen=True)
class ExplanationViews:
    """The view of explanations and what it works with."""

    explainer: Explainer
    reception: Reception

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("explanations", __name__)
        routes.add_url_rule("/v1/explain", view_func=self.explain, methods=["POST"])
        return routes

    @documented(EXPLAIN)
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
    prediction = read_query(arguments, catalog, PARAMETERS)
    return ExplanationQuery(prediction, arguments.get("class"))


def render_explanation(
    card: ModelCard,
    explanation: Explanation,
    upload: Upload,
    query: ExplanationQuery,
) -> dict[str, Any]:
    """The JSON of the explanation of one image by *card*'s version."""
    prediction = Prediction(
        explanation.probabilities, explanation.logits, explanation.version
    )
    answer = render_answer(Answer(card, (0,), prediction), [upload], query.prediction)
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
