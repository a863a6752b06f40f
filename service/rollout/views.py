"""GET /v1/models/{name}/rollout: the last rollout of a model and how it compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flask import Response, jsonify
from flask_smorest import Blueprint

from models.errors import NotFoundError, QueueUnavailableError, quoted
from models.rollouts import Rollout
from service.documents.operations import documented
from service.documents.rollout import SHOW_ROLLOUT
from service.rollout.comparison import compare
from service.rollout.ledger import counts_key
from service.rollout.rollouts import Rollouts
from service.served.catalog import Catalog
from worker.queue import SharedCounts


@dataclass(frozen=True)
class RolloutViews:
    """The view of rollouts and what it works with."""

    catalog: Catalog
    rollouts: Rollouts
    counts: SharedCounts

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("rollouts", __name__)
        routes.add_url_rule("/v1/models/<word:name>/rollout", view_func=self.show)
        return routes

    @documented(SHOW_ROLLOUT)
    def show(self, name: str) -> Response:
        """A rollout, compared."""
        rollout = self.rollouts.of(self.catalog.find(name))
        if rollout is None:
            message = f"{quoted(name)} has no rollout: kennel rollout start begins one"
            raise NotFoundError(message, code="rollout_not_found")
        return jsonify(**asdict(rollout), **self._compared(rollout))

    def _compared(self, rollout: Rollout) -> dict[str, Any]:
        try:
            counts = self.counts.read(counts_key(rollout))
        except QueueUnavailableError as error:
            return {"comparison": None, "missing": error.public}
        return {"comparison": compare(counts).to_json(), "missing": None}
