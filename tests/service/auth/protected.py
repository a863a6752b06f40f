"""An API that requires keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flask import Flask

from models.wire.client import ModelServerClient
from service.auth.guard import AuthSettings
from service.auth.keys import add_key, create_key, read_rate
from service.settings import ServiceSettings
from tests.service.conftest import app_of


def new_key(path: Path, name: str, *scopes: str, rate: str | None = None) -> str:
    """Put a key into the file at *path*; the secret."""
    key, secret = create_key(name, scopes, read_rate(rate) if rate else None)
    add_key(path, key)
    return secret


def protected_app(
    settings: ServiceSettings, client: ModelServerClient, auth: AuthSettings
) -> Flask:
    guarded = replace(settings, auth=auth)
    return app_of(guarded, client)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
