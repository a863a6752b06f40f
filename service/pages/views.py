"""The pages: photos, jobs, models, their rollouts and versions' reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, render_template, request

from models.contract import AnswerSpread, ModelCard
from models.errors import KennelError, NotFoundError
from service.budget import Budget
from service.jobs.views import visible_jobs
from service.pages.drift import compare
from service.pages.folders import suggest_folders
from service.pages.readable_card import read_card
from service.pages.reports import Reports
from service.pages.versions import VersionRow, version_labels, version_rows
from service.rollout.rollouts import Rollouts
from service.served.catalog import Catalog
from service.settings import ServiceSettings
from worker.queue import JobQueue

_LONGEST_ID: Final = 64


@dataclass(frozen=True)
class PageViews:
    """The pages and what they show.

    Attributes:
        live_spread: of the answers that the version of a card gave lately.
    """

    settings: ServiceSettings
    catalog: Catalog
    queue: JobQueue
    reports: Reports
    live_spread: Callable[[ModelCard], AnswerSpread]
    rollouts: Rollouts

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("pages", __name__, template_folder="templates")
        routes.add_url_rule("/", view_func=self.photos)
        routes.add_url_rule("/jobs", view_func=self.jobs)
        routes.add_url_rule("/jobs/<job>", "job", self.one_job)
        routes.add_url_rule("/models", view_func=self.models)
        one_model = "/models/<name>"
        one_version = f"{one_model}/versions/<int:version>"
        routes.add_url_rule(one_model, "model", self.one_model)
        routes.add_url_rule(one_version, "version", self.one_model)
        routes.add_url_rule(f"{one_version}/report", "report", self.report)
        routes.add_url_rule(f"{one_model}/rollout", "rollout", self.rollout)
        return routes

    def photos(self) -> str:
        """Send photos, see what they are."""
        return render_template(
            "photos.html",
            **self._known_models(),
            max_images=self.settings.max_images,
            max_bytes=self.settings.max_request_bytes,
        )

    def jobs(self) -> str:
        """The newest folder jobs or those after one, and the form for another."""
        return render_template(
            "jobs.html",
            **self._known_models(),
            folders=self._folders(),
            after=request.args.get("after", "")[:_LONGEST_ID],
        )

    def one_job(self, job: str) -> str:
        """One folder job."""
        status = visible_jobs(self.queue).status(job)
        is_served = status.model in self.catalog.names()
        return render_template("job.html", job=status, is_served=is_served)

    def models(self) -> str:
        """The names of the served models."""
        return render_template("models.html", **self._known_models())

    def one_model(self, name: str, version: int | None = None) -> str:
        """One model: its versions, and the card of one of them."""
        name = self.catalog.find(name)
        budget = Budget(self.settings.request_timeout_seconds)
        labels = version_labels(self.settings.model_config_file, name)
        rows = version_rows(self.catalog, name, labels, budget)
        shown = _choose(rows, name, version)
        card = shown.card if shown else None
        return render_template(
            "model.html",
            name=name,
            default_model=self.catalog.find_default(),
            versions=rows,
            shown=shown,
            readable=read_card(card) if card else None,
            drift=compare(card, self.live_spread(card)) if card else None,
            has_report=shown is not None and self.reports.has(name, shown.version),
        )

    def report(self, name: str, version: int) -> Response:
        """The training report of one version."""
        return self.reports.send(self.catalog.find(name), version)

    def rollout(self, name: str) -> str:
        """The last rollout of a model, and how its versions compare."""
        name = self.catalog.find(name)
        return render_template(
            "rollout.html", name=name, rollout=self.rollouts.of(name)
        )

    def _folders(self) -> list[str] | None:
        # Object storage may be slow, far or away: a page does not wait for it.
        if self.settings.input_url is not None:
            return None
        return suggest_folders(self.settings.input_root)

    def _known_models(self) -> dict[str, Any]:
        known: dict[str, Any] = {"models": self.catalog.names(), "default_problem": ""}
        try:
            return {**known, "default_model": self.catalog.default_name()}
        except KennelError as error:
            return {**known, "default_model": None, "default_problem": error.public}


def _choose(
    rows: list[VersionRow], name: str, version: int | None
) -> VersionRow | None:
    if version is None:
        answering = [row for row in rows if row.answers]
        return next(iter(answering or rows), None)
    for row in rows:
        if row.version == version:
            return row
    message = f"model {name!r} has no version {version} that is served"
    raise NotFoundError(message, code="version_not_found")
