"""Every path of the API: HEAD, OPTIONS, and methods that it does not have."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

PARTS = {"name": "pets", "version": "1", "label": "stable", "job": "nothing"}
ALL = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")


def routes(app: Flask) -> Iterator[tuple[str, Rule]]:
    for rule in app.url_map.iter_rules():
        parts = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
        if set(re.findall(r"{(\w+)}", parts)) <= set(PARTS):
            yield parts.format(**PARTS), rule


def allowed(app: Flask, path: str) -> set[str]:
    found = [rule.methods or set() for each, rule in routes(app) if each == path]
    return set().union(*found)


def test_other_methods_are_refused_with_those_allowed(
    app: Flask, client: FlaskClient
) -> None:
    for path in {path for path, _ in routes(app)}:
        for method in set(ALL) - allowed(app, path):
            response = client.open(path, method=method)

            allow = set(response.headers["Allow"].split(", "))
            assert (response.status_code, allow) == (405, allowed(app, path))
            assert response.content_type == "application/problem+json"
            problem = response.get_json()
            assert problem["code"] == "method_not_allowed"
            possible = ", ".join(sorted(allow))
            told = f"{method} is not possible at {path}: use {possible}"
            assert problem["detail"] == told


def test_options_lists_the_methods(app: Flask, client: FlaskClient) -> None:
    for path in {path for path, _ in routes(app)}:
        response = client.options(path)

        allow = set(response.headers["Allow"].split(", "))
        assert (response.status_code, allow) == (200, allowed(app, path))


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/openapi.json", "/docs"])
def test_head_is_get_without_the_body(client: FlaskClient, path: str) -> None:
    with client.get(path) as get, client.head(path) as head:
        assert (head.status_code, head.data) == (get.status_code, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]
        assert head.content_type == get.content_type


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/models/", "/v2/", "/v1/models/a/b"]
)
def test_unknown_path_is_not_found(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(path, method=method)

    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
