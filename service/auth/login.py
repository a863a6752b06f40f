"""/login and /logout: people at the web pages show a key once, then a cookie."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from limits import RateLimitItem, RateLimitItemPerMinute
from werkzeug.wrappers import Response

from service.auth.guard import client_network
from service.auth.keys import KeyRing
from service.auth.origins import check_session_origin
from service.auth.rate_limits import Limiter
from service.auth.sessions import SESSION_COOKIE, SESSION_SECONDS, Sessions

FAILED_LOGINS: Final[RateLimitItem] = RateLimitItemPerMinute(10)
"""By address. Keys cannot be guessed; this keeps those who try from costing much."""

MAX_BODY_BYTES: Final = 8 * 1024
_TEMPLATES: Final = Path(__file__).parents[1] / "pages" / "templates"
_LOCAL_PATH: Final = re.compile(r"/(?!/)[!-\[\]-~]{0,2000}")
"""ASCII without backslashes, which browsers read as slashes."""


@dataclass(frozen=True)
class LoginGate:
    """What tells who may sign in."""

    ring: KeyRing
    sessions: Sessions
    limiter: Limiter


@dataclass(frozen=True)
class LoginViews:
    """The views of signing in and out; without *gate* nobody needs to."""

    gate: LoginGate | None

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("login", __name__, template_folder=str(_TEMPLATES))
        routes.add_url_rule("/login", "form", self.form)
        routes.add_url_rule("/login", "sign_in", self.sign_in, methods=["POST"])
        routes.add_url_rule("/logout", "sign_out", self.sign_out, methods=["POST"])
        return routes

    def form(self) -> Response:
        """The page that asks for a key."""
        next_path = local_path(request.args.get("next"))
        if self.gate is None:
            return redirect(next_path, 303)
        return _page(next_path, None, 200)

    def sign_in(self) -> Response:
        """A session for whoever shows a key, then the page that was wanted."""
        request.max_content_length = MAX_BODY_BYTES
        check_session_origin()
        next_path = local_path(request.form.get("next"))
        if self.gate is None:
            return redirect(next_path, 303)
        # The key first: who shows a right one gets in, whatever others here did.
        key = self.gate.ring.find(request.form.get("key", "").strip())
        if key is None:
            return _refused(next_path, self.gate.limiter)
        sessions = self.gate.sessions
        sessions.end(_shown_cookie())
        return _signed_in(next_path, sessions.begin(key))

    def sign_out(self) -> Response:
        """No session any more, for whoever has its cookie; back to the login page."""
        check_session_origin()
        if self.gate is not None:
            self.gate.sessions.end(_shown_cookie())
        response = redirect(url_for("login.form"), 303)
        response.delete_cookie(
            SESSION_COOKIE, secure=request.is_secure, httponly=True, samesite="Strict"
        )
        return response


def local_path(text: str | None) -> str:
    """*text* if it is a path of ours, else the first page."""
    return text if text and _LOCAL_PATH.fullmatch(text) else "/"


def _page(next_path: str, problem: str | None, status: int) -> Response:
    page = render_template("login.html", problem=problem, next_path=next_path)
    return make_response(page, status)


def _shown_cookie() -> str:
    return request.cookies.get(SESSION_COOKIE, "")


def _refused(next_path: str, limiter: Limiter) -> Response:
    sender = f"login/{client_network()}"
    if limiter.charge(FAILED_LOGINS, sender):
        problem = "This key is not known: it is mistyped or was removed."
        return _page(next_path, problem, 403)
    until = limiter.left(FAILED_LOGINS, sender).reset_time
    wait = max(1, math.ceil(until - time.time()))
    problem = f"Too many wrong keys from your address: try again in {wait} s."
    response = _page(next_path, problem, 429)
    response.headers["Retry-After"] = str(wait)
    return response


def _signed_in(next_path: str, cookie: str) -> Response:
    response = redirect(next_path, 303)
    response.set_cookie(
        SESSION_COOKIE,
        cookie,
        max_age=SESSION_SECONDS,
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response
