"""The state of versions as TensorFlow Serving's REST API writes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models.wire.messages import VersionStatus


def model_version_status(versions: Iterable[VersionStatus]) -> list[dict[str, Any]]:
    """One entry a version; numbers are texts there, as 64 bits are in JSON."""
    return [
        {
            "version": str(each.version),
            "state": each.state,
            "status": {
                "error_code": "UNKNOWN" if each.error else "OK",
                "error_message": each.error,
            },
        }
        for each in versions
    ]
