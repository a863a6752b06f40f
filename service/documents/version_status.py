"""The state of versions as TensorFlow Serving writes it, described."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from service.documents.members import Members, choice, several, text

STATES: Final = ("START", "LOADING", "AVAILABLE", "UNLOADING", "END", "UNKNOWN")


class ErrorStatusSchema(Members):
    """Why a version cannot be loaded."""

    error_code = text("`OK` if nothing is wrong")
    error_message = text("Empty if nothing is wrong")


class VersionStatusSchema(Members):
    """The state of one version."""

    version = text("Its number")
    state = choice("What it is up to", STATES)
    status = fields.Nested(ErrorStatusSchema, required=True)


class StatusSchema(Members):
    """The state of versions."""

    model_version_status = several(VersionStatusSchema)


STATUS_EXAMPLE: Final = [
    {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
]
