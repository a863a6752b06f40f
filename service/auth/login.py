"""/login and /logout: an API key begins a session, which is a signed cookie.

The cookie is signed with a secret that is derived from the key's digest, so that removing a
key ends its sessions, and all processes agree without talking to each other. Only sessions
that were signed out have to be remembered, in Redis, until they would have expired.

While Redis is away sessions stay valid: a process knows only the sign-outs that it handled
itself, and shares them when Redis is back. Refusing all sessions instead would close the
pages, only to keep out a copied cookie that expires within 12 hours.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from itsdangerous import BadSignature, TimestampSigner
from limits import RateLimitItem, RateLimitItemPerMinute
from werkzeug.wrappers import Response

from service.auth.keys import ApiKey, KeyRing
from service.auth.origins import check_session_origin
from service.auth.rate_limits import Limiter, client_network

FAILED_LOGINS: Final[RateLimitItem] = RateLimitItemPerMinute(10)
"""For each address. Keys cannot be guessed; the limit keeps attempts from costing much."""

MAX_LOGIN_BYTES: Final = 8 * 1024
_TEMPLATES: Final = Path(__file__).parents[1] / "pages" / "templates"
_LOCAL_PATH: Final = re.compile(r"/(?!/)[!-\[\]-~]{0,2000}")
"""ASCII without backslashes, which browsers read as slashes."""

SESSION_COOKIE: Final = "kennel_session"
SESSION_SECONDS: Final = 12 * 3600
LOGIN_REDIS_SECONDS: Final = 1.0
"""Longest wait for Redis, once in each pause: a person may wait longer than a prediction."""


@dataclass(frozen=True)
class KeyLogin:
    """Keys, sessions and rate limits of signing in."""

    ring: KeyRing
    sessions: Sessions
    limiter: Limiter


@dataclass(frozen=True)
class LoginViews:
    """The views of /login and /logout; without *login* the service needs no keys."""

    login: KeyLogin | None

    def blueprint(self) -> Blueprint:
        """The routes /login and /logout."""
        routes = Blueprint("login", __name__, template_folder=str(_TEMPLATES))
        routes.add_url_rule("/login", "form", self.form)
        routes.add_url_rule("/login", "sign_in", self.sign_in, methods=["POST"])
        routes.add_url_rule("/logout", "sign_out", self.sign_out, methods=["POST"])
        return routes

    def form(self) -> Response:
        """The login page."""
        next_path = local_path(request.args.get("next"))
        if self.login is None:
            return redirect(next_path, 303)
        return _page(next_path, None, 200)

    def sign_in(self) -> Response:
        """Begin a session for a valid key, then redirect to the page of the form."""
        request.max_content_length = MAX_LOGIN_BYTES
        check_session_origin()
        next_path = local_path(request.form.get("next"))
        if self.login is None:
            return redirect(next_path, 303)
        # The key first: a valid one works even after failed attempts from this address.
        key = self.login.ring.find(request.form.get("key", "").strip())
        if key is None:
            return _refused(next_path, self.login.limiter)
        sessions = self.login.sessions
        sessions.end(_shown_cookie())
        return _signed_in(next_path, sessions.begin(key))

    def sign_out(self) -> Response:
        """End the session for all copies of its cookie; back to the login page."""
        check_session_origin()
        if self.login is not None:
            self.login.sessions.end(_shown_cookie())
        response = redirect(url_for("login.form"), 303)
        response.delete_cookie(
            SESSION_COOKIE, secure=request.is_secure, httponly=True, samesite="Strict"
        )
        return response


def local_path(text: str | None) -> str:
    """*text* if it is a path of this service, else the path of the first page."""
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


class Sessions:
    """The sessions of the keys in one ring; thread-safe."""

    def __init__(self, ring: KeyRing, limiter: Limiter) -> None:
        """Share with other processes, through *limiter*, which sessions were ended."""
        self._ring = ring
        self._limiter = limiter
        self._ended: dict[str, float] = {}
        self._unshared: set[str] = set()

    def begin(self, key: ApiKey) -> str:
        """The cookie of a new session of *key*."""
        value = f"{key.name}:{secrets.token_urlsafe(16)}"
        return _signer(key).sign(value).decode()

    def read(self, cookie: str) -> ApiKey | None:
        """The key of the session in *cookie*.

        None: the cookie is forged, expired or signed out, or its key was removed.
        """
        found = self._verified(cookie)
        if found is None:
            return None
        key, session = found
        self._share()
        if session in self._ended or self._limiter.is_marked(_mark(session)):
            return None
        return key

    def end(self, cookie: str) -> None:
        """End the session in *cookie*, if it is valid."""
        found = self._verified(cookie)
        if found is None:
            return
        _, session = found
        now = time.monotonic()
        for old in [each for each, until in self._ended.copy().items() if until < now]:
            self._ended.pop(old, None)
        self._ended[session] = now + SESSION_SECONDS
        self._unshared.add(session)
        self._share()

    def _verified(self, cookie: str) -> tuple[ApiKey, str] | None:
        # name:id.time.signature, and names have no colons.
        name, _, rest = cookie.partition(":")
        key = self._ring.named(name)
        if key is None or not rest:
            return None
        try:
            value = _signer(key).unsign(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return None
        return key, value.decode()

    def _share(self) -> None:
        for session in self._unshared.copy():
            if not self._limiter.mark(_mark(session), SESSION_SECONDS):
                return
            self._unshared.discard(session)


def _mark(session: str) -> str:
    return f"ended/{session}"


def _signer(key: ApiKey) -> TimestampSigner:
    return TimestampSigner(
        key.digest, salt="kennel session", digest_method=hashlib.sha256
    )
