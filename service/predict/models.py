"""GET /v1/models: the served models, their versions and the cards of these."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, jsonify, request

from models.wire.messages import AVAILABLE, LOADING_STATES, VersionStatus
from service.http.budget import Budget, read_budget
from service.predict.catalog import Catalog, model_version_status


@dataclass(frozen=True)
class ModelViews:
    """The views of models, and what they use."""

    catalog: Catalog
    timeout_seconds: float

    def blueprint(self) -> Blueprint:
        """The routes /v1/models and /v1/models/{name}."""
        routes = Blueprint("models", __name__)
        routes.add_url_rule("/v1/models", view_func=self.all_models)
        routes.add_url_rule("/v1/models/<word:name>", view_func=self.one_model)
        return routes

    def all_models(self) -> Response:
        """Every model with its versions, and which one answers by default."""
        budget = self._budget()
        models = [
            self._render(name, self.catalog.versions(name, budget.left()), budget)
            for name in self.catalog.names()
        ]
        return jsonify(models=models, default_model=self.catalog.find_default())

    def one_model(self, name: str) -> Response:
        """One model with its versions, also in TensorFlow Serving's form."""
        budget = self._budget()
        versions = self.catalog.versions(self.catalog.find(name), budget.left())
        model = self._render(name, versions, budget)
        return jsonify(**model, model_version_status=model_version_status(versions))

    def _budget(self) -> Budget:
        return read_budget(request.headers, self.timeout_seconds)

    def _render(
        self, name: str, versions: list[VersionStatus], budget: Budget
    ) -> dict[str, Any]:
        return {
            "name": name,
            "versions": [self._version(name, each, budget) for each in versions],
        }

    def _version(
        self, name: str, status: VersionStatus, budget: Budget
    ) -> dict[str, Any]:
        entry: dict[str, Any] = {"version": status.version, "state": status.state}
        if status.error:
            entry["error"] = status.error
        if status.state in LOADING_STATES:
            entry["loading_seconds"] = round(status.loading_seconds, 1)
        if status.problem:
            entry["problem"] = status.problem
        if status.state != AVAILABLE:
            return entry
        card = self.catalog.published_card(name, status.version, budget.left())
        return {**entry, "card": dataclasses.asdict(card)} if card else entry
