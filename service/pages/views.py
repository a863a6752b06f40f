"""The pages: photos, jobs, models, their rollouts and training reports; and error pages.

Every refusal (by a view, a limit, a missing key) is problem+json; for a browser that wanted a
page, it is rendered as one. So programs and people get the same statuses and texts.

Style sheets, scripts and the icon have URLs that change when any of them does: every URL holds
one digest of all files. Scripts import each other by relative path, so a page never mixes two
releases, and browsers may keep the files for ever.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    render_template,
    request,
    send_file,
    url_for,
)

from models.contract import REPORT_FILE, AnswerSpread, ModelCard
from models.errors import InvalidRequestError, KennelError, NotFoundError
from models.wire.config import check_model_name
from service.http.budget import Budget
from service.jobs.views import visible_jobs
from service.pages.content import (
    VersionRow,
    compare_spreads,
    readable_card,
    suggest_folders,
    version_labels,
    version_rows,
)
from service.predict.catalog import Catalog
from service.rollout.gateway import Rollouts
from service.settings import ServiceSettings
from worker.queue import JobQueue

REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of a report: it brings its style and pictures along, and
has neither scripts nor anything from elsewhere."""

STATIC: Final = Path(__file__).with_name("static")

_MIME_TYPES: Final = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Not the system's table: with nosniff, a wrong type there would stop the scripts."""

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_REVALIDATE: Final = "no-cache"

_LONGEST_ID: Final = 64

_PROGRAMS: Final = (
    "/v1",
    "/v2",
    "/static/",
    "/metrics",
    "/openapi",
    "/livez",
    "/readyz",
)
"""Paths for programs, whose problems are never rendered as pages."""

_HEADLINES: Final = {
    403: "This is not yours to see",
    404: "There is nothing here",
    421: "This address is not known here",
    429: "A little slower, please",
    500: "Something went wrong",
    502: "The model server's answer makes no sense",
    503: "Not right now",
    504: "That took too long",
}


@dataclass(frozen=True)
class PageViews:
    """The pages and what they show.

    Attributes:
        answer_spread: returns the spread of a version's answers since the service started.
    """

    settings: ServiceSettings
    catalog: Catalog
    queue: JobQueue
    answer_spread: Callable[[ModelCard], AnswerSpread]
    rollouts: Rollouts

    def blueprint(self) -> Blueprint:
        """The routes, outside /v1."""
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
        """The page that predicts photos."""
        return render_template(
            "photos.html",
            **self._known_models(),
            max_images=self.settings.max_images,
            max_bytes=self.settings.max_request_bytes,
        )

    def jobs(self) -> str:
        """The folder jobs, newest first, and the form for a new one."""
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
            readable=readable_card(card) if card else None,
            drift=compare_spreads(card, self.answer_spread(card)) if card else None,
            has_report=shown is not None and self._report(name, shown.version),
        )

    def report(self, name: str, version: int) -> Response:
        """The training report of one version: HTML with REPORT_POLICY."""
        name = self.catalog.find(name)
        path = self._report(name, version)
        if path is None:
            message = (
                f"model {name!r} version {version} came without a training report: "
                "export it again"
            )
            raise NotFoundError(message, code="report_not_found")
        response = send_file(path, mimetype="text/html")
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    def rollout(self, name: str) -> str:
        """The last rollout of a model, and how its versions compare."""
        name = self.catalog.find(name)
        return render_template(
            "rollout.html", name=name, rollout=self.rollouts.of(name)
        )

    def _report(self, name: str, version: int) -> Path | None:
        return find_report(self.settings.models_dir, name, version)

    def _folders(self) -> list[str] | None:
        # Object storage may be slow or away: a page does not wait for it.
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


def find_report(models_dir: Path, name: str, version: int) -> Path | None:
    """The training report of model *name*'s *version*, an HTML file inside *models_dir*.

    None: there is no report, or no such model or version is possible.
    """
    try:
        folder = models_dir / check_model_name(name) / str(version)
        # Not Path.resolve, which raises a RuntimeError for links in a circle.
        path = Path(os.path.realpath(folder / REPORT_FILE))
        inside = path.is_relative_to(os.path.realpath(models_dir))
        return path if version > 0 and inside and path.is_file() else None
    except (InvalidRequestError, OSError):
        return None


@dataclass(frozen=True)
class Assets:
    """The files, in memory (some 60 kB), and one digest of them all."""

    files: Mapping[str, bytes]
    digest: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """All style sheets, scripts and icons below *folder*, by file name.

        Raises:
            OSError: a file cannot be read.
        """
        paths = (path for path in folder.rglob("*") if path.suffix in _MIME_TYPES)
        files = {path.name: path.read_bytes() for path in sorted(paths)}
        digest = hashlib.sha256()
        for name, content in files.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        return cls(files, digest.hexdigest()[:16])

    def blueprint(self) -> Blueprint:
        """The route, and ``asset`` for every template of the application."""
        routes = Blueprint("static", __name__)
        routes.add_url_rule("/static/<digest>/<name>", view_func=self.asset)
        routes.app_context_processor(self._names)
        return routes

    def asset(self, digest: str, name: str) -> Response:
        """One file; under another digest the current file, which is then not cached."""
        content = self.files.get(name)
        if content is None:
            abort(404)
        response = Response(content, mimetype=_MIME_TYPES[Path(name).suffix])
        current = digest == self.digest
        response.headers["Cache-Control"] = _FOR_EVER if current else _REVALIDATE
        return response

    def url(self, name: str) -> str:
        """The URL of the file *name*."""
        return url_for("static.asset", digest=self.digest, name=name)

    def _names(self) -> dict[str, Any]:
        return {"asset": self.url}


def register_problem_pages(app: Flask) -> None:
    """Render problems of *app* as pages for browsers that wanted a page."""
    app.after_request(_page_instead)


def _page_instead(response: Response) -> Response:
    if response.status_code < 400 or not _is_for_people(response):
        return response
    problem = response.get_json()
    headline = _HEADLINES.get(response.status_code, problem["title"])
    page = render_template("problem.html", problem=problem, headline=headline)
    response.set_data(page)
    response.mimetype = "text/html"
    return response


def _is_for_people(response: Response) -> bool:
    if response.mimetype != "application/problem+json":
        return False
    if request.path.startswith(_PROGRAMS):
        return False
    offered = ("application/problem+json", "text/html")
    return request.accept_mimetypes.best_match(offered) == "text/html"
