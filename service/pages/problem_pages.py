"""Errors for people: where a browser asked for a page, the problem becomes one.

Whatever refused the request (a view, a limit, a missing key) has answered problem+json
by then, so there is one table of statuses and texts for programs and people.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Response, render_template, request

_PROGRAMS: Final = (
    "/v1",
    "/v2",
    "/static/",
    "/metrics",
    "/openapi",
    "/livez",
    "/readyz",
)
"""Paths that people do not visit."""

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


def register_problem_pages(app: Flask) -> None:
    """Answer a browser that asked *app* for a page with a page, also on errors."""
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
