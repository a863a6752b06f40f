"""The versions that a model server knows, what it does with each, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from models.wire import messages

AVAILABLE: Final = "AVAILABLE"
COMING: Final = frozenset({"START", "LOADING"})
"""States of a version that is to be loaded. TensorFlow Serving repeats a load that failed
(by default five times, a minute apart) and meanwhile names no error."""

SLOW_LOAD_SECONDS: Final = 30.0
"""A version that is coming for longer is told: most are loaded within a few seconds."""


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model: START, LOADING, AVAILABLE, UNLOADING or END.

    Attributes:
        error: why it cannot be loaded; empty while the model server does not say.
        loading_seconds: how long it is known to be coming; 0 if it is not, or unknown.
    """

    version: int
    state: str
    error: str = ""
    loading_seconds: float = 0.0

    @property
    def problem(self) -> str:
        """Why the version stays away, as a sentence; empty if nothing is known."""
        if self.state == AVAILABLE:
            return ""
        if self.error:
            return f"version {self.version} cannot be loaded: {self.error}"
        if self.loading_seconds < SLOW_LOAD_SECONDS:
            return ""
        does = "has been loading" if self.state == "LOADING" else "has waited to load"
        return (
            f"version {self.version} {does} for {self.loading_seconds:.0f} s: a load "
            "that fails is repeated and holds up other versions; the model server logs "
            "say why"
        )


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
