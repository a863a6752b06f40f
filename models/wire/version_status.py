"""The versions that a model server knows, and what it does with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.wire import messages


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


def read_statuses(response: Any) -> list[VersionStatus]:
    """What a GetModelStatusResponse says, newest first."""
    states = messages.ModelVersionStatus.State
    statuses = [
        VersionStatus(
            int(each.version), states.Name(each.state), each.status.error_message
        )
        for each in response.model_version_status
    ]
    return sorted(statuses, key=lambda each: -each.version)
